"""Area under the ROC curve by mid-ranks, from counts per distinct score."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from river import metrics

from detectors.fixed import Floats
from detectors.statistics.exact import STATE_VERSION, labels_of, same_length, scores_of, whole_signs
from detectors.statistics.score_counts import ScoreCounts


def auc(n0: npt.ArrayLike, n1: npt.ArrayLike) -> Floats:
    """Return the AUC from counts of negatives and positives per score, ascending, shape (..., scores); NaN if a class is missing.

    It is the chance that a positive scores higher than a negative, ties counting half (Mann-Whitney). Scores must be distinct for it to be
    exact; cells give what their resolution allows.

    References
    ----------
    Hanley & McNeil, "The meaning and use of the area under a ROC curve", Radiology 143 (1982).

    Examples
    --------
    >>> float(auc([2, 1, 0], [0, 1, 1]))
    0.9166666666666666

    """
    n0, n1 = np.asarray(n0, dtype=np.float64), np.asarray(n1, dtype=np.float64)
    below = np.cumsum(n0, axis=-1) - n0 / 2
    pairs = n0.sum(axis=-1) * n1.sum(axis=-1)
    return np.asarray(np.divide((n1 * below).sum(axis=-1), pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0))


class Auc(metrics.base.BinaryMetric):  # type: ignore[misc]  # River's classes are Any to mypy
    """Area under the ROC curve, exact: no thresholds are chosen beforehand.

    Additive, mergeable, revertible up to ``cap`` distinct scores; beyond, 1,000 cells of equal mass take over and the AUC is
    approximate. River's ``ROCAUC`` reads ten equal-width thresholds by default, and is off by up to some hundredths.

    Parameters
    ----------
    cap
        The most distinct scores that are counted exactly.
    pos_val
        The label that counts as positive.

    References
    ----------
    Hanley & McNeil, "The meaning and use of the area under a ROC curve", Radiology 143 (1982).

    Examples
    --------
    >>> area = Auc()
    >>> area.update_many([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    >>> area
    Auc: 0.875

    """

    _fmt = ".6f"

    def __init__(self, cap: int = 65_536, pos_val: object = True) -> None:
        self.cap = cap
        self.pos_val = pos_val
        self._counts = ScoreCounts(cap)

    @property
    def bigger_is_better(self) -> bool:
        """Whether a higher value is the better one."""
        return True

    @property
    def requires_labels(self) -> bool:
        """Probabilities, not labels."""
        return False

    def update(self, y_true: Any, y_pred: Any, w: float = 1) -> None:
        """Add one event, ``w`` times (a whole number)."""
        self.update_many([y_true], [y_pred], whole_signs(w, 1))

    def revert(self, y_true: Any, y_pred: Any, w: float = 1) -> None:
        """Take one event back."""
        self.update_many([y_true], [y_pred], whole_signs(-w, 1))

    def update_many(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sign: npt.ArrayLike = 1) -> None:
        """Add columns of events, each shape (n,); ``sign`` -1 takes an event back.

        Raises
        ------
        ValueError
            If a score is NaN, infinite or out of range, or lengths differ; the state is left as it was.

        """
        true, score = labels_of(y_true, self.pos_val), scores_of(y_pred, self.pos_val)
        same_length([true, score])
        self._counts.update_many(np.zeros(len(true), dtype=np.int64), score, true, whole_signs(sign, len(true)))

    def __iadd__(self, other: "Auc") -> Self:
        """Merge: add the other's counts."""
        if type(other) is not type(self) or other.pos_val != self.pos_val:
            raise ValueError(f"expected an {type(self).__name__} of {self.pos_val!r} to merge, got {other!r}")
        self._counts += other._counts
        return self

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return {"version": STATE_VERSION, "name": type(self).__name__, "counts": self._counts.to_bytes()}

    def load_state(self, state: dict[str, Any]) -> Self:
        """Take over a state of ``to_state``.

        Raises
        ------
        ValueError
            If it is the state of another statistic or version, or cap.

        """
        if (state.get("version"), state.get("name")) != (STATE_VERSION, type(self).__name__):
            raise ValueError(
                f"expected a state of {type(self).__name__} version {STATE_VERSION}, got {state.get('name')} {state.get('version')}"
            )
        counts = ScoreCounts.from_bytes(state["counts"])
        if counts.cap != self.cap:
            raise ValueError(f"expected counts with cap {self.cap}, got {counts.cap}")
        self._counts = counts
        return self

    def get(self) -> float:
        """Return the AUC; NaN while a class is missing."""
        one = self._counts.distribution(0)
        return float(auc(one.n0, one.n1))
