"""Made-up traffic: columns of numpy that become records."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.scenarios import DAY_MS, HOUR_MS, START_MS, Play, Record

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def times(play: Play, days: int, per_day: float) -> Ints:
    """Return the times of all predictions, ascending, epoch ms: at random over the days."""
    n = play.count(days * per_day)
    return START_MS + np.sort(play.rng.integers(0, days * DAY_MS, n))


def happens(play: Play, rate: float | Floats, n: int) -> Flags:
    """Return whether something with these probabilities happens, shape (n,)."""
    return play.rng.random(n) < rate


def after(at_ms: Ints, play: Play, hours: float) -> Ints:
    """Return when something becomes known that takes so many hours on average, and at least a tenth of that; epoch ms."""
    wait = hours * HOUR_MS
    return at_ms + (0.1 * wait + play.rng.exponential(0.9 * wait, len(at_ms))).astype(np.int64)


def scores(play: Play, positive: Flags, *, sharp: float = 4.0) -> Floats:
    """Return scores on the right side of 0.5, nearer to its end the greater ``sharp`` is; to three decimals."""
    away = 0.5 * play.rng.beta(sharp, 2.0, len(positive))
    return np.clip(np.where(positive, 0.5 + away, 0.499 - 0.998 * away), 0.0, 1.0).round(3)


def pick(play: Play, shares: dict[str, float], n: int) -> npt.NDArray[np.str_]:
    """Return values with these shares, shape (n,)."""
    return play.rng.choice(list(shares), n, p=list(shares.values()))


def records(**columns: Any) -> list[Record]:
    """Return one record per row; a value that is None or NaN is left out, and a column that is no sequence is the same in all."""
    n = max(len(column) for column in columns.values() if _many(column))
    lists = [_plain(column) if _many(column) else [column] * n for column in columns.values()]
    rows = zip(*lists, strict=True)
    return [{name: value for name, value in zip(columns, row, strict=True) if not _absent(value)} for row in rows]


def masked(values: Any, where: Flags) -> list[Any]:
    """Return values with None where the mask says so."""
    return [None if gone else value for gone, value in zip(where.tolist(), _plain(values), strict=True)]


def groups(**dimensions: npt.NDArray[np.str_]) -> list[dict[str, str]]:
    """Return the subgroups of each row."""
    return [dict(zip(dimensions, row, strict=True)) for row in zip(*(column.tolist() for column in dimensions.values()), strict=True)]


def ids(prefix: str, n: int) -> list[str]:
    """Return request ids."""
    return [f"{prefix}-{i:06d}" for i in range(n)]


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _many(column: Any) -> bool:
    return isinstance(column, np.ndarray | Sequence) and not isinstance(column, str)


def _plain(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)
