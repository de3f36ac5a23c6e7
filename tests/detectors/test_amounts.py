"""Mistakes by the amount at stake are exact sums, however large and whatever is taken back."""

import numpy as np
import pytest

from detectors.amount_bands import band_of
from detectors.companions.amounts import LAYOUT, Amounts
from schemas.policy_models import ModelPolicy
from schemas.scored import Kind, Origin, Rows, pack

EDGES = [10**k * 10_000 for k in range(10)]


@pytest.mark.parametrize("seed", range(3))
def test_sums_by_band_are_exact(seed):
    rng, n = np.random.default_rng(seed), 3_000
    near = rng.choice([1, *EDGES, 2**47 - 1], n) + rng.integers(-1, 2, n)
    amount = np.where(rng.random(n) < 0.2, 0, np.minimum(near, 2**47 - 1))
    predicted, label, sign = rng.integers(0, 2, n), rng.integers(0, 2, n), rng.choice([1, 1, -1], n)
    values = {"amount": amount, "predicted": predicted, "label": label, "sign": sign, "kind": np.full(n, Kind.LABEL)}
    columns = {name: data for name, column in values.items() if (data := pack(name, column)) is not None}
    amounts = Amounts("m", ModelPolicy())
    for where in np.array_split(np.arange(n), 3):
        amounts.add(Rows("m", [Origin("outcomes", "x", 0)], n, columns, versions=["1"]), where)
    want: dict[int, dict[str, int]] = {}
    for money, yes, true, how in zip(amount.tolist(), predicted.tolist(), label.tolist(), sign.tolist(), strict=True):
        if money:
            cell = ("t" if yes == true else "f") + ("p" if yes else "n")
            mine = want.setdefault(sum(money >= edge for edge in EDGES), {})
            for name, value in ((cell, how), (f"amount_{cell}", how * money)):
                mine[name] = mine.get(name, 0) + value
    table = amounts.versions["1"]
    assert table.keys.tolist() == sorted(want)
    for band, row in zip(table.keys.tolist(), table.rows.tolist(), strict=True):
        for name, at in LAYOUT.at.items():
            got = (row[at] << 40) + row[at + 1] if name.startswith("amount") else row[at]
            assert got == want[band].get(name, 0)


def test_bands_begin_at_their_edges():
    amounts = np.array([-5, 0, 1, *EDGES, *(edge - 1 for edge in EDGES)])
    assert band_of(amounts).tolist() == [0, -1, 0, *range(1, 11), *range(10)]
    assert band_of(np.zeros(0, dtype=np.int64)).tolist() == []
