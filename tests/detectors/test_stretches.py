"""Many messages in one go are what each would be alone."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import scored_rows, stretches
from detectors.contexts import Names
from detectors.growing import Growing
from detectors.join_rows import Row
from detectors.packing import pack_subgroups
from detectors.scored_rows import OTHER, RowsBuilder
from detectors.stretches import distinct, unique
from schemas.scored import Origin, encode

ORIGINS = [Origin("predictions", "x", partition) for partition in range(3)]
NAMES = st.sampled_from(["", "a", "b", "c"])
ROWS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["", "m", "n", "o"]),
        **dict.fromkeys(("version", "unit", "action", "probe"), NAMES),
        "kind": st.integers(0, 2),
        "sign": st.sampled_from([1, -1]),
        "score": st.sampled_from([None, 0.25]),
        "subgroups": st.dictionaries(st.sampled_from("xyz"), NAMES).map(pack_subgroups),
    }
).map(lambda fields: Row(**fields))


@given(st.lists(st.lists(st.integers(0, 5), min_size=1), min_size=1), st.sampled_from([1, 1_000]))
def test_distinct_numbers_of_each_stretch_stand_in_order_of_their_first_use(parts, scale):
    column = np.array([scale * number for part in parts for number in part])
    found = distinct(column, np.cumsum([0, *map(len, parts)]))
    bounds = found.starts.tolist()
    assert [found.numbers[a:b].tolist() for a, b in pairwise(bounds)] == [
        [scale * number for number in dict.fromkeys(part)] for part in parts
    ]
    assert found.numbers[found.which].tolist() == column.tolist()


@pytest.mark.parametrize("dense", [0, 1_000])
@given(st.lists(st.integers(0, 20), min_size=1))
def test_unique_is_that_of_numpy_with_and_without_a_table(dense, numbers):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "DENSE", dense)
        found = unique(np.array(numbers), 21)
    for mine, theirs in zip(found, np.unique(numbers, return_index=True, return_inverse=True), strict=True):
        assert mine.tolist() == theirs.tolist()


@pytest.mark.parametrize("at_once", [1, 8, 1_000])
@given(st.lists(st.tuples(st.integers(0, 2), st.lists(ROWS, min_size=1, max_size=3)), min_size=1, max_size=12))
def test_messages_of_many_models_are_those_of_each_alone(at_once, records):
    def built(wanted):
        builder = RowsBuilder(ORIGINS, max_rows=4)
        for order, (origin, rows) in enumerate(records):
            builder.add(order, origin, 10 + order, 0, [row for row in rows if row.model in wanted])
        return list(map(encode, builder.build()))

    models = sorted({row.model for _, rows in records for row in rows})
    alone = [message for model in models for message in built([model])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scored_rows, "_AT_ONCE", at_once)
        assert built(models) == alone


def test_what_many_dimensions_take_while_messages_are_made_does_not_grow_with_the_messages():
    def taken(messages):
        """Return bytes beyond those of the rows themselves, before and after."""
        names, n, width = Names(), messages * 4_000, 64
        groups = [pack_subgroups({f"d{d}": f"{(i * d) % 7}" for d in range(width)}) for i in range(50)]
        numbers, row = np.array([names.subgroups_number(each) for each in groups]), np.arange(n)
        builder = RowsBuilder(ORIGINS, names, max_rows=4_000)
        builder.add_columns(row, 0 * row, row, 0 * row, {"subgroups": numbers[row % len(numbers)]})
        tracemalloc.start()
        assert sum(len(rows.dimensions) for rows in builder.build()) == messages * width
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - n * (4 * width + 10 * 8)  # four bytes for each dimension, and a few columns

    assert taken(10) < 1.5 * taken(1)


def test_texts_beyond_what_a_narrow_column_can_number_are_one():
    builder = RowsBuilder(ORIGINS, max_rows=100_000)
    builder.add(0, 0, 0, 0, [Row("m", unit=f"u{i}", subgroups=pack_subgroups({"site": f"s{i}"})) for i in range(66_000)])
    [rows] = builder.build()
    units = [rows.texts[i] for i in rows.column("unit").tolist()]
    assert units[:65_534] == [f"u{i}" for i in range(65_534)]
    assert set(units[65_534:]) == {OTHER}
    assert [rows.texts[i] for i in rows.dimension("site").tolist()] == [f"s{i}" for i in range(66_000)]


@given(st.lists(st.lists(st.tuples(st.integers(-5, 5), st.floats(0, 1)), max_size=70)))
def test_a_table_holds_all_rows_however_often_it_is_read(parts):
    table = Growing([("whole", "<i8"), ("part", "<f8")])
    rows = []
    for part in parts:
        assert [table.add(row) for row in part] == list(range(len(rows), len(rows) + len(part)))
        rows += part
        assert list(zip(table.column("whole").tolist(), table.column("part").tolist(), strict=True)) == rows
    assert len(table) == len(rows)
