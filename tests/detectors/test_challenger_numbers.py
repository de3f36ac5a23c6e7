"""Versions that predict numbers: which of two was further from the truth, from the records to what is said of them."""

from functools import cache

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, findings, fold

from detectors.entries import BINARY, POSITIVE, VALUED, OutcomeEntry, PredictionEntry, encode_entry
from detectors.join_rows import Row
from detectors.join_rule import rule
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.policy_models import DEFAULT_FAMILIES
from schemas.scored import Kind

ALONE = "".join(f"[models.demand.watch.{family}]\nenabled = false\n" for family in DEFAULT_FAMILIES)
WATCHED = parse_policy(f'[models.demand]\nages = ["2d"]\n{ALONE}[models.demand.watch.challenger]\n')
MADE = PredictionEntry("m", "1", 5, None, VALUED, None, b"one", value=9.0)
SECOND = PredictionEntry("m", "2", 8, None, VALUED, None, b"two", value=12.0)


def forecasts(*, seed: int, off: dict[str, float], days: int = 60, per_day: int = 60) -> list[Record]:
    """Records in order of event time, of versions whose errors have these deviations; half of an error is common to all."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    true, common = rng.normal(400, 80, n), rng.normal(0, 1, n)
    known = at + (rng.exponential(0.5, n) * DAY_MS).astype(np.int64) + 1_000
    records: list[Record] = []
    for version, deviation in off.items():
        said = true + deviation * (common + rng.normal(0, 1, n)) / np.sqrt(2)
        for i in range(n):
            made = {"request_id": f"r{i}", "model_id": "demand", "model_version": version, "timestamp": int(at[i])}
            records.append((int(at[i]), "predictions", made | {"predicted_value": float(said[i])}))
    records += [
        (int(known[i]), "outcomes", {"request_id": f"r{i}", "timestamp": int(known[i]), "true_value": float(true[i])}) for i in range(n)
    ]
    return sorted(records, key=lambda record: record[0])


@cache
def closer() -> tuple[list[Record], Watch, list[Event]]:
    """Folded once; nobody changes it."""
    records = forecasts(seed=1, off={"1": 10.0, "2": 7.0})
    return records, *fold(records, policy=WATCHED)


def of_rivals(events: list[Event]) -> list[Event]:
    return [event for event in events if getattr(event.data, "kind", None) == "challenger"]


def test_the_version_that_is_closer_to_the_truth_is_found_and_said_so() -> None:
    _, watch, events = closer()
    [found] = [event for event in of_rivals(events) if event.type is EventType.DRIFT_OPENED]
    data = found.data
    assert (found.subject, data.metric, data.direction.value) == ("demand/2", "challenger:1", "down")
    assert data.message.startswith("Version 2 of demand is closer to the truth than the champion 1: ")
    assert " of its numbers were further from the truth than the other's, of the champion's " in data.message
    assert "wrong" not in data.message
    assert {panel.bet.name for panel in _bank(watch).panels[1]} == {"challenger:1"}


def _bank(watch: Watch):  # type: ignore[no-untyped-def]
    return watch.companions["demand"].members["comparisons"].versions["2"].bank


def test_the_one_that_is_further_from_it_is_called_so() -> None:
    events = of_rivals(fold(forecasts(seed=2, off={"1": 7.0, "2": 10.0}), policy=WATCHED)[1])
    assert [event.subject for event in events if event.type is EventType.DRIFT_OPENED] == ["demand/2"]
    assert events[0].data.message.startswith("Version 2 of demand is further from the truth than the champion 1: ")


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_equals_raise_nothing(seed: int) -> None:
    assert of_rivals(fold(forecasts(seed=seed, off={"1": 10.0, "2": 10.0}, days=40), policy=WATCHED)[1]) == []


def test_figures_are_those_of_a_count() -> None:
    records, watch, _ = closer()
    truth = {record["request_id"]: record["true_value"] for _, topic, record in records if topic == "outcomes"}
    made = {(r["request_id"], r["model_version"]): r["predicted_value"] for _, topic, r in records if topic == "predictions"}
    off = {version: np.array([abs(made[i, version] - truth[i]) for i in sorted(truth)]) for version in "12"}
    first, second = (model.comparisons[0] for model in report([watch]).models)
    further = int((off["1"] > off["2"]).sum())
    assert (first.n, first.numbers, first.scored, first.brier) == (len(truth), len(truth), 0, None)
    assert (first.alone, first.rival_alone) == (second.rival_alone, second.alone) == (further, len(truth) - further)
    assert first.error == further / len(truth)
    assert (first.state, second.state) == ("off", "alarm")


@pytest.mark.parametrize("chunk", [397, 20_000])
def test_nothing_hangs_on_batches(chunk: int) -> None:
    records, watch, events = closer()
    again, found = fold(records, policy=WATCHED, chunk=chunk)
    assert findings(of_rivals(found)) == findings(of_rivals(events)) != []
    states = [each.companions["demand"].members["comparisons"].to_state() for each in (again, watch)]
    assert states[0] == states[1]


def pairs(*entries: PredictionEntry | OutcomeEntry) -> list[Row]:
    """Return the pairs that the last of some entries adds."""
    *prefix, last = (encode_entry(entry) for entry in entries)
    return [row for row in rule(prefix, last) if row.kind == Kind.PAIR]


def test_two_numbers_are_compared_when_the_truth_is_known() -> None:
    [pair] = pairs(MADE, SECOND, OutcomeEntry(9, b"true", true_value=10.0))
    assert (pair.version, pair.rival, pair.predicted, pair.label, pair.binary) == ("1", "2", 0, 1, 0)
    assert (pair.predicted_at, pair.known_at, pair.loss, pair.rival_loss) == (8, 9, -1, -1)


def test_as_far_to_either_side_says_nothing() -> None:
    [pair] = pairs(MADE, SECOND, OutcomeEntry(9, b"true", true_value=10.5))
    assert (pair.predicted, pair.label) == (0, 0)


@pytest.mark.parametrize("huge", [1e308, -1e308])
def test_numbers_whose_errors_overflow_say_nothing(huge: float) -> None:
    one, other = (msgspec.structs.replace(each, value=huge) for each in (MADE, SECOND))
    [pair] = pairs(one, other, OutcomeEntry(9, b"true", true_value=-huge))
    assert (pair.predicted, pair.label) == (0, 0)


def test_a_correction_takes_back_what_was_said_of_two_numbers() -> None:
    found = pairs(MADE, SECOND, OutcomeEntry(9, b"true", true_value=10.0), OutcomeEntry(20, b"again", true_value=12.0))
    assert sorted((row.sign, row.predicted, row.label, row.known_at) for row in found) == [(-1, 0, 1, 20), (1, 1, 0, 20)]


def test_a_number_is_not_compared_with_a_label() -> None:
    labelled = PredictionEntry("m", "2", 8, 0.9, BINARY | POSITIVE, None, b"two")
    assert not pairs(MADE, labelled, OutcomeEntry(9, b"true", label=1, true_value=10.0))
    assert not pairs(MADE, SECOND, OutcomeEntry(9, b"true", label=1))
