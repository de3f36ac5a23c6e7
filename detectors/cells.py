"""The sums of a pane: which there are, and where each stands in a row of integers.

``MADE`` is what predictions add when they are made, ``KNOWN`` what labels and dispositions add in the age class in which they became
known. ``BIN`` is one cell of the calibration grid (60 cells over [0, 1] for the totals, 20 in panes). All of it is sums of integers:
additive, mergeable, revertible. None of it depends on a policy: a cost is a line ``a + b * amount`` per cell of the confusion matrix, so
counts and summed amounts are enough.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from detectors.fixed import LOSS_UNIT, MONEY_UNIT, SCORE_UNIT, Floats, Ints, to_float

CONFUSION = ("tp", "fp", "tn", "fn")


@dataclass(frozen=True)
class Layout:
    """Names of counts, then of fixed-point sums with their unit; each of those takes two columns, high and low."""

    counts: tuple[str, ...]
    sums: dict[str, float]

    @cached_property
    def at(self) -> dict[str, int]:
        """The column of each count, and of each sum's high limb."""
        n = len(self.counts)
        return {name: i for i, name in enumerate(self.counts)} | {name: n + 2 * i for i, name in enumerate(self.sums)}

    @cached_property
    def width(self) -> int:
        """How many int64 columns there are."""
        return len(self.counts) + 2 * len(self.sums)

    @property
    def first_high(self) -> int:
        """The column of the first sum's high limb; from there on high and low limbs take turns."""
        return len(self.counts)

    @cached_property
    def nothing(self) -> Ints:
        """No rows, shape (0, width)."""
        return self.zeros(0)

    def zeros(self, n: int) -> Ints:
        """Return ``n`` empty rows, shape (n, width)."""
        return np.zeros((n, self.width), dtype=np.int64)

    def count(self, rows: Ints, name: str) -> Ints:
        """Return one count of rows shaped (..., width), shape (...)."""
        return rows[..., self.at[name]]

    def total(self, rows: Ints, name: str) -> Floats:
        """Return one fixed-point sum of rows shaped (..., width), as floats in its natural unit, shape (...).

        >>> row = MADE.zeros(1); row[0, MADE.at["score"]] = 2
        >>> MADE.total(row, "score")
        array([2.])
        """
        at = self.at[name]
        return np.asarray(to_float(rows[..., at], rows[..., at + 1], self.sums[name]))


MADE = Layout(
    counts=(
        "n",  # predictions, abstained ones included
        "abstained",
        "alerted",
        "positive",  # predicted 1, not abstained
        "negative",  # predicted 0, not abstained
        "scored",  # with a score, not abstained
        "binary",  # labels 0/1 expected, not abstained: the ones that a timeout may label
        "features",
        "missing",
    ),
    sums={
        "score": SCORE_UNIT,  # sum of p
        "score_positive": SCORE_UNIT,  # of those predicted 1
        "score_squared": SCORE_UNIT,  # Brier score of a negative label
        "loss_negative": LOSS_UNIT,  # log loss of a negative label, -ln(1 - p)
        "amount_positive": MONEY_UNIT,
        "amount_negative": MONEY_UNIT,
        "stake_positive": MONEY_UNIT,  # sum of p * amount, predicted 1
        "stake_negative": MONEY_UNIT,  # sum of p * amount, predicted 0
        "compute_cost": MONEY_UNIT,
    },
)

KNOWN = Layout(
    counts=(
        *CONFUSION,
        "scored",  # labelled, with a score
        *(f"matrix_{cell}" for cell in CONFUSION),  # without a realised cost: the matrix applies
        "realised",  # with a realised cost
        "abstained",  # labels of abstained predictions
        "abstained_wrong",
        "disposed",
        "acted",
        "valued",  # dispositions that say a value
        "reviewed",
        "review_ms",
        "delay_s",  # sum over labels of known at - predicted at, whole seconds
    ),
    sums={
        "score": SCORE_UNIT,  # sum of p over labelled
        "brier": SCORE_UNIT,
        "loss": LOSS_UNIT,
        "score_squared": SCORE_UNIT,  # as in MADE, over labelled: what is left is the unlabelled ones' share
        "loss_negative": LOSS_UNIT,
        **{f"amount_{cell}": MONEY_UNIT for cell in CONFUSION},
        **{f"matrix_amount_{cell}": MONEY_UNIT for cell in CONFUSION},
        "realised_cost": MONEY_UNIT,
        "value": MONEY_UNIT,
    },
)

BIN = Layout(counts=("n", "positive"), sums={"score": SCORE_UNIT})


def many_classes(made: Ints) -> npt.NDArray[np.bool_]:
    """Return of rows of ``MADE`` whether most of their decisions are no yes or no: a class of many, or a number; shape (...).

    All that is known of those is whether they came true, so what tells positives from negatives has no meaning.

    >>> rows = MADE.zeros(3)
    >>> rows[:, [MADE.at[name] for name in ("positive", "negative", "binary")]] = [[3, 2, 5], [9, 1, 4], [0, 0, 0]]
    >>> many_classes(rows).tolist()
    [False, True, False]
    """
    return np.asarray(MADE.count(made, "positive") + MADE.count(made, "negative") > 2 * MADE.count(made, "binary"))


GRID = 60  # cells of the totals' calibration grid: serves 10, 15 and 20 bins
PANE_GRID = 20


def grid_cell(score: Floats, bins: int = GRID) -> Ints:
    """Return the cell (lo, hi] of each score on an equal-width grid; a score within 1e-12 of an edge is on it.

    >>> grid_cell(np.array([0.0, 0.1, 0.1000001, 1.0]), 10)
    array([0, 0, 1, 9])
    """
    scaled = np.asarray(score, dtype=np.float64) * bins
    nearest = np.rint(scaled)
    edge = np.where(np.abs(scaled - nearest) <= 1e-12, nearest, np.ceil(scaled))
    return np.asarray(np.clip(edge - 1, 0, bins - 1), dtype=np.int64)
