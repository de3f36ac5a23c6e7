"""The cells that a feature's values are counted in: learnt once, from its first values by event time, and frozen.

Values come as codes, an order of 64,513 fine cells for numbers and a number for each category. Twenty cells hold about a twentieth of the
first values each; of categories, the nineteen most frequent have one each, and the last holds all others.
"""

from typing import Any, NamedTuple

import numpy as np

from detectors.bets.covariates import CELLS
from detectors.fixed import Ints
from schemas.feature_codes import TEXT

LEAST = 200  # values from which cells are learnt
NUMBERS, CATEGORIES = "numbers", "categories"
_BORDERS = CELLS - 1


class Scale(NamedTuple):
    """``borders`` of numbers: the highest code of each cell but the last; of categories: their ``names``, the most frequent first."""

    kind: str
    borders: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def to_state(self) -> list[Any]:
        """Return the scale as plain values."""
        return [self.kind, list(self.borders), list(self.names)]

    @classmethod
    def from_state(cls, state: list[Any]) -> "Scale":
        """Return the scale that ``to_state`` wrote."""
        return cls(state[0], tuple(state[1]), tuple(state[2]))


def learn(codes: Ints, counts: Ints, words: list[str]) -> Scale | None:
    """Return the scale of a feature's first values; None: they are too few.

    A feature is what most of them are, numbers or categories; values of the other kind will count as missing.

    Parameters
    ----------
    codes, counts
        Values and how many there are of each, ascending, shape (k,); a category is ``TEXT`` plus its place in ``words``.
    words
        The categories' names.

    Examples
    --------
    >>> from schemas.feature_codes import edge, number_codes
    >>> scale = learn(number_codes(np.arange(1.0, 401.0)), np.ones(400, dtype=np.int64), [])
    >>> len(scale.borders), [round(edge(scale.borders[place])) for place in (0, 9, -1)]
    (19, [20, 200, 380])
    >>> learn(np.array([TEXT, TEXT + 1]), np.array([100, 200]), ["b", "a"]).names
    ('a', 'b')

    """
    text = codes >= TEXT
    among = text if counts[text].sum() > counts[~text].sum() else ~text
    codes, counts = codes[among], counts[among]
    if counts.sum() < LEAST:
        return None
    if codes[0] >= TEXT:
        ranked = sorted(zip((-counts).tolist(), (words[code - TEXT] for code in codes.tolist()), strict=True))
        return Scale(CATEGORIES, names=tuple(name for _, name in ranked[:_BORDERS]))
    below = np.cumsum(counts)
    wanted = below[-1] * np.arange(1, CELLS) / CELLS
    return Scale(NUMBERS, borders=tuple(codes[np.searchsorted(below, wanted)].tolist()))


def by_cell(scale: Scale, codes: Ints, counts: Ints, words: list[str]) -> Ints:
    """Return how many values lie in each cell, shape (20,); those of the other kind in none.

    >>> by_cell(Scale(CATEGORIES, names=("a", "b")), np.array([TEXT, TEXT + 2]), np.array([5, 7]), ["b", "a", "c"])[[0, 1, -1]]
    array([0, 5, 7])
    """
    text = codes >= TEXT
    among = text if scale.kind == CATEGORIES else ~text
    codes, counts = codes[among], counts[among]
    if scale.kind == NUMBERS:
        cells = np.searchsorted(scale.borders, codes)
    else:
        place = {name: cell for cell, name in enumerate(scale.names)}
        cells = np.array([place.get(words[code - TEXT], CELLS - 1) for code in codes.tolist()], dtype=np.int64)
    out = np.zeros(CELLS, dtype=np.int64)
    np.add.at(out, cells, counts)
    return out
