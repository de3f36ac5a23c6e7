"""Mistakes by the amount at stake: how many positives were missed in each band, and how much money went with them."""

from typing import Any

import numpy as np

from detectors.amount_bands import BANDS, band_of, ends
from detectors.baselines.wilson import wilson
from detectors.cells import CONFUSION, Layout
from detectors.companions import Tally
from detectors.fixed import MONEY_UNIT, Ints
from detectors.model_version import ModelVersion
from detectors.panes import SumTable
from detectors.state_version import expect_version
from detectors.statistics.clustered import Z_95
from detectors.sums import confusion_cell
from schemas.policy_models import ModelPolicy
from schemas.report import AmountBand
from schemas.scored import Kind, Rows

STATE_VERSION = 1
LAYOUT = Layout(counts=CONFUSION, sums={f"amount_{cell}": MONEY_UNIT for cell in CONFUSION})


class Amounts(Tally):
    """The confusion of real traffic by version and band of the amount, over all labels known so far.

    Sums of integers: additive, mergeable, revertible. Labels other than 0 and 1 have no misses, and are left out.
    """

    name = "amounts"

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.versions: dict[str, SumTable] = {}

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the labels of what had an amount."""
        if "amount" not in rows.columns:
            return
        kept = (rows.column("kind")[where] == Kind.LABEL) & (rows.column("amount")[where] != 0)
        for name, wanted in (("probe", False), ("binary", True), ("abstained", False)):
            if name in rows.columns:
                kept &= (rows.column(name)[where] != 0) == wanted
        where = where.take(np.flatnonzero(kept))
        for name, mine in rows.by_version(where):
            self._add(name, rows, mine)

    def _add(self, name: str, rows: Rows, where: Ints) -> None:
        predicted, label = (rows.column(column)[where] != 0 for column in ("predicted", "label"))
        amount, sign = (rows.column(column)[where].astype(np.int64) for column in ("amount", "sign"))
        band, cell = band_of(amount), confusion_cell(predicted, label)
        n, money, rows_of = np.zeros((3, BANDS, len(CONFUSION)), dtype=np.int64)
        place = band * len(CONFUSION) + cell
        for out, each in ((n, sign), (money, sign * amount), (rows_of, np.ones_like(sign))):
            np.add.at(out.reshape(-1), place, each)
        sums = LAYOUT.zeros(BANDS)
        sums[:, : len(CONFUSION)] = n
        sums[:, len(CONFUSION) + 1 :: 2] = money
        there = np.flatnonzero(rows_of.any(axis=1))
        self.versions.setdefault(name, SumTable(LAYOUT)).merge(there, sums[there])

    def report(self, version: ModelVersion) -> list[AmountBand] | None:
        """Return the bands of a version that hold a label."""
        table = self.versions.get(version.name)
        if table is None:
            return None
        rows = table.dense(BANDS)
        return [_band(band, rows[band]) for band in range(BANDS) if rows[band, : len(CONFUSION)].any()]

    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values and bytes; versioned."""
        if not self.versions:
            return None
        return {"version": STATE_VERSION, "versions": {name: table.to_state() for name, table in sorted(self.versions.items())}}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If it is of another version.

        """
        expect_version(state, STATE_VERSION, "a state of amounts")
        self.versions = {name: SumTable.from_state(LAYOUT, table) for name, table in state["versions"].items()}


def _band(band: int, row: Ints) -> AmountBand:
    n = {cell: int(LAYOUT.count(row, cell)) for cell in CONFUSION}
    money = {cell: float(LAYOUT.total(row, f"amount_{cell}")) for cell in CONFUSION}
    low, high = ends(band)
    positives = n["tp"] + n["fn"]
    fnr, lo, hi = (n["fn"] / positives, *wilson(positives, n["fn"], Z_95)) if positives else (None, None, None)
    return AmountBand(
        amount_from=low,
        amount_to=high,
        positives=positives,
        fn=n["fn"],
        fnr=fnr,
        lo=lo,
        hi=hi,
        missed_amount=money["fn"],
        caught_amount=money["tp"],
        fp=n["fp"],
        fp_amount=money["fp"],
    )


COMPANION = Amounts
