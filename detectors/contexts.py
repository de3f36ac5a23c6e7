"""What repeats from one prediction to the next, by number: texts, and the tails of entries. So columns of numbers stand for both."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.entries import Tail, decode_tail, subgroup_pairs
from detectors.feature_packing import unpack_names

UNREADABLE = -1
MOST = 100_000  # distinct tails; then whoever holds them begins anew

# columns of ``Contexts.columns``; the first seven are numbers of ``Names``
FIELDS = (
    *("model", "version", "unit", "alert_key", "probe", "subgroups", "feature_names"),
    *("money", "features", "missing", "label_0", "label_1"),
)


class Names:
    """Numbers texts, and the subgroups and names of features of entries, in order of their first use; 0 is the empty one of each.

    >>> names = Names()
    >>> names.number("a"), names.number(""), names.texts
    (1, 0, ['', 'a'])
    """

    def __init__(self) -> None:
        self.texts = [""]
        self.subgroups: list[list[tuple[str, str]]] = [[]]  # (dimension, value), in the order of the dimensions' names
        self.feature_names: list[list[str]] = [[]]
        self._numbers = {"": 0}
        self._blobs = {b"": 0}
        self._feature_blobs = {b"": 0}

    def number(self, text: str) -> int:
        """Return the number of a text, new or known."""
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def subgroups_number(self, blob: bytes) -> int:
        """Return the number of packed subgroups, new or known; see ``entries.subgroup_pairs``."""
        number = self._blobs.setdefault(blob, len(self.subgroups))
        if number == len(self.subgroups):
            self.subgroups.append(subgroup_pairs(blob))
        return number

    def feature_names_number(self, blob: bytes) -> int:
        """Return the number of packed names of features, new or known."""
        number = self._feature_blobs.setdefault(blob, len(self.feature_names))
        if number == len(self.feature_names):
            self.feature_names.append(unpack_names(blob))
        return number


class Contexts(dict[bytes, int]):
    """The number of each distinct tail, made on demand; ``UNREADABLE`` for bytes that are none.

    >>> from detectors.entries import encode_tail
    >>> contexts = Contexts()
    >>> made = contexts[encode_tail(Tail("m", "1"))]
    >>> contexts.names.texts[contexts.column("version")[made]], contexts[b"damaged"]
    ('1', -1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.names = Names()
        self._table: npt.NDArray[np.int64] = np.zeros((64, len(FIELDS)), dtype=np.int64)
        self._n = 0

    def column(self, name: str) -> npt.NDArray[np.int64]:
        """Return a column of ``FIELDS`` by number of the tail."""
        return self._table[:, FIELDS.index(name)]

    def __missing__(self, raw: bytes) -> int:
        """Read a tail that was not met before."""
        try:
            return self._add(raw, decode_tail(raw))
        except (msgspec.MsgspecError, ValueError):
            self[raw] = UNREADABLE
            return UNREADABLE

    def know(self, raw: bytes, tail: Tail) -> int:
        """Return the number of a tail that was just encoded: it need not be read again."""
        number = self.get(raw)
        return self._add(raw, tail) if number is None else number

    def _add(self, raw: bytes, tail: Tail) -> int:
        row = self._row(tail)
        if self._n == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        self._table[self._n] = row
        self[raw] = self._n
        self._n += 1
        return self._n - 1

    def _row(self, tail: Tail) -> tuple[Any, ...]:
        number = self.names.number
        return (
            *map(number, (tail.model, tail.version, tail.unit, tail.alert_key, tail.probe)),
            self.names.subgroups_number(tail.subgroups),
            self.names.feature_names_number(tail.feature_names),
            tail.compute_cost,
            tail.features,
            tail.missing,
            tail.label == "0",
            tail.label == "1",
        )
