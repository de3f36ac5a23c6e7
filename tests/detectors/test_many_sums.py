"""Rows of many small versions, counted in one go: every table is the one that each would have alone."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from support.stories import DAY_MS, OUTCOMES, PREDICTIONS, START_MS

from detectors import many_sums, read_together
from detectors.many_sums import Lot, add_lots
from detectors.model_version import ModelVersion
from detectors.pane_reader import Asked, read_many, read_panes
from detectors.panes import MOST_DEPOSITS
from schemas.policy import Policy, parse_policy
from schemas.scored import COLUMNS, Kind, Rows

POLICY = parse_policy(
    """
    [models.m1]
    ages = ["10m", "1d"]
    [models.m2]
    ages = ["1h"]
    horizon = "2d"
    on_timeout = "negative"
    cost = { fp = 5.0, fn = "amount" }
    """
)


def message(rng: np.random.Generator, model_id: str, offset: int) -> Rows:
    """Return a few rows of two versions: predictions, labels, costs, and some that only count a status."""
    n, now = int(rng.integers(1, 12)), START_MS + offset * 40_000
    kind = rng.choice([Kind.COUNT, Kind.PREDICTION, Kind.LABEL, Kind.COST], n)
    predicted_at = now - rng.integers(0, 60_000, n) * rng.choice([0, 1, 200], n)
    columns = {
        "kind": kind,
        "origin": rng.integers(0, 2, n),
        "offset": offset + np.arange(n),
        "version": rng.integers(0, 2, n),
        "predicted_at": predicted_at,
        "known_at": predicted_at + rng.integers(0, 2 * DAY_MS, n),
        "score": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 30, n) / 30),
        "predicted": rng.integers(0, 2, n),
        "label": rng.integers(0, 2, n),
        "abstained": rng.random(n) < 0.1,
        "amount": rng.integers(0, 10**7, n),
        "money": rng.integers(0, 10**7, n) * (kind == Kind.COST),
    }
    if model_id == "m3":
        columns |= {"error": np.where(kind == Kind.LABEL, rng.normal(size=n), np.nan), "binary": np.zeros(n)}
    packed = {name: np.asarray(column).astype(COLUMNS[name][0]).tobytes() for name, column in columns.items()}
    names = [["site"], ["site", "age"], []][offset % 3]
    dimensions = {name: rng.integers(0, 4, n).astype("<u4").tobytes() for name in names}
    texts = ["", *rng.permutation(["a", "b", "c"]).tolist()]
    return Rows(model_id, [PREDICTIONS, OUTCOMES], n, packed, ["1", "2"], texts, dimensions)


def versions() -> dict[tuple[str, str], ModelVersion]:
    made = {}
    for model_id in ("m0", "m1", "m2", "m3"):
        for name in ("1", "2"):
            made[model_id, name] = ModelVersion(model_id, name, POLICY.for_model(model_id), 16)
    made["m0", "2"].sums.merge({60_000: START_MS + 120_000, 300_000: START_MS})  # panes of some have merged
    return made


def parts(messages: list[Rows]) -> Iterator[tuple[tuple[str, str], Rows, np.ndarray]]:
    for rows in messages:
        for name, where in rows.by_version(np.flatnonzero(rows.column("kind") != Kind.COUNT)):
            yield (rows.model_id, name), rows, where


@pytest.mark.parametrize("most", [20, 32_000])
@pytest.mark.parametrize("together", [1, 7, 4 * MOST_DEPOSITS])
def test_the_state_of_every_version_is_as_if_each_was_counted_alone(most: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_sums, "MOST_ROWS", most)
    rng = np.random.default_rng(5)
    messages = [message(rng, f"m{rng.integers(4)}", offset) for offset in range(4 * MOST_DEPOSITS)]
    alone, many = versions(), versions()
    for key, rows, where in parts(messages):
        alone[key].add(rows, where)
    for begin in range(0, len(messages), together):
        lots = []
        for key, rows, where in parts(messages[begin : begin + together]):
            members = many[key].sums.segments.meet(rows, where)
            assert members is not None
            lots.append(Lot(many[key], rows, where, members))
        add_lots(lots)
    for key, version in alone.items():
        assert len(version.sums.tables["known"].keys) > 20
        assert version.to_state() == many[key].to_state()


def test_what_is_told_of_deposits_that_nobody_has_looked_at_is_all_of_them() -> None:
    reads: list[Callable[[ModelVersion], object]] = [
        lambda version: version.sums.starts(10_000, START_MS - DAY_MS, START_MS + DAY_MS).tolist(),
        lambda version: version.sums.days().tolist(),
        lambda version: version.sums.scores.distribution(0).n0.tolist(),
        lambda version: version.sums.outcome_days(0, START_MS + 9 * DAY_MS),
    ]
    rng = np.random.default_rng(6)
    messages = [message(rng, "m0", offset) for offset in range(9)]
    for read in reads:
        alone, many = (ModelVersion("m0", "1", Policy().for_model("m0"), 64) for _ in range(2))
        for (_, name), rows, where in parts(messages):
            if name == "1":
                alone.add(rows, where)
                members = many.sums.segments.meet(rows, where)
                assert members is not None
                add_lots([Lot(many, rows, where, members)])
        assert read(alone) == read(many)


def test_no_more_is_read_ahead_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions with eleven panes due to each, of one segment."""
    versions = [ModelVersion("m", name, Policy().for_model("m"), 64) for name in "12"]
    columns = {"kind": bytes([Kind.PREDICTION] * 11), "predicted_at": np.arange(0, 110_000, 10_000, "<i8").tobytes()}
    for version in versions:
        version.add(Rows("m", [PREDICTIONS], 11, columns, [version.name]), np.arange(11))
    monkeypatch.setattr(read_together, "MOST", 21)
    read_together.read_together([(version, 110_000) for version in versions])
    assert [version._ready and len(version._ready.panes) for version in versions] == [11, None]
    for version in versions:
        version.advance(110_000, lambda due_ms: 1.0)
        assert version._ready is None
    assert versions[0].to_state() == versions[1].to_state()


