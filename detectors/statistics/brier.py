"""The Brier score."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.statistics.mean_loss import MeanLoss


class Brier(MeanLoss):
    """Brier score: the mean squared difference of score and label.

    Additive, mergeable, revertible. Each event is rounded once, to 2**-40.

    Parameters
    ----------
    pos_val
        The label that counts as positive.

    References
    ----------
    Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78 (1950).

    Examples
    --------
    >>> brier = Brier()
    >>> brier.update_many([1, 0], [0.8, 0.4])
    >>> brier
    Brier: 0.1

    """

    def _loss(self, score: Any, true: Any) -> npt.ArrayLike:
        return np.asarray(np.square(score - true))
