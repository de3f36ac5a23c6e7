"""RMS calibration error over bins of a fixed number of events, sorted by confidence: as some language-model benchmarks print it."""

import numpy as np
import numpy.typing as npt

from detectors.statistics.exact import bounded, same_length


def sized_rms(confidence: npt.ArrayLike, correct: npt.ArrayLike, size: int = 100, hle_compat: bool = False) -> float:
    """Return the RMS calibration error over bins of ``size`` events, sorted by confidence; the last bin takes the remainder.

    Not additive: it needs every event, so it is a function of raw columns.

    Parameters
    ----------
    confidence, correct
        Stated confidence in [0, 1], and whether the answer was right; shape (n,).
    size
        Events per bin.
    hle_compat
        Leave the last bin out, the most confident one, as the ``calib_err`` code in common use does (its loop ends at ``len(bins) - 1``).
        Figures published with that code compare only with this; below twice ``size`` events it is 0.

    Returns
    -------
    float
        NaN without events.

    References
    ----------
    Phan et al., "Humanity's Last Exam" (2025), and its judge script; Hendrycks et al., "Deep anomaly detection with outlier
    exposure", ICLR 2019, for the original of ``calib_err``.

    Examples
    --------
    >>> confidence, correct = [0.5] * 100 + [0.9] * 100, [1, 0] * 50 + [0] * 100
    >>> round(sized_rms(confidence, correct), 4), sized_rms(confidence, correct, hle_compat=True)
    (0.6364, 0.0)

    """
    claimed, right = bounded(confidence, "a confidence", 0.0, 1.0), bounded(correct, "a flag", 0.0, 1.0)
    same_length([claimed, right])
    if size < 1:
        raise ValueError(f"expected bins of at least one event, got {size}")
    n = len(claimed)
    if n == 0:
        return float("nan")
    order = np.argsort(claimed, kind="stable")
    bins = max(n // size, 1)
    group = np.minimum(np.arange(n) // size, bins - 1)
    counts = np.bincount(group, minlength=bins)
    gaps = (np.bincount(group, claimed[order], bins) - np.bincount(group, right[order], bins)) / counts
    if hle_compat:
        counts, gaps = counts[:-1], gaps[:-1]
    return float(np.sqrt((counts * gaps * gaps).sum() / n))
