"""The logarithmic loss."""

from typing import Any

import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import LOSS_UNIT
from detectors.statistics.mean_loss import MeanLoss
from detectors.sums import log_loss


class LogLoss(MeanLoss):
    """Logarithmic loss, natural logarithm, scores clipped at 1e-15.

    Additive, mergeable, revertible. Each event is rounded once, to 2**-32.

    Parameters
    ----------
    pos_val
        The label that counts as positive.

    References
    ----------
    Good, "Rational decisions", Journal of the Royal Statistical Society B 14 (1952).

    Examples
    --------
    >>> loss = LogLoss()
    >>> loss.update(True, {True: 0.9, False: 0.1})
    >>> loss
    LogLoss: 0.105361

    """

    layout = Layout(counts=("n",), sums={"loss": LOSS_UNIT})

    def _loss(self, score: Any, true: Any) -> npt.ArrayLike:
        return log_loss(score, true)
