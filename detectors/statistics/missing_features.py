"""Missing features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.statistics.exact import ExactStatistic
from detectors.statistics.ratio import ratio


class MissingFeatures(ExactStatistic):
    """Share of features sent that are missing: None or NaN.

    Additive, mergeable, revertible. ``update`` takes a row of features as River does, a dict; ``update_many`` a column of them, or of pairs
    (features, missing).

    References
    ----------
    Little & Rubin, *Statistical Analysis with Missing Data*, 3rd ed. (2019), for what missing features may do.

    Examples
    --------
    >>> missing = MissingFeatures()
    >>> missing.update({"age": 41, "ecog": None})
    >>> missing.update_many([[8, 1]])
    >>> missing
    MissingFeatures: 0.2

    """

    layout = Layout(counts=("features", "missing"), sums={})

    def _events(self, x: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        pairs = [_count(row) if isinstance(row, Mapping) else tuple(row) for row in x]
        counts = np.array(pairs, dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(counts).all() or (counts < 0).any() or (counts[:, 1] > counts[:, 0]).any() or (counts != np.rint(counts)).any():
            raise ValueError(f"expected whole counts (features, missing) with 0 <= missing <= features, got {pairs}")
        return None, {"features": counts[:, 0].astype(np.int64), "missing": counts[:, 1].astype(np.int64)}

    def get(self) -> float:
        """Return the share; NaN before the first feature."""
        return float(ratio(self._count("missing"), self._count("features")))


def _count(features: Mapping[Any, Any]) -> tuple[int, int]:
    return len(features), sum(value is None or (isinstance(value, float) and np.isnan(value)) for value in features.values())
