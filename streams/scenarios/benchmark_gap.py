"""A classifier that is right in 90 % of a benchmark is right in under 60 % of production, with the same confidence."""

import numpy as np

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Scenario
from streams.scenarios.traffic import after, happens, ids, records, scores, times

POLICY = """\
[models.triage]
ages = ["1d", "7d"]

[models.triage.claims]
accuracy = 0.9       # of the benchmark
"""
LIVE_DAY, DAYS = 40, 90
ON_BENCHMARK, IN_PRODUCTION = 0.91, 0.57


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=200)
    n = len(at)
    live_ms = START_MS + LIVE_DAY * DAY_MS
    right = np.where((at >= live_ms) & (not play.calm), IN_PRODUCTION, ON_BENCHMARK)
    predicted = happens(play, 0.4, n)
    true = predicted ^ ~happens(play, right, n)
    made = records(
        request_id=ids("case", n),
        model_id="triage",
        model_version="1",
        timestamp=at,
        score=scores(play, predicted, sharp=8.0),
        predicted_label=predicted.astype(int),
    )
    known = records(request_id=ids("case", n), timestamp=after(at, play, hours=16), true_label=true.astype(int))
    truth = {} if play.calm else {"accuracy": float(right.mean())}
    return Logs(predictions=made, outcomes=known, changed_ms=None if play.calm else live_ms, truth=truth)


SCENARIO = Scenario(
    name="benchmark-gap",
    title="90 % on the benchmark, below 60 % in production, the same confidence",
    source="reported of clinical language models: benchmark accuracies near 90 % that fall below 60 % on real cases",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="claim"), Expected(type="gnomon.drift.opened", kind="concept")),
)
