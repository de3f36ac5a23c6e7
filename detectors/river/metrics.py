"""Any River label metric by name, read from four counts instead of event by event."""

import difflib
import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from river import metrics

_NO_NUMBER = frozenset({"ClassificationReport", "ConfusionMatrix"})  # a table, not a figure


@cache
def label_metrics() -> dict[str, Callable[..., Any]]:
    """Return River's metrics that can be read from a confusion matrix, by name: those whose constructor takes ``cm``.

    >>> {"MCC", "CohenKappa", "FBeta"} <= set(label_metrics())
    True
    """
    return {
        name: metric
        for name, metric in inspect.getmembers(metrics, inspect.isclass)
        if name not in _NO_NUMBER and not inspect.isabstract(metric) and "cm" in inspect.signature(metric).parameters
    }


def label_metric(name: str, tp: int, fp: int, tn: int, fn: int, **parameters: Any) -> float | None:
    """Return a River label metric of binary confusion counts; None where River gives no finite number.

    Parameters
    ----------
    name
        A class of ``river.metrics`` whose constructor takes ``cm``; case makes no difference. The positive label is True.
    tp, fp, tn, fn
        Counts, whole and not negative.
    parameters
        The metric's own, such as ``beta`` of FBeta.

    Raises
    ------
    ValueError
        If there is no such metric, a count is negative, or a parameter is unknown or missing.

    Examples
    --------
    >>> label_metric("accuracy", tp=20, fp=5, tn=15, fn=10)
    0.7
    >>> label_metric("Acuracy", 1, 1, 1, 1)
    Traceback (most recent call last):
    ValueError: no River label metric 'Acuracy'; did you mean 'Accuracy'?

    """
    metric = _metric(name)
    counts = {(True, True): tp, (False, True): fp, (False, False): tn, (True, False): fn}
    if any(count < 0 or count != int(count) for count in counts.values()):
        raise ValueError(f"expected whole counts from 0 on, got tp = {tp}, fp = {fp}, tn = {tn}, fn = {fn}")
    matrix = metrics.ConfusionMatrix()
    for (true, predicted), count in counts.items():
        if count:
            matrix.update(true, predicted, w=float(count))
    # A weighted update counts one sample, whatever its weight. Metrics that divide by the samples would read nonsense: Rand -849.
    matrix.n_samples = int(sum(counts.values()))
    accepted = inspect.signature(metric).parameters
    fixed = {"cm": matrix} | ({"pos_val": True} if "pos_val" in accepted else {})
    try:
        built = metric(**parameters, **fixed)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from None
    return _read(built)


def _metric(name: str) -> Callable[..., Any]:
    plain = {known.lower(): known for known in label_metrics()}
    spelt = plain.get(name.lower())
    if spelt is None:
        near = difflib.get_close_matches(name.lower(), plain, n=1, cutoff=0.4)
        hint = f"; did you mean {plain[near[0]]!r}?" if near else f"; there are {', '.join(plain.values())}"
        raise ValueError(f"no River label metric {name!r}{hint}")
    return label_metrics()[spelt]


def _read(metric: Any) -> float | None:
    """Read a metric that may divide by zero, or panic in Rust: that exception is no ``Exception``."""
    try:
        value = metric.get()
    except (ArithmeticError, ValueError):
        return None
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            return None
        raise
    return float(value) if value is not None and math.isfinite(value) else None
