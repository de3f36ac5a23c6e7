"""The share of events that have a mark: alerted, abstained, labelled, acted upon."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.statistics.exact import ExactStatistic, bounded
from detectors.statistics.ratio import ratio


class Share(ExactStatistic):
    """Share of events that have a mark: an alert (alert rate), a label (label coverage), an action (acted rate).

    Additive, mergeable, revertible.

    References
    ----------
    ANSI/ISA-18.2, "Management of alarm systems for the process industries" (2016), for alert rates.

    Examples
    --------
    >>> coverage = Share()
    >>> coverage.update_many([True, False, True, True])
    >>> coverage
    Share: 0.75

    """

    layout = Layout(counts=("n", "marked"), sums={})

    def _events(self, x: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        marks = bounded(x, "a mark", 0.0, 1.0)
        if (marks != np.rint(marks)).any():
            raise ValueError("expected marks of 0 or 1")
        return None, {"n": np.ones(len(marks), dtype=np.int64), "marked": marks.astype(np.int64)}

    def get(self) -> float:
        """Return the share; NaN before the first event."""
        return float(ratio(self._count("marked"), self._count("n")))
