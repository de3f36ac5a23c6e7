"""What may spend a part of the model's budget only: baselines with bounds as strict as that part, and as few false alarms."""

import numpy as np
import pytest

from detectors.bank import StepContext
from detectors.bets import enough_for
from detectors.cells import BIN, KNOWN, MADE
from detectors.companions.checks import CheckBank
from detectors.companions.probes import ProbeBank
from detectors.fatigue.bets import WEIGHT, BetKind
from detectors.fatigue.durations import cell_of
from detectors.fatigue.kinds.ppv import Ppv
from detectors.fatigue.kinds.response_time import ResponseTime
from detectors.fatigue.ledger import Ledger, key_of
from detectors.fatigue.recent import Recent
from detectors.fixed import Ints
from detectors.ladder import DAY_MS
from detectors.named_rates import PART, SHARE_BITS, RateReading
from detectors.signals import Alarm
from schemas.policy import parse_policy

UNITS, PER_DAY = 100, 20
WRONG = 0.3
POLICY = parse_policy("[models.m]\nages = ['1d']\n").for_model("m")


def calm(kind: type[BetKind], seed: int, days: int) -> tuple[BetKind, int]:
    """A hundred units whose alerts stay as they are, read by one kind; return it, and how many incidents it has opened."""
    rng, n = np.random.default_rng(seed), UNITS * PER_DAY * days
    ledger = Ledger(POLICY)
    ledger.disposed_ms = 0
    for i in range(UNITS):
        ledger.units.number(f"unit {i}")
    at, unit, once = rng.integers(0, days * DAY_MS, n), rng.integers(1, UNITS + 1, n), np.ones((n, 1), dtype=np.int64)
    ledger.tables["made"].add(key_of(at, unit), once)
    ledger.tables["known"].add(key_of(at, unit), np.concatenate([once, rng.random((n, 1)) >= WRONG], axis=1).astype(np.int64))
    ledger.tables["responses"].add(key_of(at, unit, cell_of((600_000 * rng.lognormal(0, 0.5, n)).astype(np.int64))), once)
    read = kind(ledger, POLICY)
    turns = read.step(Recent().settle(0), (days + 2) * DAY_MS)
    return read, sum(turn.opened for turn in turns)


def test_a_fifth_of_the_budget_has_bounds_that_fail_a_fifth_as_often() -> None:
    """A bound of 90 % fails for a twentieth of the baselines, at a fifth of the budget for a hundredth: of 600, 6 are expected."""
    assert enough_for(POLICY, WEIGHT).share == WEIGHT
    failed = n = 0
    for seed in range(6):
        read, _ = calm(Ppv, seed, days=30)
        m = read.panel.monitors
        stands = (m.state[: m.count] > 0) & (m.slot[: m.count] > 0)
        n, failed = n + int(stands.sum()), failed + int((m.null[: m.count][stands, 0] < WRONG).sum())
    assert n == 6 * UNITS
    assert failed <= 12, failed  # more than that have a chance of 1 %; with the whole budget's bounds 30 are expected


@pytest.mark.parametrize("kind", [Ppv, ResponseTime])
def test_units_whose_alerts_stay_as_they_are_raise_no_more_than_a_kind_may(kind: type[BetKind]) -> None:
    """Two runs of 100 units over 90 days: a twentieth of a page in 30 days is 0.3 in both of them."""
    opened = [calm(kind, 100 + seed, days=90)[1] for seed in range(2)]
    assert sum(opened) <= 2, opened  # more than that have a chance of 0.4 %


def test_rates_by_name_have_bounds_as_strict_as_their_tenth() -> None:
    """A tenth of the budget, so one in two hundred baselines lies below the truth: of 600, 3 are expected."""
    assert ProbeBank(policy=POLICY).rule.share == PART
    failed = n = alarms = 0
    for seed in range(10):
        rng, watched = np.random.default_rng(200 + seed), CheckBank(policy=POLICY)
        for day in range(40):
            events = rng.binomial(PER_DAY, WRONG, 60)
            counts: dict[str, Ints] = {f"check:{i}": np.array([[PER_DAY, x << SHARE_BITS]]) for i, x in enumerate(events.tolist())}
            signals = watched.step(reading(day, counts), StepContext(share=PART))
            alarms += sum(isinstance(signal, Alarm) for signal in signals)
        for panel in watched.panels[0]:
            n, failed = n + 1, failed + int(panel.monitors.null[0, 0] < WRONG)
            assert panel.monitors.state[0] > 0
    assert n == 600
    assert failed <= 8, failed  # more than that have a chance of 0.4 %; with the whole budget's bounds 30 are expected
    assert alarms <= 2, alarms  # 0.04 pages a month are allowed for the whole, 0.2 in ten runs of twelve days after the first 28


def reading(day: int, counts: dict[str, Ints]) -> RateReading:
    """One day's pane of the whole."""
    none = np.zeros((0, 0, BIN.width), dtype=np.int64)
    return RateReading(
        rung=0,
        age_ms=DAY_MS,
        start_ms=day * DAY_MS,
        end_ms=(day + 1) * DAY_MS,
        due_ms=(day + 2) * DAY_MS,
        mature=False,
        segments=np.zeros(1, dtype=np.int64),
        made=MADE.zeros(0),
        known=KNOWN.zeros(0),
        made_bins=none,
        known_bins=none,
        counts=counts,
    )
