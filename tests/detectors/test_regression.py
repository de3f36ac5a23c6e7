"""Predictions of a number through the whole fold: coverage of their intervals, size of their errors; found, quiet, and free of order."""

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, findings, fold, state

from detectors.error_cells import CELLS, EDGES, FINE, LOWER_ENDS, error_cell, quantile
from detectors.model_version import ModelVersion
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.figures import RegressionFigures
from schemas.findings import Event, EventType
from schemas.policy import parse_policy

CHANGE = START_MS + 60 * DAY_MS
PLAIN = parse_policy('[models.demand]\nages = ["2d", "8d"]\n')
POLICY = parse_policy(PLAIN.toml + "[models.demand.watch.regression]\n")
Z_90 = 1.6449


def demand(
    *, seed: int, scale: float = 1.0, width: float = 1.0, days: int = 85, per_day: int = 60, interval: bool = True, unit: float = 1.0
) -> list[Record]:
    """A model that is off by 10 (one deviation), with intervals of 90 %; from day 60 on errors or intervals are so many times as large."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    after = at >= CHANGE
    predicted = rng.normal(400, 80, n)
    true = predicted + rng.normal(0, 10, n) * np.where(after, scale, 1.0)
    half = Z_90 * 10 * np.where(after, width, 1.0)
    region = rng.choice(["north", "south"], n)
    known = at + (rng.exponential(1.0, n) * DAY_MS).astype(np.int64) + 1
    records: list[Record] = []
    for i in range(n):
        made = {"request_id": f"r{i}", "model_id": "demand", "model_version": "1", "timestamp": int(at[i])}
        made |= {"predicted_value": predicted[i] * unit, "subgroups": {"region": str(region[i])}}
        if interval:
            ends = {"lower": (predicted[i] - half[i]) * unit, "upper": (predicted[i] + half[i]) * unit}
            made["interval"] = ends | {"level": 0.9}
        records.append((int(at[i]), "predictions", made))
        outcome = {"request_id": f"r{i}", "timestamp": int(known[i]), "true_value": true[i] * unit}
        records.append((int(known[i]), "outcomes", outcome))
    return sorted(records, key=lambda record: record[0])


def opened(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.type == EventType.DRIFT_OPENED]


def of_errors(events: Sequence[Event]) -> list[Event]:
    """Incidents of errors; beside them labels may come sooner or later by chance, which shares the budget."""
    return [event for event in opened(events) if event.data.kind.value == "regression"]


def metrics(events: Sequence[Event]) -> set[str]:
    return {monitor.metric for event in events if event.type.startswith("gnomon.drift.") for monitor in event.data.monitors}


def figures(watch: Watch) -> list[RegressionFigures]:
    return [segment.regression for segment in report([watch]).models[0].segments]  # type: ignore[misc]


@pytest.mark.parametrize("unit", [1.0, 1e-4])
def test_larger_errors_are_found_within_days_and_named(unit: float) -> None:
    _, events = fold(demand(seed=5, scale=1.5, interval=False, unit=unit), policy=POLICY)
    event = of_errors(events)[0]
    assert (event.data.metric, event.data.direction.value) == ("regression", "up")
    assert CHANGE < event.time_ms <= CHANGE + 20 * DAY_MS
    assert event.data.message.startswith("Absolute errors of demand 1")
    assert " shifted: the share of absolute errors above " in event.data.message
    assert event.data.current.value > event.data.baseline.hi
    assert event.data.impact is None
    later = [event for event in events if event.type in (EventType.DRIFT_UPDATED, EventType.DRIFT_ESCALATED)]
    assert any("median absolute error" in event.data.message for event in later)


def test_smaller_errors_are_found_too() -> None:
    _, events = fold(demand(seed=5, scale=0.6, interval=False), policy=POLICY)
    event = of_errors(events)[0]
    assert (event.data.metric, event.data.direction.value) == ("regression", "down")
    assert event.time_ms > CHANGE
    assert "absolute errors up to " in event.data.message


def test_intervals_that_hold_too_little_are_miscalibrated() -> None:
    """Without the family: whether the interval holds the truth is calibration and error like any other."""
    _, events = fold(demand(seed=7, width=0.779), policy=PLAIN)  # 80 % in place of 90 %
    first = opened(events)[0]
    assert first.data.metric in ("calibration", "error")
    assert CHANGE < first.time_ms <= CHANGE + 30 * DAY_MS
    assert {"calibration", "error"} <= metrics(events) <= {"calibration", "error", "coverage"}


def test_calm_numbers_raise_no_more_than_the_budget() -> None:
    """One false page in 30 days, of all families together; of errors alone none is to be expected."""
    found = [event.data.metric for seed in range(4) for event in opened(fold(demand(seed=seed), policy=POLICY)[1])]
    assert len(found) <= 4 * (85 - 28) / 30
    assert "regression" not in found


def test_figures_are_those_of_the_numbers() -> None:
    records = demand(seed=3, days=20)
    watch, _ = fold(records)
    made = {record["request_id"]: record for _, topic, record in records if topic == "predictions"}
    error, held = [], []
    for _, topic, record in records:
        if topic == "outcomes":
            claim, true = made[record["request_id"]], record["true_value"]
            error.append(claim["predicted_value"] - true)
            held.append(claim["interval"]["lower"] <= true <= claim["interval"]["upper"])
    whole = figures(watch)[0]
    assert whole.n == len(error)
    assert whole.mae == pytest.approx(np.mean(np.abs(error)), rel=1e-9)
    assert whole.rmse == pytest.approx(np.sqrt(np.mean(np.square(error))), rel=1e-9)
    assert whole.mean_error == pytest.approx(np.mean(error), rel=1e-9)
    assert whole.median_absolute_error == pytest.approx(np.median(np.abs(error)), rel=0.036)
    assert whole.p90_absolute_error == pytest.approx(np.quantile(np.abs(error), 0.9), rel=0.036)
    assert whole.coverage is not None
    assert whole.coverage.value == np.mean(held)
    assert whole.coverage.lo < 0.9 < whole.coverage.hi
    assert whole.level == pytest.approx(0.9, rel=1e-9)
    segments = report([watch]).models[0].segments
    assert [segment.segment for segment in segments] == [{}, {"region": "north"}, {"region": "south"}]
    assert sum(one.n for one in figures(watch)[1:]) == whole.n


AGED = parse_policy('[models.demand]\nages = ["12h", "2d"]\n')


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e6])
def test_the_mature_rung_has_the_figures_of_numbers_known_by_its_age(unit: float) -> None:
    records = demand(seed=3, days=20, unit=unit)
    watch, _ = fold(records, policy=AGED)
    model = report([watch]).models[0]
    made = {record["request_id"]: record for _, topic, record in records if topic == "predictions"}
    known = [(made[record["request_id"]], record) for _, topic, record in records if topic == "outcomes"]
    for aged, later in zip(model.mature, model.segments, strict=True):
        mine = [pair for pair in known if aged.segment.items() <= pair[0]["subgroups"].items()]
        in_time = [(claim, told) for claim, told in mine if told["timestamp"] - claim["timestamp"] <= 2 * DAY_MS]
        error = np.array([claim["predicted_value"] - told["true_value"] for claim, told in in_time])
        held = [claim["interval"]["lower"] <= told["true_value"] <= claim["interval"]["upper"] for claim, told in in_time]
        figures = aged.regression
        assert figures is not None
        assert figures.n == aged.n_labelled == len(error)
        assert later.regression is not None
        assert 0.8 * later.regression.n < len(error) < 0.93 * later.regression.n == 0.93 * len(mine)
        assert figures.mae == pytest.approx(np.mean(np.abs(error)), rel=1e-9)
        assert figures.rmse == pytest.approx(np.sqrt(np.mean(np.square(error))), rel=1e-9)
        assert figures.mean_error == pytest.approx(np.mean(error), rel=1e-9)
        assert figures.median_absolute_error == pytest.approx(np.median(np.abs(error)), rel=0.036)
        assert figures.p90_absolute_error == pytest.approx(np.quantile(np.abs(error), 0.9), rel=0.036)
        assert figures.coverage is not None
        assert (figures.coverage.value, figures.coverage.n) == (np.mean(held), len(held))
        assert figures.level == pytest.approx(0.9, rel=1e-9)
    assert [one.segment for one in model.mature] == [{}, {"region": "north"}, {"region": "south"}]


def test_quantiles_of_the_mature_rung_are_those_of_all_labels_where_none_comes_later() -> None:
    watch, _ = fold(demand(seed=3, days=20), policy=parse_policy('[models.demand]\nages = ["30d"]\n'))
    model = report([watch]).models[0]
    for aged, later in zip(model.mature, model.segments, strict=True):
        assert aged.regression is not None
        assert later.regression is not None
        assert (aged.regression.n, aged.regression.median_absolute_error, aged.regression.p90_absolute_error) == (
            later.regression.n,
            later.regression.median_absolute_error,
            later.regression.p90_absolute_error,
        )


def test_what_comes_after_the_mature_age_changes_no_figure_of_it() -> None:
    """Labels that come later, corrections that become known later: in the figures so far, not in those at the age."""
    records = demand(seed=3, days=12, per_day=30)
    made_at = {record["request_id"]: at for at, topic, record in records if topic == "predictions"}
    early = [r for r in records if r[1] == "predictions" or r[0] - made_at[r[2]["request_id"]] <= 2 * DAY_MS]
    wrong = []
    for _, topic, record in early[:200]:
        if topic == "outcomes":
            at = made_at[record["request_id"]] + 3 * DAY_MS
            wrong.append((at, topic, record | {"timestamp": at, "true_value": record["true_value"] + 1_000.0}))
    assert len(wrong) > 50
    alone, more = (report([fold(sorted(each, key=lambda r: r[0]), policy=AGED)[0]]).models[0] for each in (early, records + wrong))
    assert [one.regression for one in more.mature] == [one.regression for one in alone.mature]
    assert more.segments[0].regression.rmse > 10 * alone.segments[0].regression.rmse  # type: ignore[union-attr]
    assert more.segments[0].regression.n == 360 > alone.mature[0].regression.n > 300  # type: ignore[union-attr]


def test_a_number_that_is_corrected_in_time_counts_once() -> None:
    made = {"request_id": "a", "model_id": "demand", "model_version": "1", "timestamp": 0, "predicted_value": 10.0}
    told = [{"request_id": "a", "timestamp": hour * 3_600_000, "true_value": value} for hour, value in ((1, 4.0), (30, 12.5), (60, 99.0))]
    for order in ((made, *told), (*told, made), (told[2], made, told[0], told[1])):
        records = [(r["timestamp"], "predictions" if "model_id" in r else "outcomes", r) for r in order]
        model = report([fold(records, policy=AGED, ticks=False)[0]]).models[0]
        found = model.mature[0].regression
        assert found is not None
        assert (found.n, found.mean_error, found.mae, found.rmse) == (1, -2.5, 2.5, 2.5)


def test_without_intervals_nothing_is_right_or_wrong() -> None:
    watch, _ = fold(demand(seed=3, days=10, interval=False), policy=AGED)
    for whole in (report([watch]).models[0].segments[0], report([watch]).models[0].mature[0]):
        assert whole.regression is not None
        assert whole.regression.coverage is None
        assert (whole.accuracy, whole.base_rate, whole.calibration_slope) == (None, None, None)
        assert whole.n_labelled == whole.regression.n
    assert report([watch]).models[0].segments[0].n_labelled == 600
    assert report([watch]).models[0].errors == []


def test_findings_and_state_do_not_depend_on_where_the_log_is_cut() -> None:
    records = demand(seed=5, scale=1.5, per_day=40)
    watch, events = fold(records, policy=POLICY)
    other, found = fold(records, policy=POLICY, chunk=97)
    assert findings(found) == findings(events) != []
    assert state(other) == state(watch)


def test_order_of_arrival_corrections_and_conflicts_change_no_figure() -> None:
    records = demand(seed=5, days=10, per_day=30)
    again = [(at, topic, record | {"true_value": 0.5 * record["true_value"]}) for at, topic, record in records if topic == "outcomes"][:50]
    for n, (_, _, record) in enumerate(again):
        record["timestamp"] += n + 1
    rivals = [(at, topic, record | {"predicted_value": 1.0}) for at, topic, record in records if topic == "predictions"][50:90]
    records = records + again + rivals
    straight, _ = fold(records, ticks=False)
    shuffled = random.Random(1).sample(records, len(records))
    mixed, _ = fold(shuffled, ticks=False, chunk=77)
    assert report([mixed]).models == report([straight]).models
    assert figures(straight)[0].n == 300
    backwards, _ = fold(records[::-1], ticks=False, chunk=10)
    assert report([backwards]).models == report([straight]).models


def test_a_restart_changes_nothing() -> None:
    records = demand(seed=5, scale=1.5, days=80, per_day=40)
    watch, events = fold(records, policy=POLICY, close=False)
    version = watch.models["demand"]["1"]
    saved = msgspec.msgpack.encode(version.to_state())
    again = ModelVersion.from_state(msgspec.msgpack.decode(saved), "demand", "1", version.policy, 4_096)
    assert msgspec.msgpack.encode(again.to_state()) == saved
    assert len(again.sums.tables["total_errors"].keys)
    assert len(again.mature_sums.errors.keys)
    again.take_back_time(version.watermark_ms)
    later = [each.advance(START_MS + 300 * DAY_MS, lambda _: 1.0) for each in (version, again)]
    assert findings(later[0]) == findings(later[1])
    assert msgspec.msgpack.encode(again.to_state()) == msgspec.msgpack.encode(version.to_state())
    assert "regression" in metrics(events)


def test_a_model_without_numbers_has_no_tables_and_no_monitors_of_them() -> None:
    records: list[Record] = []
    for at, topic, record in demand(seed=1, days=40):
        if topic == "predictions":
            kept = {name: value for name, value in record.items() if name not in {"predicted_value", "interval"}}
            records.append((at, topic, kept | {"score": 0.25}))
        else:
            records.append((at, topic, {"request_id": record["request_id"], "timestamp": at, "true_label": int(at % 4 == 0)}))
    watch, _ = fold(records, policy=POLICY)
    version = watch.models["demand"]["1"]
    assert not len(version.sums.tables["error_cells"].keys) + len(version.sums.tables["total_errors"].keys)
    assert version.mature_sums.to_state()["errors"] == [b"", b""]
    assert len(version.mature_sums.known.keys) == len(report([watch]).models[0].mature) == 3
    assert {one.regression for one in report([watch]).models[0].mature} == {None}
    panels = [panel for panels in version.bank.panels.values() for panel in panels if panel.bet.name == "errors"]
    assert [panel.monitors.count for panel in panels] == [0] * len(panels) != []
    plain, _ = fold(records, policy=PLAIN)
    assert report([plain]).models[0].segments[0].regression is None


def test_cells_hold_what_they_say_in_any_unit() -> None:
    error = np.random.default_rng(1).lognormal(0, 12, 10_000).clip(2e-6, 1e12)
    cell = error_cell(error)
    assert ((LOWER_ENDS[cell] <= error) & (error < np.append(LOWER_ENDS, np.inf)[cell + 1])).all()
    assert (EDGES[cell // 4] <= error).all()
    assert (error_cell(-error) == cell).all()
    for share in (0.1, 0.5, 0.9):
        want = np.quantile(error.clip(0, 9e9), share, method="inverted_cdf")
        assert quantile(np.bincount(error_cell(error.clip(0, 9e9)), minlength=FINE), share) == pytest.approx(want, rel=0.075)
    coarse = np.bincount(cell // 4, minlength=CELLS)
    assert quantile(coarse, 0.5) == pytest.approx(np.median(error), rel=0.34)
