"""What the alerts are about, counted: which share the ten most frequent keys have."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fatigue.units import ALL
from detectors.fixed import Ints
from detectors.panes import SumTable, distinct, grouped

HASH_BITS = 44
MAX_CELLS = 100_000
TOP = 10
_COUNT = Layout(counts=("n",), sums={})


def hashes(codes: npt.NDArray[np.integer], texts: list[str]) -> tuple[Ints, dict[int, str]]:
    """Return a hash of 44 bits of each alert key, given as indexes into texts (0: it has none), and the text of each.

    >>> hashes(np.array([0, 1, 1]), ["", "bed 7"])
    (array([            0, 9250122899193, 9250122899193]), {9250122899193: 'bed 7'})
    """
    found, which = distinct(codes)
    named = [texts[code] if code else "" for code in found.tolist()]
    known = [_hash(text) if text else 0 for text in named]
    return np.array(known, dtype=np.int64)[which], {key: text for key, text in zip(known, named, strict=True) if key}


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> (64 - HASH_BITS) or 1


class AlertKeys:
    """Alerts by (unit, alert key). Additive and revertible; exact up to 100,000 pairs of a model.

    Beyond that keys whose hashes begin alike share a cell, as many bits of it as have room: which that are depends on the pairs ever seen,
    not on their order. The share of the ten most frequent is then not below the true one.

    Examples
    --------
    >>> keys = AlertKeys()
    >>> keys.add(np.ones(22, dtype=np.int64), np.repeat(np.arange(1, 12), 2), np.ones(22, dtype=np.int64))
    >>> {unit: round(share, 3) for unit, share in sorted(keys.shares().items())}
    {0: 0.909, 1: 0.909}

    """

    def __init__(self) -> None:
        self.dropped = 0  # low bits of the hashes
        self.table = SumTable(_COUNT)

    def add(self, units: Ints, keys: Ints, signs: Ints) -> None:
        """Add alerts that have a key, all of shape (n,)."""
        self.table.add(units << HASH_BITS | keys >> self.dropped, signs[:, np.newaxis])
        while len(self.table.keys) > MAX_CELLS:
            self.dropped += 1
            unit, key = self._split()
            self.table.rekey(0, len(unit), unit << HASH_BITS | key >> 1)

    def _split(self) -> tuple[Ints, Ints]:
        return self.table.keys >> HASH_BITS, self.table.keys & ((1 << HASH_BITS) - 1)

    def shares(self) -> dict[int, float]:
        """Return the share of the ten most frequent keys by unit, and of ``ALL``."""
        unit, key = self._split()
        n = self.table.rows[:, 0]
        cells = {int(each): n[unit == each] for each in np.unique(unit)}
        cells[ALL] = grouped(key, self.table.rows)[1].reshape(-1)
        return {each: float(np.sort(count)[-TOP:].sum() / count.sum()) for each, count in cells.items() if count.sum() > 0}

    def to_state(self) -> list[Any]:
        """Return the state as plain values and bytes."""
        return [self.dropped, self.table.to_state()]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.dropped, self.table = state[0], SumTable.from_state(_COUNT, state[1])
