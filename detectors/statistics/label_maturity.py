"""How much of the labels has come by an age."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Floats, Ints
from detectors.statistics.exact import ExactStatistic, bounded
from detectors.statistics.ratio import ratio

AGE_EDGES_S: Floats = np.concatenate([[0.0], 2.0 ** np.arange(0, 31)])  # log-spaced: below 1 s, then doubling to 34 years


def age_bin(age_s: npt.ArrayLike) -> Ints:
    """Return the bin [lo, hi) of each age on the grid of ``AGE_EDGES_S``.

    >>> age_bin([0.5, 1.0, 3.0]).tolist()
    [0, 1, 2]
    """
    return np.asarray(np.searchsorted(AGE_EDGES_S, np.asarray(age_s, dtype=np.float64), side="right") - 1).astype(np.int64)


def maturity(arrived: npt.ArrayLike, waiting: npt.ArrayLike) -> Floats:
    """Return the share of labels expected to have come by the end of each age bin, shape (..., bins): Kaplan-Meier, as a life table.

    Parameters
    ----------
    arrived
        Labels by the bin of their delay, shape (..., bins).
    waiting
        Predictions without a label, by the bin of their present age. They count as at risk in all earlier bins, and by half in their own.

    References
    ----------
    Kaplan & Meier, JASA 53 (1958); Cutler & Ederer, Journal of Chronic Diseases 8 (1958), for the half.

    Examples
    --------
    >>> maturity([50, 25, 0], [0, 0, 25]).round(3).tolist()
    [0.5, 0.75, 0.75]

    """
    arrived, waiting = np.asarray(arrived, dtype=np.float64), np.asarray(waiting, dtype=np.float64)
    left = np.cumsum((arrived + waiting)[..., ::-1], axis=-1)[..., ::-1] - waiting / 2
    hazard = np.minimum(np.nan_to_num(ratio(arrived, left)), 1.0)
    return np.asarray(1.0 - np.cumprod(1.0 - hazard, axis=-1))


class LabelMaturity(ExactStatistic):
    """Share of labels that come by an age, fair to those still waiting (Kaplan-Meier).

    Additive, mergeable, revertible: two counts per log-spaced age bin. When a waiting prediction's label comes, or its age moves on, revert
    what was told of it and tell it anew.

    References
    ----------
    Kaplan & Meier, "Nonparametric estimation from incomplete observations", JASA 53 (1958).

    Examples
    --------
    >>> maturity = LabelMaturity()
    >>> maturity.update_many([(30.0, True), (30.0, True), (100.0, False), (5000.0, True)])
    >>> maturity.at(60.0), maturity.get()
    (0.5, 1.0)

    """

    layout = Layout(counts=("arrived", "waiting"), sums={})
    cells = len(AGE_EDGES_S)

    def _events(self, x: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        pairs = np.asarray(x, dtype=np.float64).reshape(-1, 2)
        age = bounded(np.maximum(pairs[:, 0], 0.0), "an age", 0.0, 1e11)  # a label before its prediction has no delay
        arrived = bounded(pairs[:, 1], "a flag", 0.0, 1.0) > 0.5
        return age_bin(age), {"arrived": arrived, "waiting": ~arrived}

    def at(self, age_s: float) -> float:
        """Return the share expected by the end of the age bin before ``age_s``; NaN before the first event."""
        curve = self._curve()
        before = int(age_bin([age_s])[0]) - 1
        return float("nan") if curve is None else float(curve[before]) if before >= 0 else 0.0

    def get(self) -> float:
        """Return the share expected by the greatest age seen; NaN before the first event."""
        curve = self._curve()
        return float("nan") if curve is None else float(curve[-1])

    def _curve(self) -> Floats | None:
        arrived, waiting = self._count("arrived"), self._count("waiting")
        return maturity(arrived, waiting) if (arrived + waiting).any() else None
