"""A language model states 70 to 97 % confidence on expert questions, and is right in 5 % of them."""

import numpy as np

from streams.scenarios import Expected, Logs, Play, Scenario
from streams.scenarios.traffic import after, groups, happens, ids, pick, records, times

POLICY = """\
[models.answers]
ages = ["1d"]
dimensions = ["subject"]

[models.answers.claims]
accuracy = 0.7       # what its stated confidence promises, at least
"""
RIGHT = 0.05
LEAST, MOST = 0.7, 0.97
SUBJECTS = {"mathematics": 0.4, "biology": 0.2, "physics": 0.15, "humanities": 0.15, "law": 0.1}


def _make(play: Play) -> Logs:
    at = times(play, days=60, per_day=100)
    n = len(at)
    confidence = play.rng.uniform(LEAST, MOST, n).round(2)
    right = happens(play, confidence if play.calm else RIGHT, n)
    answer = play.rng.integers(0, 5, n)
    other = (answer + play.rng.integers(1, 5, n)) % 5
    letters = np.array(list("ABCDE"))
    made = records(
        request_id=ids("question", n),
        model_id="answers",
        model_version="1",
        timestamp=at,
        score=confidence,
        predicted_label=letters[answer],
        subgroups=groups(subject=pick(play, SUBJECTS, n)),
    )
    known = records(request_id=ids("question", n), timestamp=after(at, play, hours=4), true_label=letters[np.where(right, answer, other)])
    error = float(np.sqrt(np.mean((confidence - RIGHT) ** 2)))
    return Logs(predictions=made, outcomes=known, truth={} if play.calm else {"rms_ce_10": error, "accuracy": RIGHT})


SCENARIO = Scenario(
    name="hle",
    title="Confidence is a lie: RMS calibration error of 70 to 90 %",
    source="Humanity's Last Exam, Table 1: accuracy of 3 to 15 % at RMS calibration errors of 70 to 90 %",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="claim"),),
)
