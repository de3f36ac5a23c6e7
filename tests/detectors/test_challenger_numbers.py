"""Versions that predict numbers: which of two was further from the truth, from the records to what is said of them."""

import re
from functools import cache

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, findings, fold

from detectors.companions.challenger import Challengers, _comparison
from detectors.entries import BINARY, POSITIVE, VALUED, OutcomeEntry, PredictionEntry, encode_entry
from detectors.join_rows import Row
from detectors.join_rule import rule
from detectors.pair_panes import PAIR
from detectors.pair_words import size_difference
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.policy_models import DEFAULT_FAMILIES, ModelPolicy
from schemas.scored import Kind, Origin, Rows

ALONE = "".join(f"[models.demand.watch.{family}]\nenabled = false\n" for family in DEFAULT_FAMILIES)
WATCHED = parse_policy(f'[models.demand]\nages = ["2d"]\n{ALONE}[models.demand.watch.challenger]\n')
MEAN_OF_ONE = np.sqrt(2 / np.pi)  # absolute error of one deviation
BY = re.compile(
    r"its mean absolute error is (\S+), the champion's (\S+), the difference (\S+) \((\S+) to (\S+)\)\. "
    r"Consider it in the champion's place\."
)
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
    own, rival, gap, lo, hi = (float(x) for x in BY.search(data.message).groups())  # type: ignore[union-attr]
    assert gap == pytest.approx(own - rival, abs=0.03)
    assert lo < gap < hi < 0
    assert lo < MEAN_OF_ONE * (7 - 10) < hi
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
    means = off["1"].mean(), off["2"].mean()
    assert (first.mae, first.rival_mae) == (second.rival_mae, second.mae) == pytest.approx(means, rel=1e-9)
    assert second.mae_difference.value == pytest.approx(means[1] - means[0], rel=1e-9)
    assert (second.mae_difference.lo, second.mae_difference.hi) == pytest.approx((-first.mae_difference.hi, -first.mae_difference.lo))
    # an interval that holds at any time is wider than that of one look, and not three times as wide
    once = 1.96 * (off["2"] - off["1"]).std() / np.sqrt(len(truth))
    assert once < second.mae_difference.hi - second.mae_difference.value < 3 * once


def seldom_far_off(days: int = 60, per_day: int = 60) -> list[Record]:
    """Version 2 is closer in four of five requests, and far off in the fifth."""
    rng, records = np.random.default_rng(4), []
    for i in range(days * per_day):
        at, off = START_MS + i * DAY_MS // per_day, 100.0 if rng.random() < 0.2 else 1.0
        for version, value in (("1", rng.choice([-2.0, 2.0])), ("2", rng.choice([-off, off]))):
            made = {"request_id": f"r{i}", "model_id": "demand", "model_version": version, "timestamp": at}
            records.append((at, "predictions", made | {"predicted_value": 400.0 + float(value)}))
        records.append((at + 60_000, "outcomes", {"request_id": f"r{i}", "timestamp": at + 60_000, "true_value": 400.0}))
    return sorted(records, key=lambda record: record[0])


def test_mostly_closer_and_at_times_far_off_is_said_so() -> None:
    watch, events = fold(seldom_far_off(), policy=WATCHED)
    opened, *later = (event.data.message for event in of_rivals(events))
    assert opened.startswith("Version 2 of demand is closer to the truth than the champion 1: ")
    assert opened.endswith("Consider it in the champion's place.")  # some dozens of requests do not say by how much
    assert later[-1].endswith("Its errors are larger on average, though: look at its largest ones.")
    [mine] = report([watch]).models[1].comparisons
    assert mine.difference.hi < 0 < mine.mae_difference.lo
    assert mine.mae_difference.value == pytest.approx(0.2 * 100 + 0.8 * 1 - 2, abs=2)


