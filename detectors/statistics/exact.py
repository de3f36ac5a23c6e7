"""What every additive statistic shares: integer sums as the whole state, behind River's interface.

A statistic says which sums an event adds to (``_events``) and what the sums mean (``get``). Since the sums are integers, updating,
reverting and merging in any order give the same bits, and columns the same as single events.
"""

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from river import metrics, stats

from detectors.cells import Layout
from detectors.fixed import Floats, Ints, carry, to_fixed

STATE_VERSION = 1
_CHUNK = 1 << 20  # events per addition: so many values below 2**41 fit an int64
_LARGEST = np.finfo(np.float64).max

_Bools = npt.NDArray[np.bool_]


class ExactSums:
    """Sums per cell in ``rows``, shape (cells, layout.width): additive, mergeable, revertible."""

    layout: ClassVar[Layout]
    cells = 1

    def _clear(self) -> None:
        self.rows = self.layout.zeros(self.cells)

    def _events(self, *columns: Any, **named: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        """Return each event's cell (None: all in cell 0) and what it adds, by name: integers for counts, natural units for sums."""
        raise NotImplementedError

    def _add(self, sign: Any, *columns: Any, **named: Any) -> None:
        cell, values = self._events(*columns, **named)
        n = max((np.size(value) for value in values.values()), default=0)
        signs = whole_signs(sign, n)
        added = self.layout.zeros(n)
        for name, value in values.items():
            at = self.layout.at[name]
            if name in self.layout.sums:
                added[:, at + 1] = to_fixed(value, self.layout.sums[name]) * signs
            else:
                added[:, at] = np.asarray(value) * signs
        for start in range(0, n, _CHUNK):
            part = slice(start, start + _CHUNK)
            if cell is None:
                self.rows[0] += added[part].sum(axis=0)
            else:
                np.add.at(self.rows, cell[part], added[part])
            carry(self.rows, self.layout.first_high)

    def _count(self, name: str) -> Any:
        """Return a count, shape (cells,), or the number itself if there is one cell."""
        count = self.layout.count(self.rows, name)
        return int(count[0]) if self.cells == 1 else count

    def _total(self, name: str) -> Any:
        total = self.layout.total(self.rows, name)
        return float(total[0]) if self.cells == 1 else total

    def _parameters(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "rows" and not name.startswith("_")}

    def __iadd__(self, other: Self) -> Self:
        """Merge: add the other's sums.

        Raises
        ------
        ValueError
            If the other is another statistic or has other parameters.

        """
        if type(other) is not type(self) or other._parameters() != self._parameters():
            raise ValueError(f"expected a {type(self).__name__} with {self._parameters()} to merge, got {other!r}")
        self.rows = carry(self.rows + other.rows, self.layout.first_high)
        return self

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain data: version, name, and the sums."""
        return {"version": STATE_VERSION, "name": type(self).__name__, "rows": self.rows.tolist()}

    def load_state(self, state: dict[str, Any]) -> Self:
        """Take over a state of ``to_state``; parameters are the constructor's.

        Raises
        ------
        ValueError
            If it is the state of another statistic or version; nothing is changed.

        """
        named = (state.get("version"), state.get("name"))
        if named != (STATE_VERSION, type(self).__name__):
            raise ValueError(f"expected a state of {type(self).__name__} version {STATE_VERSION}, got {named[1]} version {named[0]}")
        rows = np.array(state["rows"], dtype=np.int64)
        if rows.shape != self.rows.shape:
            raise ValueError(f"expected sums of shape {self.rows.shape}, got {rows.shape}")
        self.rows = rows
        return self


# River ships no types that mypy can see here, so its classes are Any to it.
class ExactMetric(ExactSums, metrics.base.BinaryMetric):  # type: ignore[misc]
    """A statistic of (true label, prediction) pairs with the face of ``river.metrics``.

    Parameters
    ----------
    pos_val
        The label that counts as positive.

    """

    shared = True  # a base, not a statistic
    _fmt = ".6f"

    def __init__(self, pos_val: object = True) -> None:
        self.pos_val = pos_val
        self._clear()

    @property
    def bigger_is_better(self) -> bool:
        """Whether a higher value is the better one."""
        return False

    @property
    def requires_labels(self) -> bool:
        """Whether predictions are labels; otherwise probabilities, or dicts of them by label."""
        return False

    def update(self, y_true: Any, y_pred: Any, w: float = 1, **columns: Any) -> None:
        """Add one event, ``w`` times (a whole number)."""
        self._add(w, [y_true], [y_pred], **{name: [value] for name, value in columns.items()})

    def revert(self, y_true: Any, y_pred: Any, w: float = 1, **columns: Any) -> None:
        """Take one event back."""
        self._add(-w, [y_true], [y_pred], **{name: [value] for name, value in columns.items()})

    def update_many(self, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sign: npt.ArrayLike = 1, **columns: npt.ArrayLike) -> None:
        """Add columns of events, each shape (n,); ``sign`` -1 takes an event back.

        Raises
        ------
        ValueError
            If a value is NaN, infinite or out of range, or lengths differ; the state is left as it was.

        """
        self._add(sign, y_true, y_pred, **columns)


class ExactStatistic(ExactSums, stats.base.Univariate):  # type: ignore[misc]
    """A statistic of single values with the face of ``river.stats``."""

    shared = True  # a base, not a statistic

    def __init__(self) -> None:
        self._clear()

    def update(self, x: Any) -> None:
        """Add one value."""
        self._add(1, [x])

    def revert(self, x: Any) -> None:
        """Take one value back."""
        self._add(-1, [x])

    def update_many(self, x: npt.ArrayLike, sign: npt.ArrayLike = 1) -> None:
        """Add a column of values, shape (n,); ``sign`` -1 takes a value back.

        Raises
        ------
        ValueError
            If a value is NaN, infinite or out of range; the state is left as it was.

        """
        self._add(sign, x)


def labels_of(values: Any, pos_val: object = True) -> _Bools:
    """Return which labels are the positive one, shape (n,); None and NaN are refused.

    Raises
    ------
    ValueError
        If a label is missing.

    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"expected a column of labels, got an array of shape {array.shape}")
    if array.dtype == np.bool_ and pos_val is True:
        return array
    if (array.dtype == object and any(value is None for value in array)) or _has_nan(array):
        raise ValueError("expected a label in every row, got None or NaN")
    if array.dtype.kind not in "OUS":
        return np.asarray(array == pos_val, dtype=np.bool_)
    return np.array([value == pos_val for value in array.tolist()], dtype=np.bool_)


