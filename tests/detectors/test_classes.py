"""Which class was taken for which: counted from the labels, taken back by corrections, bounded, and nothing for other models."""

import random
from collections import Counter

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, fold, story

from detectors.baselines.wilson import wilson
from detectors.companions.classes import MOST, Classes
from detectors.waiting import together
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.policy import parse_policy
from schemas.report import Confusion
from schemas.scored import Origin, Rows

POLICY = parse_policy('[models.m]\nages = ["2d"]\n')
NAMES = ("cat", "dog", "fox")


def animals(*, seed: int, n: int = 600, names: tuple[str, ...] = NAMES, corrected: float = 0.0) -> list[Record]:
    """Predictions of classes, four in five right; so many labels are wrong at first, and put right two days later."""
    r, records = random.Random(seed), []
    for i in range(n):
        at = START_MS + i * DAY_MS // 40
        true = r.choice(names)
        said = true if r.random() < 0.8 else r.choice(names)
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": at, "predicted_label": said}
        records.append((at, "predictions", made))
        known = at + r.randrange(DAY_MS)
        if r.random() < corrected:
            records.append((known, "outcomes", {"request_id": f"r{i}", "timestamp": known, "true_label": r.choice(names)}))
            known += 2 * DAY_MS
        records.append((known, "outcomes", {"request_id": f"r{i}", "timestamp": known, "true_label": true}))
    return sorted(records, key=lambda record: record[0])


def counted(records: list[Record]) -> Counter[tuple[str, str]]:
    """Pairs of (true, predicted), by the last label of each request."""
    said = {r["request_id"]: r["predicted_label"] for _, topic, r in records if topic == "predictions"}
    true = {r["request_id"]: r["true_label"] for _, topic, r in records if topic == "outcomes"}
    return Counter((true[i], said[i]) for i in said)


def found(watch: Watch) -> Confusion:
    classes = report([watch]).models[0].classes
    assert classes is not None
    return classes


def test_confusion_is_that_of_a_count_with_recall_and_precision_by_class() -> None:
    records = animals(seed=1)
    watch, _ = fold(records, policy=POLICY, close=False)
    classes, pairs = found(watch), counted(records)
    assert {(pair.true, pair.predicted): pair.n for pair in classes.pairs} == pairs
    assert classes.n == 600
    assert [pair.n for pair in classes.pairs] == sorted(pairs.values(), reverse=True)
    for each in classes.classes:
        n, said = (sum(count for pair, count in pairs.items() if pair[side] == each.name) for side in (0, 1))
        right = pairs[each.name, each.name]
        assert (each.n, each.predicted) == (n, said)
        for rate, of in ((each.recall, n), (each.precision, said)):
            assert rate is not None
            assert (rate.value, rate.n) == (right / of, of)
            assert (rate.lo, rate.hi) == pytest.approx(wilson(of, right, 1.96), rel=1e-3)


@pytest.mark.parametrize("chunk", [1, 37, 10_000])
def test_corrections_are_taken_back_and_nothing_hangs_on_batches(chunk: int) -> None:
    records = animals(seed=2, corrected=0.3)
    watch, _ = fold(records, policy=POLICY, close=False, chunk=chunk)
    assert {(pair.true, pair.predicted): pair.n for pair in found(watch).pairs} == counted(records)


@pytest.mark.parametrize("seed", [3, 4])
def test_any_order_of_arrival_gives_the_same(seed: int) -> None:
    records = animals(seed=2, corrected=0.3)
    shuffled = random.Random(seed).sample(records, len(records))
    watches = [fold(each, policy=POLICY, close=False, ticks=False)[0] for each in (records, shuffled)]
    assert found(watches[0]) == found(watches[1])


def test_labels_that_are_called_0_or_1_are_classes_where_the_prediction_was_one() -> None:
    records = animals(seed=5, names=("cat", "dog"), n=200)
    numbered = [
        (at, topic, r | {"true_label": {"cat": 0, "dog": 1}[r["true_label"]]} if "true_label" in r else r) for at, topic, r in records
    ]
    watch, _ = fold(numbered, policy=POLICY, close=False)
    assert {pair.true for pair in found(watch).pairs} == {"0", "1"}
    assert {pair.predicted for pair in found(watch).pairs} == {"cat", "dog"}


def test_classes_beyond_the_cap_are_together() -> None:
    names = tuple(f"c{i:03d}" for i in range(200))
    records = animals(seed=6, n=2_000, names=names)
    watch, _ = fold(records, policy=POLICY, close=False)
    classes = found(watch)
    assert len(classes.classes) == MOST + 1
    assert classes.classes[0].name == "__other__"
    assert classes.classes[0].recall is classes.classes[0].precision is None  # which of the rest was taken for which is not known
    assert all(each.recall is not None and each.precision is not None for each in classes.classes[1:])
    assert classes.n == sum(pair.n for pair in classes.pairs) == 2_000
    first = list(dict.fromkeys(name for _, topic, r in records if topic == "outcomes" for name in (r["true_label"],)))
    assert {each.name for each in classes.classes[1:]} & set(first[:10])


def test_state_comes_back() -> None:
    watch, _ = fold(animals(seed=1), policy=POLICY, close=False)
    member = watch.companions["m"].members["classes"]
    again = Classes("m", POLICY.for_model("m"))
    again.load(msgspec.msgpack.decode(msgspec.msgpack.encode(member.to_state())))
    assert again.to_state() == member.to_state()
    assert np.array_equal(again.versions["1"].matrix(), member.versions["1"].matrix())


def test_models_of_yes_and_no_have_none_and_pay_nothing() -> None:
    watch, _ = fold(story(seed=1, days=5), policy=POLICY, close=False)
    assert report([watch]).models[0].classes is None
    assert watch.companions["m"].members["classes"].to_state() is None


def test_classes_keep_their_names_where_messages_are_counted_together() -> None:
    def message(*texts: str) -> Rows:
        one, two = ((number).to_bytes(4, "little") for number in (1, 2))
        return Rows("m", [Origin("outcomes", "o", 0)], 1, {"kind": b"\x02", "said": one, "truth": two}, ["1"], ["", *texts])

    rows = together([message("cat", "dog"), message("dog", "cat"), message("fox", "cat")])
    named = [[rows.texts[code] for code in rows.column(name).tolist()] for name in ("said", "truth")]
    assert named == [["cat", "dog", "fox"], ["dog", "cat", "cat"]]