def test_what_was_corrected_counts_once_by_how_much_too() -> None:
    """True values that were wrong by much at first: figures are those of the right ones, in any order of arrival."""
    records = forecasts(seed=7, off={"1": 10.0, "2": 7.0}, days=10)
    first = [(at, topic, r | {"true_value": r["true_value"] + 1e6} if topic == "outcomes" else r) for at, topic, r in records]
    again = [(at + DAY_MS, topic, r | {"timestamp": at + DAY_MS}) for at, topic, r in records if topic == "outcomes"]
    plain, _ = fold(records, policy=WATCHED)
    for changed in (sorted(first + again, key=lambda record: record[0]), again + first):
        watch, _ = fold(changed, policy=WATCHED, ticks=False)
        for mine, right in zip(report([watch]).models, report([plain]).models, strict=True):
            assert mine.comparisons[0].mae == right.comparisons[0].mae
            assert mine.comparisons[0].mae_difference == right.comparisons[0].mae_difference


def test_rows_of_a_join_that_said_nothing_of_errors_are_compared_as_before() -> None:
    origin = [Origin("outcomes", "o", 0)]
    one = {"kind": b"\x06", "predicted": b"\x01", "binary": b"\x00", "rival": b"\x01\x00", "offset": (5).to_bytes(8, "little")}
    pairs = Challengers("m", WATCHED.for_model("m"))
    pairs.add(Rows("m", origin, 1, one, ["1"], ["", "2"]), np.array([0]))
    sums = pairs.versions["1"].totals.rows[0]
    assert sums[[PAIR.at["n"], PAIR.at["numbers"]]].tolist() == [1, 1]
    assert size_difference(*pairs.versions["1"].sizes(0)) is None


def test_what_is_taken_back_before_it_came_shows_no_errors_below_zero() -> None:
    """Two workers of a join: the row that takes a pair of far errors back is read before the pair."""
    n = 5
    near, far = [1.0] * (n - 1), [900.0]
    columns = {
        "kind": bytes([Kind.PAIR]) * n,
        "sign": np.array([1] * (n - 1) + [-1], "i1").tobytes(),
        "binary": bytes(n),
        "rival": np.array([1] * n, "<u2").tobytes(),
        "error": np.array(near + far).tobytes(),
        "rival_error": np.array(near + far).tobytes(),
    }
    rivals = Challengers("m", ModelPolicy())
    rivals.add(Rows("m", [], n, columns, ["1"], ["", "2"]), np.arange(n))
    [found] = [_comparison(mine, mine.names[1], mine.totals.rows[0]) for name, mine in rivals.versions.items() if name == "1"]
    assert found is not None
    assert (found.n, found.mae, found.rival_mae, found.mae_difference) == (n - 2, None, None, None)


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
    assert (pair.error, pair.rival_error) == (-1.0, 2.0)


def test_as_far_to_either_side_says_nothing() -> None:
    [pair] = pairs(MADE, SECOND, OutcomeEntry(9, b"true", true_value=10.5))
    assert (pair.predicted, pair.label) == (0, 0)


@pytest.mark.parametrize("huge", [1e308, -1e308])
def test_numbers_whose_errors_overflow_say_nothing(huge: float) -> None:
    one, other = (msgspec.structs.replace(each, value=huge) for each in (MADE, SECOND))
    [pair] = pairs(one, other, OutcomeEntry(9, b"true", true_value=-huge))
    assert (pair.predicted, pair.label, pair.error, pair.rival_error) == (0, 0, None, None)


def test_a_correction_takes_back_what_was_said_of_two_numbers() -> None:
    found = pairs(MADE, SECOND, OutcomeEntry(9, b"true", true_value=10.0), OutcomeEntry(20, b"again", true_value=12.0))
    assert sorted((row.sign, row.predicted, row.label, row.known_at) for row in found) == [(-1, 0, 1, 20), (1, 1, 0, 20)]


def test_a_number_is_not_compared_with_a_label() -> None:
    labelled = PredictionEntry("m", "2", 8, 0.9, BINARY | POSITIVE, None, b"two")
    assert not pairs(MADE, labelled, OutcomeEntry(9, b"true", label=1, true_value=10.0))
    assert not pairs(MADE, SECOND, OutcomeEntry(9, b"true", label=1))