@pytest.mark.parametrize("top_class", [0, 1, 3])
def test_panes_of_many_versions_are_those_that_each_would_read_alone(top_class: int) -> None:
    """Of some there are costs, of some errors, of some probes; and spans that hold nothing."""
    rng = np.random.default_rng(7)
    many = versions()
    for key, rows, where in parts([message(rng, f"m{rng.integers(4)}", offset) for offset in range(200)]):
        many[key].add(rows, where)
    columns = {"kind": bytes([Kind.PREDICTION] * 2), "predicted_at": np.array([START_MS] * 2, "<i8").tobytes()}
    columns |= {"probe": np.array([0, 1], "<u2").tobytes(), "score": np.array([0.5, 0.25]).tobytes()}
    many["m0", "1"].add(Rows("m0", [PREDICTIONS], 2, columns, ["1"], ["", "planted"]), np.arange(2))
    every = [(START_MS - DAY_MS, START_MS), (START_MS, START_MS + 600_000), (START_MS + 1_200_000, START_MS + 1_210_000)]
    asked = [Asked(v.sums.tables, v.sums.segments, every[i % 3 :]) for i, v in enumerate(many.values())]
    for one, panes in zip(asked, read_many(asked, top_class), strict=True):
        alone = read_panes(one.tables, one.segments, one.spans, top_class)
        assert len(panes) == len(alone) == len(one.spans)
        for pane, own in zip(panes, alone, strict=True):
            for column, mine in zip(pane, own, strict=True):
                np.testing.assert_array_equal(column, mine)
    assert {tuple(len(column) > 0 for column in panes[0][-3:]) for panes in read_many(asked, top_class)} > {(False, False, False)}
