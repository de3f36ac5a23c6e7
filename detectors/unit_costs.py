"""What one more mistake costs, by the matrix: so that an alarm on a rate can say what it costs a day."""

import numpy as np

from detectors.cells import KNOWN
from detectors.fixed import Ints
from detectors.statistics.cost import OTHER, cost_of
from schemas.cost import CostMatrix

_MISTAKES = {"fnr": ("fn",), "fpr": ("fp",), "error": ("fn", "fp")}
PRICED = frozenset(_MISTAKES)


def unit_cost(family: str, known: Ints, matrix: CostMatrix) -> float | None:
    """Return what one more failure of a family costs on average, beyond the right decision on the same event; None: it can't be told.

    Parameters
    ----------
    family
        One of ``PRICED``.
    known
        Sums in the layout ``cells.KNOWN``, shape (width,): the mistakes among them say which stakes are lost.
    matrix
        The policy's.

    Examples
    --------
    >>> known = KNOWN.zeros(1)[0]
    >>> known[[KNOWN.at["fn"], KNOWN.at["amount_fn"] + 1, KNOWN.at["fp"]]] = 2, 3_000_000, 8  # two misses with 300 in all
    >>> matrix = CostMatrix(fp=(5.0, 0.0), fn=(0.0, 1.0))
    >>> unit_cost("fnr", known, matrix), unit_cost("fpr", known, matrix), unit_cost("error", known, matrix)
    (150.0, 5.0, 34.0)

    """
    n, total = 0, 0.0
    for cell in _MISTAKES[family]:
        count, amount = int(KNOWN.count(known, cell)), float(KNOWN.total(known, f"amount_{cell}"))
        made, right = (float(cost_of(matrix, each, count, amount)) for each in (cell, OTHER[cell]))
        n, total = n + count, total + made - right
    return total / n if n > 0 and np.isfinite(total) else None
