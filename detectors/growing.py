"""A table of numbers that only ever grows: its rows come one by one, its columns are read as arrays."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

_FIRST = 64  # rows that there is room for at the beginning


class Growing:
    """Rows of numbers.

    Parameters
    ----------
    fields
        Names and types of the columns, as numpy has them; or a type alone, of the only column, which has no name.

    Examples
    --------
    >>> table = Growing([("threshold", "<f8"), ("flags", "<i8")])
    >>> table.add((0.5, 3)), table.add((0.25, 1)), len(table)
    (0, 1, 2)
    >>> table.column("flags").tolist()
    [3, 1]

    """

    def __init__(self, fields: list[tuple[str, str]] | str) -> None:
        self._rows: npt.NDArray[Any] = np.empty(_FIRST, dtype=fields)
        self._n = 0
        self._new: list[tuple[Any, ...]] = []  # not in the array yet: rows one at a time are dear there

    def __len__(self) -> int:
        return self._n + len(self._new)

    def add(self, row: tuple[Any, ...]) -> int:
        """Add a row; return its number."""
        self._new.append(row)
        return self._n + len(self._new) - 1

    def extend(self, rows: Iterable[Any]) -> int:
        """Add rows, or the values of the only column; return the number of the first."""
        number = self._n + len(self._new)
        self._new += rows
        return number

    def column(self, name: str | None = None) -> npt.NDArray[Any]:
        """Return a column by number of the row, shape (n,)."""
        if self._new:
            if len(self) > len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty(max(len(self), self._n), dtype=self._rows.dtype)])
            self._rows[self._n : len(self)] = self._new
            self._n, self._new = len(self), []
        values: npt.NDArray[Any] = self._rows[: self._n]
        return values if name is None else values[name]
