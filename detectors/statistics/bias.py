"""Calibration in the large."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.statistics.mean_loss import MeanLoss


class Bias(MeanLoss):
    """Calibration in the large: mean score less the share of positives; above 0 the model claims too much.

    Additive, mergeable, revertible.

    Parameters
    ----------
    pos_val
        The label that counts as positive.

    References
    ----------
    Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17 (2019).

    Examples
    --------
    >>> bias = Bias()
    >>> bias.update_many([1, 0, 0], [0.9, 0.6, 0.3])
    >>> bias
    Bias: 0.266667

    """

    def _loss(self, score: Any, true: Any) -> npt.ArrayLike:
        return np.asarray(score - true)
