"""Every rate of a binary confusion matrix."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from detectors.cells import CONFUSION, Layout
from detectors.fixed import Floats, Ints
from detectors.statistics.exact import ExactMetric, labels_of, same_length
from detectors.statistics.ratio import ratio

_Rate = Callable[[Floats, Floats, Floats, Floats], Floats]

RATES: dict[str, _Rate] = {
    "accuracy": lambda tp, fp, tn, fn: ratio(tp + tn, tp + fp + tn + fn),
    "error": lambda tp, fp, tn, fn: ratio(fp + fn, tp + fp + tn + fn),
    "fpr": lambda tp, fp, tn, fn: ratio(fp, fp + tn),
    "fnr": lambda tp, fp, tn, fn: ratio(fn, fn + tp),
    "ppv": lambda tp, fp, tn, fn: ratio(tp, tp + fp),
    "npv": lambda tp, fp, tn, fn: ratio(tn, tn + fn),
    "sensitivity": lambda tp, fp, tn, fn: ratio(tp, tp + fn),
    "specificity": lambda tp, fp, tn, fn: ratio(tn, tn + fp),
    "f1": lambda tp, fp, tn, fn: ratio(2 * tp, 2 * tp + fp + fn),
    "balanced_accuracy": lambda tp, fp, tn, fn: 0.5 * (ratio(tp, tp + fn) + ratio(tn, tn + fp)),
    "mcc": lambda tp, fp, tn, fn: ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))),
    "predicted_rate": lambda tp, fp, tn, fn: ratio(tp + fp, tp + fp + tn + fn),
    "base_rate": lambda tp, fp, tn, fn: ratio(tp + fn, tp + fp + tn + fn),
    "nne": lambda tp, fp, tn, fn: ratio(tp + fp, tp),
}
LOWER_IS_BETTER = frozenset({"error", "fpr", "fnr", "nne"})


def rate(name: str, tp: npt.ArrayLike, fp: npt.ArrayLike, tn: npt.ArrayLike, fn: npt.ArrayLike) -> Floats:
    """Return one rate of confusion counts of any one shape; NaN where it is undefined.

    ``nne`` is the number needed to evaluate, alerts per true alert, 1 / PPV.

    Raises
    ------
    ValueError
        If there is no rate of that name.

    Examples
    --------
    >>> float(rate("ppv", 3, 1, 0, 0)), float(rate("fpr", 3, 0, 0, 0))
    (0.75, nan)

    """
    if name not in RATES:
        raise ValueError(f"no rate {name!r}; there are {', '.join(RATES)}")
    counts = (np.asarray(count, dtype=np.float64) for count in (tp, fp, tn, fn))
    return RATES[name](*counts)


class ConfusionRate(ExactMetric):
    """A rate of the confusion matrix: accuracy, FPR, FNR, PPV, NPV, F1, MCC and more.

    Additive, mergeable, revertible: the state is four counts. River has several of these; this one takes whole columns, merges, and
    says NaN, not 0, where a rate is undefined.

    Parameters
    ----------
    rate
        A name of ``RATES``.
    pos_val
        The label that counts as positive.

    References
    ----------
    Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27 (2006).
    Matthews, Biochimica et Biophysica Acta 405 (1975), for MCC.

    Examples
    --------
    >>> fnr = ConfusionRate("fnr")
    >>> fnr.update(True, False)
    >>> fnr.update_many([True, True, False], [True, True, True])
    >>> fnr
    ConfusionRate: 0.333333

    """

    layout = Layout(counts=CONFUSION, sums={})

    def __init__(self, rate: str = "accuracy", pos_val: object = True) -> None:
        if rate not in RATES:
            raise ValueError(f"no rate {rate!r}; there are {', '.join(RATES)}")
        self.rate = rate
        super().__init__(pos_val)

    @property
    def bigger_is_better(self) -> bool:
        """Whether a higher value is the better one."""
        return self.rate not in LOWER_IS_BETTER

    @property
    def requires_labels(self) -> bool:
        """Labels, not probabilities."""
        return True

    def _events(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        true, predicted = labels_of(y_true, self.pos_val), labels_of(y_pred, self.pos_val)
        same_length([true, predicted])
        return None, {"tp": predicted & true, "fp": predicted & ~true, "tn": ~predicted & ~true, "fn": ~predicted & true}

    def get(self) -> float:
        """Return the rate; NaN while it is undefined."""
        return float(rate(self.rate, *(self._count(cell) for cell in CONFUSION)))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"rate": name} for name in RATES]
