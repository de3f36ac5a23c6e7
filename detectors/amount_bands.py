"""Bands of the amount at stake, by powers of ten: a missed payment of 10,000 is not one of 10."""

import numpy as np

from detectors.fixed import MONEY_UNIT, Ints

NONE = -1  # no amount was sent
_EDGES: Ints = 10 ** np.arange(10, dtype=np.int64) * round(1 / MONEY_UNIT)  # 1 to 1,000,000,000
BANDS = len(_EDGES) + 1


def band_of(amount: Ints) -> Ints:
    """Return the band of each amount, given in ten-thousandths; none where there is no amount.

    >>> band_of(np.array([0, 5_000, 10_000, 99_999, 123_456_789_0000])).tolist()
    [-1, 0, 1, 1, 9]
    """
    band = np.zeros(amount.shape, dtype=np.int64)
    for edge in _EDGES[: int(np.searchsorted(_EDGES, amount.max(initial=0), side="right"))].tolist():  # few: quicker than to look each up
        band += amount >= edge
    band[amount == 0] = NONE
    return band


def ends(band: int) -> tuple[float, float | None]:
    """Return where a band begins, and where it ends; None: it does not.

    >>> ends(0), ends(5), ends(10)
    ((0.0, 1.0), (10000.0, 100000.0), (1000000000.0, None))
    """
    edges = [0.0, *(_EDGES * MONEY_UNIT).tolist()]
    return edges[band], edges[band + 1] if band + 1 < len(edges) else None


def text(band: int) -> str:
    """Return a band in words, as the value of a segment.

    >>> text(0), text(5), text(10)
    ('below 1', '10,000 to 100,000', '1,000,000,000 and more')
    """
    low, high = ends(band)
    if high is None:
        return f"{low:,.0f} and more"
    return f"{low:,.0f} to {high:,.0f}" if low else f"below {high:,.0f}"
