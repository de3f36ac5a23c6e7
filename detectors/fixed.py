"""Exact sums of real numbers: fixed point in two int64 limbs.

A value is rounded once to a multiple of its unit (2**-40 for scores, 2**-32 for log loss, 1e-4 for money); after that every sum is a
sum of integers, so order, batching, merging and taking back give the same bits. One int64 would overflow after eight million
scores of 1.0, so a sum is kept as ``hi * 2**40 + lo`` with ``0 <= lo < 2**40``.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LIMB_BITS = 40
SCORE_UNIT = 2.0**-40
LOSS_UNIT = 2.0**-32
MONEY_UNIT = 1e-4


def to_fixed(values: npt.ArrayLike, unit: float) -> Ints:
    """Round values to multiples of ``unit``; any shape, int64.

    >>> to_fixed([0.5, 1.0], 2.0**-40).tolist()
    [549755813888, 1099511627776]
    """
    values = np.asarray(values, dtype=np.float64)
    whole = 1 / unit
    # times a power of two is the same to the bit, and several times as fast
    return np.rint(values * whole if math.frexp(whole)[0] == 0.5 else values / unit).astype(np.int64)


def carry(sums: Ints, first: int) -> Ints:
    """Bring the low limbs back into range, in place; from the column ``first`` on high and low limbs take turns.

    >>> carry(np.array([[7, 0, 3 * 2**40 + 5], [7, 0, -1]]), 1).tolist()
    [[7, 3, 5], [7, -1, 1099511627775]]
    """
    low = sums[..., first + 1 :: 2]
    over = low >> LIMB_BITS
    if np.count_nonzero(over):
        sums[..., first::2] += over
        low &= (1 << LIMB_BITS) - 1
    return sums


def to_float(high: Any, low: Any, unit: float) -> Any:
    """Return the sum that two limbs stand for, in floating point; scalar or array.

    >>> float(to_float(3, 0, 2.0**-40))
    3.0
    """
    return (np.asarray(high, dtype=np.float64) * 2.0**LIMB_BITS + np.asarray(low, dtype=np.float64)) * unit
