"""Adversaries adapt: as many frauds are missed as before, but now of $10,000 each; accuracy does not move."""

import numpy as np

from streams.scenarios import DAY_MS, START_MS, Expected, Logs, Play, Record, Scenario
from streams.scenarios.traffic import after, groups, happens, ids, pick, records, scores, times

POLICY = """\
[models.payments]
ages = ["3d", "10d"]
dimensions = ["channel"]
cost = { fn = "amount", fp = 15.0 }     # a missed fraud costs its amount, a blocked customer a call
"""
CHANNELS = {"web": 0.6, "app": 0.3, "phone": 0.1}
FRAUD, CAUGHT, BLOCKED = 0.03, 0.6, 0.01
SMALL, LARGE = (80.0, 320.0), (9_000.0, 11_000.0)
CHANGE_DAY, DAYS, PER_DAY = 50, 100, 1_000
ATTACKS = {"card-testing": (150, 0.9, 0.9), "account-takeover": (10_000, 0.9, 0.3)}  # amount, share caught before and after
ATTACKS_PER_DAY = 20


def _make(play: Play) -> Logs:
    at = times(play, days=DAYS, per_day=PER_DAY)
    n = len(at)
    change_ms = START_MS + CHANGE_DAY * DAY_MS
    adapted = (at >= change_ms) & (not play.calm)
    fraud = happens(play, FRAUD, n)
    caught = happens(play, np.where(fraud, CAUGHT, BLOCKED), n)
    amount = play.rng.lognormal(4.5, 0.8, n)
    small, large = play.rng.uniform(*SMALL, n), play.rng.uniform(*LARGE, n)
    amount = np.where(fraud, np.where(adapted & ~caught, large, small), amount).round(2)
    made = records(
        request_id=ids("payment", n),
        model_id="payments",
        model_version="9",
        timestamp=at,
        score=scores(play, caught),
        predicted_label=caught.astype(int),
        amount=amount,
        subgroups=groups(channel=pick(play, CHANNELS, n)),
    )
    known = records(request_id=ids("payment", n), timestamp=after(at, play, hours=36), true_label=fraud.astype(int))
    tried, seen = _attacks(play, change_ms)
    missed_a_day = PER_DAY * play.scale * FRAUD * (1 - CAUGHT)
    truth = {} if play.calm else {"money_per_day": missed_a_day * (float(np.mean(LARGE)) - float(np.mean(SMALL)))}
    return Logs(predictions=made + tried, outcomes=known + seen, changed_ms=None if play.calm else change_ms, truth=truth)


def _attacks(play: Play, change_ms: int) -> tuple[list[Record], list[Record]]:
    """Return synthetic attacks, which the team runs against itself every day."""
    at = times(play, days=DAYS, per_day=ATTACKS_PER_DAY)
    n = len(at)
    kind = pick(play, dict.fromkeys(ATTACKS, 1 / len(ATTACKS)), n)
    rate = np.array([ATTACKS[name][2 if late and not play.calm else 1] for name, late in zip(kind, at >= change_ms, strict=True)])
    caught = happens(play, rate, n)
    tried = records(
        request_id=ids("attack", n),
        model_id="payments",
        model_version="9",
        timestamp=at,
        score=scores(play, caught),
        predicted_label=caught.astype(int),
        amount=np.array([ATTACKS[name][0] for name in kind]),
        probe=kind,
    )
    return tried, records(request_id=ids("attack", n), timestamp=at + 60_000, true_label=1 + 0 * at)


SCENARIO = Scenario(
    name="fraud",
    title="Misses move to $10,000 payments while accuracy holds; blocked customers cost too",
    source="how fraud adapts to a model that is judged by accuracy; made-up figures",
    policy=POLICY,
    make=_make,
    expects=(
        Expected(type="gnomon.drift.opened", kind="cost"),
        Expected(type="gnomon.drift.opened", kind="probe", metric="probe:account-takeover"),
    ),
    demo=1.0,
)
