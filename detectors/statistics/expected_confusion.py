"""The confusion matrix that the scores lead one to expect, before any label."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import CONFUSION, Layout
from detectors.fixed import SCORE_UNIT, Floats, Ints
from detectors.statistics.confusion import LOWER_IS_BETTER, RATES, rate
from detectors.statistics.exact import ExactMetric, bounded, same_length, scores_of

_ACTIONS = ("positive", "negative")


def expected_confusion(positive: npt.ArrayLike, negative: npt.ArrayLike, hit: npt.ArrayLike, missed: npt.ArrayLike) -> dict[str, Floats]:
    """Return the expected count of each cell of the confusion matrix.

    It holds only while the scores are calibrated: concept drift does not show in it.

    Parameters
    ----------
    positive, negative
        How many were predicted positive and negative; any one shape.
    hit, missed
        Sums of the scores of each.

    References
    ----------
    Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022, for the mean confidence.

    Examples
    --------
    >>> {cell: round(float(n), 2) for cell, n in expected_confusion(10, 90, 8.0, 4.5).items()}
    {'tp': 8.0, 'fp': 2.0, 'tn': 85.5, 'fn': 4.5}

    """
    positive, negative, hit, missed = (np.asarray(column, dtype=np.float64) for column in (positive, negative, hit, missed))
    return {"tp": hit, "fp": positive - hit, "tn": negative - missed, "fn": missed}


class ExpectedRate(ExactMetric):
    """A rate of the confusion matrix if the scores are believed: known before any label.

    Additive, mergeable, revertible: counts and scores per action. Of what is predicted positive the scores say how much is right. A rate
    such as F1 is that of the expected counts. It holds only while the scores are calibrated. ``update`` takes the true label, as River
    does, and does not look at it.

    Parameters
    ----------
    rate
        A name of ``confusion.RATES``.
    threshold
        Scores from here on are predicted positive.
    pos_val
        The label that counts as positive.

    References
    ----------
    Garg et al., "Leveraging unlabeled data to predict out-of-distribution performance", ICLR 2022.

    Examples
    --------
    >>> accuracy = ExpectedRate("accuracy")
    >>> accuracy.update_many([None, None], [0.9, 0.3])
    >>> accuracy
    ExpectedRate: 0.8

    """

    layout = Layout(counts=_ACTIONS, sums={f"score_{action}": SCORE_UNIT for action in _ACTIONS})

    def __init__(self, rate: str = "accuracy", *, threshold: float = 0.5, pos_val: object = True) -> None:
        if rate not in RATES:
            raise ValueError(f"no rate {rate!r}; there are {', '.join(RATES)}")
        self.rate = rate
        self.threshold = float(bounded([threshold], "a threshold", 0.0, 1.0)[0])
        super().__init__(pos_val)

    @property
    def bigger_is_better(self) -> bool:
        """Whether a higher value is the better one."""
        return self.rate not in LOWER_IS_BETTER

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        score = scores_of(y_pred, self.pos_val)
        same_length([score, np.asarray(y_true)])
        positive = score >= self.threshold
        values: dict[str, npt.ArrayLike] = {"positive": positive, "negative": ~positive}
        return None, values | {"score_positive": score * positive, "score_negative": score * ~positive}

    def get(self) -> float:
        """Return the rate; NaN while it is undefined."""
        counts = [self._count(action) for action in _ACTIONS] + [self._total(f"score_{action}") for action in _ACTIONS]
        cells = expected_confusion(*counts)
        return float(rate(self.rate, *(cells[cell] for cell in CONFUSION)))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"rate": "accuracy"}, {"rate": "f1", "threshold": 0.3}]
