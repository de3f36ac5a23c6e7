"""What a feature's value is on the scored topic: a code of two bytes, so that twenty features cost forty bytes a prediction.

A number is one of 64,513 cells that keep the order of numbers: 512 to each power of two, from 2**-27 to 2**36 on either side of zero. So a
code says a number to 0.2 %; what is nearer to zero is zero, and what is farther away lies in the outermost cell. A category is the index of
its text.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

ABSENT, MISSING, CATEGORY = 0, 1, 2  # not sent; sent as null; of a number no code, so in an entry: its text follows
TEXT = 1 << 16  # plus an index into ``texts``: a category on the scored topic
STEPS = 512  # cells to a power of two
FIRST, LAST = -26, 36  # exponents, as of ``frexp``
ZERO = 3 + (LAST - FIRST + 1) * STEPS  # the code of zero
LOWEST, HIGHEST = 3, 2 * ZERO - 3  # codes of numbers


def number_codes(values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the codes of numbers, shape of ``values``; NaN is missing.

    >>> number_codes([np.nan, -1e300, -1.0, 0.0, 1.0, 1.001, 1.002, 1e300]).tolist()
    [1, 3, 18434, 32259, 46084, 46084, 46085, 64515]
    """
    x = np.asarray(values, dtype=np.float64)
    part, power = np.frexp(np.abs(x))
    with np.errstate(invalid="ignore"):
        cell = np.where(np.isinf(x), np.inf, (power - FIRST) * STEPS + np.floor((2 * part - 1) * STEPS))
    far = np.clip(np.nan_to_num(cell, posinf=np.inf), -1, ZERO - LOWEST - 1) + 1
    signed = ZERO + np.where(x < 0, -far, far)
    return np.where(np.isnan(x), MISSING, np.where(x == 0, ZERO, signed)).astype(np.int64)


def edge(code: int) -> float:
    """Return the number from which on away from zero a cell lies: its end that is nearer to zero.

    >>> [edge(int(code)) for code in number_codes([-3.0, 0.0, 700.5])]
    [-3.0, 0.0, 700.0]
    """
    cell = abs(code - ZERO) - 1
    if cell < 0:
        return 0.0
    size = float(np.ldexp((cell % STEPS / STEPS + 1) / 2, cell // STEPS + FIRST))
    return size if code > ZERO else -size


def column(codes: npt.NDArray[Any]) -> bytes:
    """Return a column of codes as bytes: two a code, or four where there are categories; told apart by their number."""
    return codes.astype("<u4" if codes.max(initial=0) >= TEXT else "<u2").tobytes()


def codes_of(data: bytes | None, n: int) -> npt.NDArray[np.int64]:
    """Return the codes of a column, shape (n,).

    >>> codes_of(column(np.array([1, TEXT + 7])), 2) - TEXT, codes_of(None, 1)
    (array([-65535,      7]), array([0]))
    """
    if data is None:
        return np.zeros(n, dtype=np.int64)
    return np.frombuffer(data, dtype="<u2" if len(data) == 2 * n else "<u4").astype(np.int64)
