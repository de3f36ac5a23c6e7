"""Logs in which something that waits could have changed what is found, when, or a state: each against a fold that never waits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, batches_of, findings, state, tick

from detectors.bets.pairs import PairScoreBet
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.findings import Event, EventType
from schemas.policy import encode_policy, parse_policy
from schemas.scored import Forwarded, Origin, Scored

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
DAILY, HOURLY = '[defaults]\nages = ["1d"]\n', '[defaults]\nages = ["1h"]\n'
Made = tuple[str, dict[str, Any]]


def made(number: int, at_ms: int, **given: object) -> Made:
    plain = {"model_id": "m", "model_version": "1", "score": 0.7, "predicted_label": 1}
    return "predictions", {"request_id": f"r{number}", "timestamp": at_ms} | plain | given


def known(number: int, at_ms: int, **given: object) -> Made:
    return "outcomes", {"request_id": f"r{number}", "timestamp": at_ms} | given


class Log:
    """Scored records as the join writes them."""

    def __init__(self, policy: str) -> None:
        self.records: list[Scored] = []
        self._controls, self._offsets = 0, {"predictions": 0, "outcomes": 0}
        self._joiner, self._table = Joiner(parse_policy(policy), b"k"), DictTable()
        self.policy(policy)

    def policy(self, text: str) -> None:
        record = encode_policy(parse_policy(text), by="test", at=START_MS)
        self.records.append(Forwarded(Origin("control", "c", 0), self._controls, 0, record))
        self._controls += 1

    def join(self, *given: Made) -> None:
        prepared = self._joiner.prepare(batches_of(given, self._offsets))
        self.records += self._joiner.finish(prepared, self._table.exchange_now(prepared.lookups)).rows

    def ticks(self, *at_ms: int) -> None:
        self.records += [tick(at) for at in at_ms]


def lateness_raised(log: Log) -> None:
    log.join(made(0, START_MS))
    log.ticks(START_MS + HOUR)
    log.policy(HOURLY + 'lateness = "10m"\n')
    log.ticks(*(START_MS + HOUR + k * SECOND for k in range(3)))


def value_alone(log: Log) -> None:
    """A disposition that names nothing but a value, the first one, late in an hour."""
    hour = START_MS + 10 * DAY_MS + 5 * HOUR
    log.join(made(0, hour - 30 * MINUTE, alerted=True), made(1, hour - 20 * MINUTE))
    log.ticks(hour + 4 * SECOND, hour + 5 * SECOND, hour + 7 * SECOND)
    log.join(known(0, hour - 25 * MINUTE, value=5.0))
    log.ticks(hour + 8 * SECOND)


def challenger_off_and_on(log: Log) -> None:
    def both(number: int, at_ms: int) -> list[Made]:
        return [made(number, at_ms), made(number, at_ms, model_version="2", predicted_label=0)]

    log.policy(HOURLY + "[defaults.watch.challenger]\nenabled = true\n")
    log.join(*both(0, START_MS), known(0, START_MS + MINUTE, true_label=1))
    log.ticks(START_MS + 2 * HOUR)
    log.policy(HOURLY)
    log.join(*both(1, START_MS + 150 * MINUTE))
    log.ticks(*(START_MS + (150 + k) * MINUTE for k in range(1, 390)), START_MS + 9 * HOUR + SECOND, START_MS + 9 * HOUR + 2 * SECOND)
    log.policy(HOURLY + "[defaults.watch.challenger]\nenabled = true\n")
    log.join(*both(2, START_MS + 5 * HOUR), known(2, START_MS + 5 * HOUR + MINUTE, true_label=1))
    log.ticks(START_MS + 9 * HOUR + MINUTE)


def zero_tolerance_off_and_on(log: Log) -> None:
    strict = DAILY + 'lateness = "0s"\n[defaults.checks.cite]\nzero_tolerance = true\n'
    log.policy(strict)
    log.join(made(0, START_MS), known(0, START_MS + 23 * SECOND, checks={"cite": [0, 1]}))
    log.ticks(START_MS + 10 * SECOND)
    log.policy(DAILY + 'lateness = "0s"\n[defaults.checks.cite]\nbaseline = 0.9\n')
    log.ticks(START_MS + 21 * SECOND, START_MS + 25 * SECOND)
    log.policy(strict)
    log.ticks(START_MS + 26 * SECOND)


def late_by_days(log: Log) -> None:
    at = START_MS + 10 * DAY_MS + HOUR
    log.join(made(0, at))
    log.ticks(at + 10 * SECOND, at + 11 * SECOND)
    log.join(made(1, at + SECOND))
    log.ticks(at + 12 * SECOND)
    log.join(made(2, at - 8 * DAY_MS))


def late_by_a_year(log: Log) -> None:
    at = START_MS + 10 * DAY_MS + HOUR
    log.join(made(9, at - 450 * DAY_MS))
    log.join(made(0, at))
    log.ticks(at + 10 * SECOND, at + 11 * SECOND)
    log.join(known(9, at - 440 * DAY_MS, true_label=1))


CASES: list[tuple[str, Callable[[Log], None]]] = [
    (HOURLY, lateness_raised),
    (DAILY, value_alone),
    (HOURLY, challenger_off_and_on),
    (DAILY, zero_tolerance_off_and_on),
    (HOURLY, late_by_days),
    (HOURLY, late_by_a_year),
]


@pytest.mark.parametrize(("policy", "case"), CASES, ids=[case.__name__ for _, case in CASES])
def test_states_and_findings_are_those_of_a_fold_that_never_waits(policy: str, case: Callable[[Log], None]) -> None:
    log = Log(policy)
    case(log)
    for last in range(len(log.records) - 3, len(log.records) + 1):
        patient, _ = folded(log.records[:last], eager=False)
        eager, _ = folded(log.records[:last], eager=True)
        assert state(patient) == state(eager)


def folded(records: list[Scored], *, eager: bool) -> tuple[Watch, list[list[Event]]]:
    watch, found = Watch(statistics_every_ms=None), []
    for record in records:
        found.append(watch.apply(record))
        for model in watch._models.values() if eager else ():
            model.wake()
    return watch, found


def drift_then(log: Log, *, days: int, per_day: int, change: int) -> None:
    """Scores that rise on a day and stay so; nobody is alerted."""
    rng = np.random.default_rng(1)
    for day in range(days):
        scores = [float(round(rng.beta(8, 2) if day >= change else rng.beta(1, 4), 3)) for _ in range(per_day)]
        records = [
            made(day * per_day + k, START_MS + day * DAY_MS + k * 3 * HOUR, score=score, predicted_label=int(score >= 0.5), alerted=False)
            for k, score in enumerate(scores)
        ]
        log.join(*records)
        log.ticks(START_MS + day * DAY_MS + 23 * HOUR)


def test_silence_closes_at_the_first_tick_after_it_whatever_the_ages() -> None:
    log = Log('[defaults]\nages = ["86407m"]\n')
    drift_then(log, days=400, per_day=7, change=300)
    begun = START_MS + 488 * DAY_MS
    log.ticks(*(begun + minute * MINUTE + 5 * SECOND for minute in range(60 * 24 * 3)))
    same_at_each_record(log)


def test_a_prediction_that_is_taken_back_may_let_a_silence_end_an_incident_at_once() -> None:
    log = Log(DAILY)
    drift_then(log, days=200, per_day=7, change=150)
    log.join(made(99_999, START_MS + 224 * DAY_MS, score=0.9, alerted=False))
    log.ticks(START_MS + 224 * DAY_MS + HOUR)
    at = START_MS + 232 * DAY_MS + 13 * HOUR
    log.ticks(at + 5 * SECOND, at + 6 * SECOND)
    log.join(made(99_999, START_MS + 199 * DAY_MS + 5 * HOUR, score=0.9, alerted=False))  # a conflict: the earlier one counts
    log.ticks(*(at + 7 * SECOND + hour * HOUR for hour in range(20)))
    same_at_each_record(log)


def same_at_each_record(log: Log) -> None:
    _, found = folded(log.records, eager=False)
    _, others = folded(log.records, eager=True)
    assert [findings(each) for each in found] == [findings(each) for each in others]
    assert any(event.type == EventType.DRIFT_CLEARED for each in found for event in each)


def test_sums_of_a_constant_difference_are_no_fault_however_many() -> None:
    rng = np.random.default_rng(2)
    n = rng.integers(700_000, 3_000_000, 400).astype(float)
    own, rival = n * 0.04, n * 0.3025
    least = np.square(own - rival) / n
    obs = np.stack([n, own, rival, least * (1 - 2e-16)], axis=1)
    assert PairScoreBet().fault(obs) == ""
