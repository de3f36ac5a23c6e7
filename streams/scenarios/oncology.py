"""An adviser on therapies breaks where patients have several diseases and histories have holes."""

import numpy as np

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Scenario
from streams.scenarios.traffic import after, groups, happens, ids, pick, records, scores, times

POLICY = """\
[models.adviser]
ages = ["7d", "21d"]
dimensions = ["comorbidity", "history"]
intersections = [["comorbidity", "history"]]
"""
COMORBIDITY = {"none": 0.62, "one": 0.32, "multiple": 0.06}
HISTORY = {"complete": 0.9, "incomplete": 0.1}
USUAL, BROKEN = 0.08, 0.45
LIVE_DAY, DAYS = 70, 160
FEATURES = ("stage", "marker", "age", "performance")


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=200)
    n = len(at)
    live_ms = START_MS + LIVE_DAY * DAY_MS
    comorbidity, history = pick(play, COMORBIDITY, n), pick(play, HISTORY, n)
    fails = (comorbidity == "multiple") & (at >= live_ms) & (not play.calm)
    wrong = happens(play, np.where(fails, BROKEN, USUAL), n)
    predicted = happens(play, 0.45, n)
    true = predicted ^ wrong
    lost = play.rng.random((n, len(FEATURES))) < np.where(history == "incomplete", 0.5, 0.02)[:, np.newaxis]
    values = play.rng.normal(size=(n, len(FEATURES))).round(2)
    made = records(
        request_id=ids("patient", n),
        model_id="adviser",
        model_version="1",
        timestamp=at,
        score=scores(play, predicted),
        predicted_label=predicted.astype(int),
        subgroups=groups(comorbidity=comorbidity, history=history),
        features=[
            {name: None if gone else value for name, gone, value in zip(FEATURES, row, numbers, strict=True)}
            for row, numbers in zip(lost.tolist(), values.tolist(), strict=True)
        ],
    )
    known = records(request_id=ids("patient", n), timestamp=after(at, play, hours=5 * 24), true_label=true.astype(int))
    truth = {} if play.calm else {"error_multiple": BROKEN, "missing_incomplete": 0.5}
    return Logs(predictions=made, outcomes=known, changed_ms=None if play.calm else live_ms, truth=truth)


SCENARIO = Scenario(
    name="oncology",
    title="Patients with several diseases, and with incomplete histories, are advised badly",
    source="reported of a commercial adviser on cancer therapies: it failed on comorbid patients and incomplete records",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="concept", segment={"comorbidity": "multiple"}),),
)
