"""What was known at an age, timeouts by arithmetic, and the fates of predictions, each against a plain count per request."""

import math

import pytest
from support.stories import DAY_MS, START_MS, Record, fold, story

from detectors.cells import KNOWN, MADE
from detectors.panes import PANE_MS, pane_of
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.policy import parse_policy

HORIZON = parse_policy('[models.m]\nages = ["1d"]\nhorizon = "4d"\non_timeout = "negative"\n')
RECORDS = story(seed=2, days=40, delay_days=3, labelled=0.7)


def plain(records: list[Record]) -> dict[str, tuple[int, int, int, float, int | None]]:
    """request id -> predicted at, known at, predicted, score, label; all by hand."""
    out = {}
    made = {record["request_id"]: record for _, topic, record in records if topic == "predictions"}
    known = {record["request_id"]: record for _, topic, record in records if topic == "outcomes"}
    for key, p in made.items():
        o = known.get(key)
        out[key] = (p["timestamp"], o["timestamp"] if o else 2**62, p["predicted_label"], p["score"], o["true_label"] if o else None)
    return out


def test_the_mature_rung_counts_unlabelled_predictions_as_negatives_and_only_labels_known_by_its_age() -> None:
    watch, _ = fold(RECORDS, policy=HORIZON)
    [figures] = [one for one in report([watch]).models[0].mature if not one.segment]
    cells = {"tp": 0, "fp": 0, "tn": 0, "fn": 0}
    brier = loss = 0.0
    for predicted_at, known_at, predicted, score, label in plain(RECORDS).values():
        y = label if label is not None and known_at - predicted_at <= 4 * DAY_MS else 0
        cells[("tn", "fp", "fn", "tp")[2 * y + predicted]] += 1
        brier += (score - y) ** 2
        loss -= math.log(min(max(score if y else 1 - score, 1e-15), 1 - 1e-15))
    n = len(plain(RECORDS))
    assert {cell: getattr(figures, cell) for cell in cells} == cells
    assert figures.brier == pytest.approx(brier / n, abs=1e-9)
    assert figures.log_loss == pytest.approx(loss / n, abs=1e-8)


def test_pending_expired_and_late_add_up() -> None:
    watch, _ = fold(RECORDS, policy=HORIZON)
    join = report([watch]).join
    rows = plain(RECORDS).values()
    assert join.joined == sum(label is not None for *_, label in rows)
    assert join.late == sum(label is not None and known - made > 4 * DAY_MS for made, known, _, _, label in rows)
    assert join.expired == sum(label is None for *_, label in rows)
    assert join.pending == 0
    assert join.predictions == join.joined + join.pending + join.expired


def test_without_a_horizon_nothing_expires() -> None:
    watch, _ = fold(RECORDS)
    join = report([watch]).join
    assert (join.expired, join.late) == (0, 0)
    assert join.pending == sum(label is None for *_, label in plain(RECORDS).values())


def test_a_rung_reads_what_was_known_at_its_age_though_a_correction_came_before_it_read() -> None:
    """Labelled 1 after an hour, corrected to 0 after two days: at the age of a day it was a 1, whenever the records came."""
    made = {"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 0, "score": 0.9, "predicted_label": 1}
    first = {"request_id": "a", "timestamp": 3_600_000, "true_label": 1}
    second = {"request_id": "a", "timestamp": 2 * DAY_MS, "true_label": 0}
    for order in ((made, first, second), (second, made, first), (second, first, made)):
        records = [(r["timestamp"], "predictions" if "score" in r else "outcomes", r) for r in order]
        watch, _ = fold(records, policy=HORIZON, ticks=False, close=False)
        assert at_class(watch, 1) == (1, 0)
        assert at_class(watch, 2) == (0, 1)


def at_class(watch: Watch, top: int) -> tuple[int, int]:
    [(_, _, known, *_)] = watch.models["m"]["1"].sums.read([(0, 10_000)], top)
    return int(known[0, KNOWN.at["tp"]]), int(known[0, KNOWN.at["fp"]])


def pair(prediction: dict[str, object], outcome: dict[str, object]) -> list[Record]:
    made = {"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 0} | prediction
    return [(0, "predictions", made), (1_000, "outcomes", {"request_id": "a", "timestamp": 1_000} | outcome)]


@pytest.mark.parametrize(("score", "label", "cell"), [(0.1, "cat", "fn"), (0.9, "cat", "fp"), (0.1, "0", "tn"), (0.9, 2, "fp")])
def test_a_foreign_label_to_a_binary_prediction_is_wrong_and_times_nothing_out_twice(score: float, label: object, cell: str) -> None:
    policy = parse_policy('[models.m]\nages = ["1d"]\nhorizon = "4d"\non_timeout = "negative"\ncost = { fp = 5.0, fn = 9.0 }\n')
    watch, _ = fold(pair({"score": score}, {"true_label": label}), policy=policy)
    model = report([watch]).models[0]
    for figures in (model.segments[0], model.mature[0]):
        assert {name: getattr(figures, name) for name in ("tp", "fp", "tn", "fn")} == {"tp": 0, "fp": 0, "tn": 0, "fn": 0} | {cell: 1}


def test_a_prediction_that_lost_its_slot_leaves_no_segment_behind() -> None:
    first = {"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 5, "score": 0.9, "subgroups": {"g": "A"}}
    second = first | {"timestamp": 9, "subgroups": {"g": "B"}}
    for order in ((first, second), (second, first)):
        watch, _ = fold([(r["timestamp"], "predictions", r) for r in order], close=False, ticks=False)
        assert [one.segment for one in report([watch]).models[0].segments] == [{}, {"g": "A"}]


@pytest.mark.parametrize("labelled", [True, False])
def test_what_an_age_has_read_merges_while_older_ages_are_undecided(labelled: bool) -> None:
    """Labels come within seconds, or not at all: what 12 minutes add is known after 12 minutes, and nobody needs narrow panes for it."""
    records: list[Record] = []
    for i in range(3_000):
        at = START_MS + i * 200
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.7, "predicted_label": 1}
        records.append((at, "predictions", made))
        if labelled or i == 2_999:  # the last one, so that the time of outcomes comes on
            records.append((at + 2_000, "outcomes", {"request_id": f"r{i}", "timestamp": at + 2_000, "true_label": 1}))
    watch, _ = fold(sorted(records, key=lambda record: record[0]), close=False)
    version = watch.models["m"]["1"]
    made_sums = version.sums.tables["made"]
    panes = pane_of(made_sums.keys) * PANE_MS
    old = panes[panes < START_MS + 300_000]
    assert version.ladder.mature is None
    assert old.tolist() == [START_MS + minute * 60_000 for minute in range(5)]
    assert MADE.count(made_sums.rows, "n").sum() == 3_000
