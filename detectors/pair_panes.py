"""Panes of what labels say of a version and its rivals, until the age at which they are read is known and reached."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.error_cells import A_ROW, ROW_ENDS, error_cell
from detectors.fixed import SCORE_UNIT, Floats, Ints, carry, to_fixed
from detectors.ladder import PANE_SHARE
from detectors.panes import (
    BEGINNING,
    BIN_BITS,
    CLASS_BITS,
    END,
    MAX_CLASS,
    PANE_MS,
    SumTable,
    floor_to,
    grouped,
    next_end,
    pane_index,
    widest,
)
from detectors.rate_panes import NAME_BITS

# Of requests that a version and a rival both answered: how many, which of the two was wrong, and alone so; of those with two scores the
# squared errors, and the square of their difference. Of predicted numbers "wrong" is who was further from the truth.
PAIR = Layout(
    counts=("n", "wrong", "rival_wrong", "alone", "rival_alone", "scored", "numbers"),
    sums={"loss": SCORE_UNIT, "rival_loss": SCORE_UNIT, "squares": SCORE_UNIT},
)
# Of predicted numbers how far off both were, and the square of the difference; by row of the larger error, as ``error_cells`` has them, in
# units of the row's lower end: numbers come in any unit.
SIZES = Layout(counts=("n",), sums={"error": SCORE_UNIT, "rival_error": SCORE_UNIT, "squares": SCORE_UNIT})
NARROWEST_MS = 300_000
_BITS = NAME_BITS + CLASS_BITS


def pair_sums(sign: Ints, wrong: Ints, rival_wrong: Ints, loss: Ints, rival_loss: Ints, *, numbers: Ints | None = None) -> Ints:
    """Return the sums of PAIR rows, shape (n, width); all given as shape (n,), losses as the rows have them.

    ``numbers`` is 1 where numbers were predicted; None: nowhere.

    >>> one = np.array([1])
    >>> row = pair_sums(one, one, 0 * one, one << 39, one << 38)
    >>> row[0, :6].tolist(), PAIR.total(row, "squares").tolist()
    ([1, 1, 0, 1, 0, 1], [0.0625])
    """
    scored = (loss >= 0) & (rival_loss >= 0)
    out = PAIR.zeros(len(sign))
    alone, other = wrong & ~rival_wrong & 1, rival_wrong & ~wrong & 1
    of_numbers = np.zeros_like(sign) if numbers is None else numbers
    for i, count in enumerate((np.ones_like(sign), wrong, rival_wrong, alone, other, scored.astype(np.int64), of_numbers)):
        out[:, i] = sign * count
    squares = to_fixed(((loss - rival_loss) * SCORE_UNIT) ** 2, SCORE_UNIT)
    for name, values in (("loss", loss), ("rival_loss", rival_loss), ("squares", squares)):
        out[:, PAIR.at[name] + 1] = sign * scored * values
    return out


def pair_sizes(sign: Ints, error: Floats, rival_error: Floats) -> tuple[Ints, Ints, Ints]:
    """Return which PAIR rows compare numbers, in which rows of errors they lie, and their sums in the layout ``SIZES``; errors may be NaN.

    >>> at, row, sums = pair_sizes(np.array([1, 1]), np.array([np.nan, -1.5]), np.array([np.nan, 2.0]))
    >>> at.tolist(), row.tolist(), (SIZES.total(sums, "squares") * ROW_ENDS[row] ** 2).tolist()
    ([1], [12], [0.25])
    """
    at = np.flatnonzero(np.isfinite(error) & np.isfinite(rival_error))
    own, rival = np.abs(error[at]), np.abs(rival_error[at])
    row = error_cell(np.maximum(own, rival)) // A_ROW
    out = SIZES.zeros(len(at))
    out[:, 0] = sign[at]
    own, rival = own / ROW_ENDS[row], rival / ROW_ENDS[row]
    for name, share in (("error", own), ("rival_error", rival), ("squares", np.square(own - rival))):
        out[:, SIZES.at[name] + 1] = sign[at] * to_fixed(share, SCORE_UNIT)
    return at, row, carry(out, SIZES.first_high)


class PairPanes:
    """What has not been read yet of each rival. Integer sums by (pane, rival, age class of the label): additive and revertible.

    A pair of versions is read at one age, the older of the two at which the versions' labels are mature, which may not be known yet.

    Parameters
    ----------
    ages_ms
        Ascending: where labels are told apart by how long they took.

    Examples
    --------
    >>> panes = PairPanes((3_600_000, 86_400_000))
    >>> panes.add(1, np.array([0]), np.array([60_000]), pair_sums(*np.ones((5, 1), dtype=np.int64)))
    >>> panes.due(10**9, {1: "champion"})
    []
    >>> panes.settle(1, 3_600_000, 0)
    >>> [(due, rival, start)] = panes.due(10**9, {1: "champion"})
    >>> sums, (rows, sizes) = panes.read(rival, start)
    >>> due, sums[:3].tolist(), len(rows)
    (3900000, [1, 1, 1], 0)

    """

    def __init__(self, ages_ms: Sequence[int]) -> None:
        self.ages_ms = tuple(ages_ms)
        self.table = SumTable(PAIR)
        self.sizes = SumTable(SIZES)  # by row of errors, too
        self.width_ms = NARROWEST_MS  # of what is kept
        self.settled: dict[int, tuple[int, int]] = {}  # by rival: the age at which it is read, and since when that is known; ms
        self.read_to: dict[int, int] = {}  # by rival: panes that begin before it have been read

    def add(self, rival: int, predicted_at: Ints, delay: Ints, sums: Ints, sizes: tuple[Ints, Ints, Ints] | None = None) -> None:
        """Add pairs with a rival; a pane that has been read takes no more.

        Parameters
        ----------
        rival
            Its number.
        predicted_at, delay
            When the later prediction was made, and how much later the label was known, ms; shape (n,).
        sums
            In the layout ``PAIR``, shape (n, width).
        sizes
            Of the numbers among them, as of ``pair_sizes``; None: there are none.

        """
        kept = floor_to(predicted_at, self.width_of(rival)) >= self.read_to.get(rival, BEGINNING)
        if not kept.any():
            return
        age_class = 1 + np.searchsorted(self.ages_ms, delay, side="left")
        keys = pane_index(floor_to(predicted_at, self.width_ms)) << _BITS | rival << CLASS_BITS | age_class
        self.table.add(keys[kept], sums[kept])
        if sizes is not None and kept[sizes[0]].any():
            at, row, parts = (each[kept[sizes[0]]] for each in sizes)
            self.sizes.add(keys[at] << BIN_BITS | row, parts)

    def width_of(self, rival: int) -> int:
        """Return how wide the panes are that are read of a rival, as far as that is known."""
        age_ms, _ = self.settled.get(rival, (0, 0))
        return max(NARROWEST_MS, widest(PANE_SHARE * age_ms))

    def settle(self, rival: int, age_ms: int, since_ms: int) -> None:
        """Read a rival at this age, from ``since_ms`` on; what is overdue then is due then."""
        self.settled.setdefault(rival, (age_ms, since_ms))

    def widen(self, width_ms: int) -> None:
        """Keep panes of this width: no rival will be read by narrower ones."""
        width_ms = max(width_ms, NARROWEST_MS)
        if width_ms > self.width_ms:
            self.width_ms = width_ms
            for table, bits in ((self.table, _BITS), (self.sizes, _BITS + BIN_BITS)):
                rest, pane = table.keys & ((1 << bits) - 1), table.keys >> bits
                table.rekey(0, len(table.keys), pane_index(floor_to(pane * PANE_MS, width_ms)) << bits | rest)

    def _rivals(self) -> Ints:
        return self.table.keys >> CLASS_BITS & ((1 << NAME_BITS) - 1)

    def due(self, watermark_ms: int, names: dict[int, str]) -> list[tuple[int, int, int]]:
        """Return (due, rival, start) of every pane that is due by a time, in due order, then in that of the rivals' names; all ms."""
        steps = []
        rivals = self._rivals()
        for rival, (age_ms, since_ms) in self.settled.items():
            width = self.width_of(rival)
            for start in np.unique(floor_to((self.table.keys[rivals == rival] >> _BITS) * PANE_MS, width)).tolist():
                due_ms = max(start + width + age_ms, since_ms)
                if due_ms <= watermark_ms:
                    steps.append((due_ms, names[rival], start, rival))
        return [(due_ms, rival, start) for due_ms, _, start, rival in sorted(steps)]

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due of the rivals whose age is known, whatever is added."""
        ends = [next_end(watermark_ms, self.width_of(rival), age_ms) for rival, (age_ms, _) in self.settled.items()]
        return min(ends, default=END)

    def read(self, rival: int, start_ms: int) -> tuple[Ints, tuple[Ints, Ints]]:
        """Return what a pane holds of a rival with the labels known by its age, and let the pane go.

        That is the sums, shape (width,), and of numbers the rows of errors with theirs, shapes (k,) and (k, width of ``SIZES``).
        """
        _, sums = self._taken(self.table, 0, rival, start_ms)
        keys, sizes = self._taken(self.sizes, BIN_BITS, rival, start_ms)
        return np.asarray(sums.sum(axis=0)), grouped(keys & ((1 << BIN_BITS) - 1), sizes)

    def _taken(self, table: SumTable, bits: int, rival: int, start_ms: int) -> tuple[Ints, Ints]:
        """Take a pane of a rival out of a table whose keys have so many bits more; return what was known by its age."""
        end_ms = start_ms + self.width_of(rival)
        top = int(np.searchsorted(self.ages_ms, self.settled[rival][0], side="right"))
        keys = table.keys >> bits
        mine: npt.NDArray[np.bool_] = (keys >> CLASS_BITS & ((1 << NAME_BITS) - 1)) == rival
        mine &= (keys >> _BITS >= pane_index(start_ms)) & (keys >> _BITS < pane_index(end_ms))
        known = mine & (keys & MAX_CLASS <= top)
        taken = table.keys[known], table.rows[known]
        table.keys, table.rows = table.keys[~mine], table.rows[~mine]
        return taken

    def passed(self, watermark_ms: int) -> None:
        """Close what the watermark has passed: what comes later for it is late."""
        for rival, (age_ms, since_ms) in self.settled.items():
            if watermark_ms >= since_ms:
                read_to = floor_to(watermark_ms - age_ms, self.width_of(rival))
                self.read_to[rival] = max(self.read_to.get(rival, BEGINNING), int(read_to))

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return {
            "ages": list(self.ages_ms),
            "table": self.table.to_state(),
            "sizes": self.sizes.to_state(),
            "width_ms": self.width_ms,
            "settled": [[rival, *times] for rival, times in sorted(self.settled.items())],
            "read_to": sorted(self.read_to.items()),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "PairPanes":
        """Return the panes that ``to_state`` wrote."""
        panes = cls(state["ages"])
        panes.table = SumTable.from_state(PAIR, state["table"])
        panes.sizes = SumTable.from_state(SIZES, state["sizes"])
        panes.width_ms = state["width_ms"]
        panes.settled = {rival: (age_ms, since_ms) for rival, age_ms, since_ms in state["settled"]}
        panes.read_to = {rival: ms for rival, ms in state["read_to"]}  # noqa: C416  pairs come back as lists
        return panes
