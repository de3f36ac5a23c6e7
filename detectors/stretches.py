"""Columns that are cut into stretches, a message each: what would be done for one after another is done for all in one go."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.fixed import Ints

DENSE = 8  # up to so many times as many possible numbers as elements, a table of them costs less than to sort


class Distinct(NamedTuple):
    """The distinct numbers of each stretch, in order of their first use there; those of one stretch after those of another."""

    numbers: Ints
    starts: Ints  # where those of each stretch begin, and where the last one's end: shape (stretches + 1,)
    which: Ints  # for each element of the column, which of ``numbers`` it is


def distinct(column: Ints, starts: Ints) -> Distinct:
    """Return the distinct numbers, 0 or above, of each stretch of a column.

    Parameters
    ----------
    column
        Shape (n,).
    starts
        Where each stretch begins, and n: shape (stretches + 1,), rising.

    Examples
    --------
    >>> found = distinct(np.array([7, 5, 7, 5, 5]), np.array([0, 3, 5]))
    >>> found.numbers.tolist(), found.starts.tolist(), found.which.tolist()
    ([7, 5, 5], [0, 2, 3], [0, 1, 0, 2, 2])

    """
    met, _, column = unique(column, int(column.max(initial=0)) + 1)
    used, first, inverse = unique(stretch_of(starts) * len(met) + column, (len(starts) - 1) * len(met))
    order = np.argsort(first)
    rank = np.empty(len(used), dtype=np.int64)
    rank[order] = np.arange(len(used))
    return Distinct(met[used[order] % len(met)], np.searchsorted(first[order], starts), rank[inverse])


def unique(numbers: Ints, bound: int) -> tuple[Ints, Ints, Ints]:
    """Return the distinct numbers in rising order, where each stands first, and for each element which of them it is.

    As ``np.unique`` does, without sorting where all numbers lie from 0 to a ``bound`` that is not far above their count.

    >>> [found.tolist() for found in unique(np.array([3, 1, 3]), 4)]
    [[1, 3], [1, 0], [1, 0, 1]]
    """
    n = len(numbers)
    if bound > DENSE * n:
        return np.unique(numbers, return_index=True, return_inverse=True)
    first = np.full(bound, -1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(n - 1, -1, -1)  # of several that are equal the last one written stays
    used = np.flatnonzero(first >= 0)
    place = np.empty(bound, dtype=np.int64)
    place[used] = np.arange(len(used))
    return used, first[used], place[numbers]


def stretch_of(starts: Ints) -> Ints:
    """Return for each element which stretch it lies in; ``starts`` as of ``distinct``."""
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def ranges(begins: npt.ArrayLike, counts: Any) -> Ints:
    """Return the numbers from each beginning on, so many as it has.

    >>> ranges([5, 0], np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    found: Ints = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(np.asarray(begins) - ends + counts, counts)
    return found