def scores_of(values: Any, pos_val: object = True) -> Floats:
    """Return probabilities of the positive label, shape (n,), from numbers or River's dicts by label.

    Raises
    ------
    ValueError
        If one is NaN, infinite or outside [0, 1].

    """
    if isinstance(values, list):
        values = [value.get(pos_val, 0.0) if isinstance(value, dict) else value for value in values]
    return bounded(values, "a probability", 0.0, 1.0)


def bounded(values: Any, what: str, low: float = -np.inf, high: float = np.inf) -> Floats:
    """Return finite numbers within [low, high], shape (n,).

    Raises
    ------
    ValueError
        If one is not.

    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"expected a column of numbers, got an array of shape {array.shape}")
    if len(array) and max(low, -_LARGEST) <= array.min() and array.max() <= min(high, _LARGEST):  # of NaN neither is so
        return array
    bad = ~(np.isfinite(array) & (array >= low) & (array <= high))
    if bad.any():
        raise ValueError(f"expected {what} within [{low:g}, {high:g}], got {array[bad][0]} in row {int(np.argmax(bad))}")
    return array


def same_length(columns: Iterable[npt.NDArray[Any]]) -> None:
    """Refuse columns of different lengths.

    Raises
    ------
    ValueError
        If their lengths differ.

    """
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise ValueError(f"expected columns of one length, got {sorted(lengths)}")


def _has_nan(array: npt.NDArray[Any]) -> bool:
    if array.dtype.kind == "f":
        return bool(np.isnan(array).any())
    return array.dtype == object and any(isinstance(value, float) and math.isnan(value) for value in array)


def whole_signs(sign: Any, n: int) -> Ints:
    """Return weights or signs as whole numbers, shape (n,).

    Raises
    ------
    ValueError
        If one is no whole number.

    """
    signs = np.asarray(sign, dtype=np.float64)
    if not np.isfinite(signs).all() or (signs != np.rint(signs)).any():
        raise ValueError(f"expected whole weights, got {sign}: sums of integers can't hold fractions of an event")
    return np.broadcast_to(signs.astype(np.int64), (n,))
