"""What repeats from one prediction to the next, by number: texts, and the tails of entries. So columns of numbers stand for both."""

from typing import Any

import msgspec

from detectors.entries import Tail, decode_tail, subgroup_texts
from detectors.feature_packing import unpack_names
from detectors.fixed import Ints
from detectors.growing import Growing

UNREADABLE = -1
MOST = 100_000  # distinct tails; then whoever holds them begins anew
MOST_NAMES = 4 * MOST  # likewise: outcomes bring names of their own, as of actions and checks

# columns of ``Contexts.columns``; the first eight are numbers of ``Names``
FIELDS = (
    *("model", "version", "unit", "alert_key", "probe", "subgroups", "feature_names", "label"),
    *("money", "features", "missing", "label_0", "label_1"),
)


class _Numbers(dict[str, int]):
    """The number of each text, made on demand."""

    def __init__(self) -> None:
        super().__init__({"": 0})
        self.texts = [""]

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self.texts)
        self.texts.append(text)
        return number


class Names:
    """Numbers texts, and the subgroups and names of features of entries, in order of their first use; 0 is the empty one of each.

    >>> names = Names()
    >>> names.number("a"), names.number(""), names.texts
    (1, 0, ['', 'a'])
    """

    def __init__(self) -> None:
        numbers = _Numbers()
        self.texts = numbers.texts
        self.number = numbers.__getitem__  # of a text, new or known
        # of each subgroups where its pairs stand, and how many they are; dimension and value of each pair, numbers of texts: in the order
        # of the dimensions' names
        self.subgroups = Growing([("first", "<i8"), ("count", "<i8")])
        self.pairs = Growing([("dimension", "<i8"), ("value", "<i8")])
        self.feature_names: list[list[str]] = [[]]
        self._blobs = {b"": self.subgroups.add((0, 0))}
        self._feature_blobs = {b"": 0}

    def __len__(self) -> int:
        return len(self.texts) + len(self._blobs) + len(self._feature_blobs)

    def subgroups_number(self, blob: bytes) -> int:
        """Return the number of packed subgroups, new or known; see ``entries.subgroup_texts``."""
        number = self._blobs.get(blob)
        if number is None:
            texts = list(map(self.number, subgroup_texts(blob)))
            first = self.pairs.extend(zip(texts[::2], texts[1::2], strict=True))
            number = self._blobs[blob] = self.subgroups.add((first, len(texts) // 2))
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
        self._table = Growing([(name, "<i8") for name in FIELDS])

    def column(self, name: str) -> Ints:
        """Return a column of ``FIELDS`` by number of the tail."""
        return self._table.column(name)

    def __missing__(self, raw: bytes) -> int:
        """Read a tail that was not met before."""
        try:
            return self._add(raw, decode_tail(raw))
        except (msgspec.MsgspecError, ValueError):
            self[raw] = UNREADABLE
            return UNREADABLE

    def full(self) -> bool:
        """Say whether to begin anew: a name per record would fill the memory."""
        return len(self) > MOST or len(self.names) > MOST_NAMES

    def know(self, raw: bytes, tail: Tail) -> int:
        """Return the number of a tail that was just encoded: it need not be read again."""
        number = self.get(raw)
        return self._add(raw, tail) if number is None else number

    def _add(self, raw: bytes, tail: Tail) -> int:
        number = self[raw] = self._table.add(self._row(tail))
        return number

    def _row(self, tail: Tail) -> tuple[Any, ...]:
        number = self.names.number
        return (
            *map(number, (tail.model, tail.version, tail.unit, tail.alert_key, tail.probe)),
            self.names.subgroups_number(tail.subgroups),
            self.names.feature_names_number(tail.feature_names),
            number(tail.label or ""),
            tail.compute_cost,
            tail.features,
            tail.missing,
            tail.label == "0",
            tail.label == "1",
        )
