"""A credit model of the boom years meets a recession: what used to be a good borrower no longer is."""

import numpy as np

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Scenario
from streams.scenarios.traffic import Floats, Ints, after, groups, happens, ids, pick, records, times

POLICY = """\
[models.credit]
ages = ["14d", "30d"]
horizon = "60d"
dimensions = ["region"]
cost = { fn = "0.6*amount", fp = 40.0 }     # a default costs most of the loan, a good borrower refused its margin

[models.credit.watch]          # money is stated with every alarm; more defaults are told by the errors that come with them
cost = { enabled = false }
prior = { enabled = false }

[models.credit.retrain]
min_labels = 2000
cost = 20000.0
payback = "30d"
"""
REGIONS = {"east": 0.3, "north": 0.25, "south": 0.25, "west": 0.2}
TURN_DAY, DAYS = 150, 260
BASE = -2.6  # log odds of a default in the boom, of an average borrower
WORSE = 1.3  # what the recession adds to them, for those whom the boom's model trusts most


def _chance(risk: Floats, bust: Floats) -> Floats:
    """Return the probability of default by what the model sees; the recession hits those with little of it hardest."""
    return np.asarray(1 / (1 + np.exp(-(BASE + 1.6 * risk + bust * WORSE * (risk < 0.5)))))


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=250)
    n = len(at)
    turn_ms = START_MS + TURN_DAY * DAY_MS
    bust = np.zeros(n) if play.calm else (at >= turn_ms).astype(np.float64)
    risk = play.rng.normal(size=n)
    score = _chance(risk, np.zeros(n)).round(4)
    default = happens(play, _chance(risk, bust), n)
    made = records(
        request_id=ids("loan", n),
        model_id="credit",
        model_version="boom-1",
        timestamp=at,
        score=score,
        predicted_label=(score >= 0.2).astype(int),
        subgroups=groups(region=pick(play, REGIONS, n)),
        amount=_amounts(play, n),
    )
    known = records(request_id=ids("loan", n), timestamp=after(at, play, hours=7 * 24), true_label=default.astype(int))
    return Logs(predictions=made, outcomes=known, changed_ms=None if play.calm else turn_ms)


def _amounts(play: Play, n: int) -> Ints:
    return (1_000 + 4_000 * play.rng.beta(2, 4, n)).astype(np.int64)


SCENARIO = Scenario(
    name="recession",
    title="A credit model from the boom: concept drift, decay, a request to retrain",
    source="the credit models of the boom years before 2008; made-up figures",
    policy=POLICY,
    make=_make,
    expects=(Expected(type="gnomon.drift.opened", kind="concept"), Expected(type="gnomon.retrain.requested", kind="")),
)
