"""The mean delay of labels."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.statistics.exact import ExactStatistic, bounded
from detectors.statistics.ratio import ratio


class MeanLabelDelay(ExactStatistic):
    """Mean delay of the labels that have come, in seconds.

    Additive, mergeable, revertible; each delay is cut to a millisecond. Labels still to come are not in it, so it is too low while a
    version is young; ``LabelMaturity`` is not.

    References
    ----------
    Yasui et al., "A feedback shift correction in predicting conversion rates under delayed feedback", WWW 2020, for the bias.

    Examples
    --------
    >>> delay = MeanLabelDelay()
    >>> delay.update_many([60.0, 3600.0])
    >>> delay
    MeanLabelDelay: 1,830.

    """

    layout = Layout(counts=("n", "delay_ms"), sums={})

    def _events(self, x: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        delay = bounded(x, "a delay", -1e11, 1e11)
        return None, {"n": np.ones(len(delay), dtype=np.int64), "delay_ms": np.rint(delay * 1000).astype(np.int64)}

    def get(self) -> float:
        """Return the mean delay in seconds; NaN before the first label."""
        return float(ratio(self._count("delay_ms"), 1000 * self._count("n")))
