"""Series of the monitors that keep one, held against an array of all of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.baselines.tempering import BUCKETS, halve
from detectors.series import Series

ROWS = 9
_rows = st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=ROWS, unique=True)
_steps = st.one_of(
    st.tuples(st.just("add"), _rows, st.sampled_from([0, 1, 2, 7, 63, 64, BUCKETS - 1])),
    st.tuples(st.just("clear"), _rows, st.just(0)),
    st.tuples(st.just("halve"), _rows, st.just(0)),
    st.tuples(st.just("keep"), _rows, st.just(0)),
    st.tuples(st.just("restart"), _rows, st.just(0)),
)


@given(st.lists(_steps, max_size=12))
def test_whatever_is_done_the_series_are_those_of_one_array(steps):
    plain, series = np.zeros((ROWS, BUCKETS, 2)), Series()
    for number, (what, chosen, bucket) in enumerate(steps):
        rows = np.array(chosen)
        if what == "add":
            values = np.stack([rows + 1.0, np.full(len(rows), number + 1.0)], axis=1)
            plain[rows, bucket] += values
            series.add(rows, np.full(len(rows), bucket), values)
        elif what == "clear":
            plain[rows[0]] = 0
            series.clear(int(rows[0]))
        elif what == "halve":
            merged = halve(plain[rows])
            plain[rows] = 0
            plain[rows, : merged.shape[1]] = merged
            series.halve(rows)
        elif what == "keep":
            kept = plain[rows]
            plain[:] = 0
            plain[: len(rows)] = kept
            series.keep(rows)
        else:
            series = Series.from_state(*series.to_state())
        assert [series.of(row).tolist() for row in range(ROWS)] == plain.tolist()
        assert series.rows().tolist() == np.flatnonzero(plain.any(axis=(1, 2))).tolist()
        held, data = series.to_state()
        assert (data == plain[held]).all()


def test_rows_that_keep_none_take_no_room():
    series = Series()
    every = np.arange(100)
    series.add(every, np.zeros(100, dtype=np.int64), np.ones((100, 2)))
    assert series._data.shape[1] == 1
    for row in range(90):
        series.clear(row)
    series.add(every[:90], np.full(90, 5), np.ones((90, 2)))
    assert series._data.shape == (100, 8, 2)
    for row in range(90):
        series.clear(row)
    assert Series.from_state(*series.to_state())._data.shape == (10, 1, 2)
