"""Sums by key: whatever is merged, deposited or looked at on the way, each key has the sum of its rows."""

import numpy as np
import pytest

from detectors.cells import BIN
from detectors.fixed import LIMB_BITS, Ints, carry
from detectors.panes import SumTable


@pytest.mark.parametrize("looked", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("forward", [True, False])
def test_the_order_and_the_way_in_which_rows_come_change_nothing(looked: float, forward: bool) -> None:
    """``forward``: keys rise, as those of panes do, but for some that come late."""
    rng = np.random.default_rng(3)
    table = SumTable(BIN)
    expected: dict[int, Ints] = {}
    for step in range(300):
        low = 5 * step if forward and rng.random() < 0.9 else 0
        keys = np.unique(rng.integers(low, 5 * step + 20, rng.integers(1, 9)))
        rows = rng.integers(-5, 1 << LIMB_BITS, (len(keys), BIN.width))
        for key, row in zip(keys.tolist(), rows, strict=True):
            expected[key] = expected[key] + row if key in expected else row
        if rng.random() < 0.5:
            table.deposit(keys, carry(rows.copy(), BIN.first_high))
        else:
            given = rows.copy()
            table.merge(keys, rows)
            np.testing.assert_array_equal(rows, given)
        if rng.random() < looked:
            assert len(table.keys) == len(table.rows) == len(expected)
    saved = SumTable.from_state(BIN, table.to_state())
    for each in (table, saved):
        assert each.keys.tolist() == sorted(expected)
        np.testing.assert_array_equal(each.rows, carry(np.array([expected[key] for key in sorted(expected)]), BIN.first_high))
    begin, end = np.searchsorted(table.keys, (300, 900)).tolist()
    keys, rows = table.within(300, 900)
    assert keys.tolist() == table.keys[begin:end].tolist()
    np.testing.assert_array_equal(rows, table.rows[begin:end])
