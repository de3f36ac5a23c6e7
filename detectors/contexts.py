"""What repeats from one prediction to the next, by number: texts, and the tails of entries. So columns of numbers stand for both."""

from collections.abc import Sequence

import msgspec

from detectors.entries import Tail, decode_tail, subgroup_pairs
from detectors.feature_packing import unpack_names
from detectors.fixed import Ints
from detectors.growing import Growing

UNREADABLE = -1
MOST = 100_000  # distinct tails, or pairs of a dimension and its value; then whoever holds them begins anew
MOST_NAMES = 4 * MOST  # likewise: outcomes bring names of their own, as of actions and checks
MOST_BYTES = 64 << 20  # likewise: of tails, and of what they were made of

# columns of ``Contexts``, numbers of ``Names`` but for the last five; those of ``MORE`` are 0 in most tails
FIELDS = ("model", "version", "subgroups")
MORE = ("unit", "alert_key", "probe", "feature_names", "label", "money", "features", "missing", "label_0", "label_1")


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
        # of each subgroups where its pairs stand among the members, in the order of the dimensions' names, and how many they are; dimension
        # and value of each distinct pair, numbers of texts
        self.subgroups = Growing([("first", "<i8"), ("count", "<i8")])
        self.members = Growing("<i8")
        self.pairs = Growing([("dimension", "<i8"), ("value", "<i8")])
        self.feature_names: list[list[str]] = [[]]
        self._features = 0  # names in them
        self._pairs: dict[tuple[str, str], int] = {}
        self._blobs = {b"": self.add_subgroups(())}
        self._feature_blobs = {b"": 0}

    def __len__(self) -> int:
        return len(self.texts) + len(self.subgroups) + len(self._feature_blobs) + self._features

    def subgroups_number(self, blob: bytes) -> int:
        """Return the number of packed subgroups, new or known; see ``entries.subgroup_texts``."""
        number = self._blobs.get(blob)
        if number is None:
            number = self._blobs[blob] = self.add_subgroups(list(map(self.pair_number, subgroup_pairs(blob))))
        return number

    def add_subgroups(self, pairs: Sequence[int]) -> int:
        """Return a new number for subgroups, by the numbers of their pairs: the same subgroups may have several."""
        return self.subgroups.add((self.members.extend(pairs), len(pairs)))

    def pair_number(self, pair: tuple[str, str]) -> int:
        """Return the number of a dimension and its value, new or known."""
        number = self._pairs.get(pair)
        if number is None:
            number = self._pairs[pair] = self.pairs.add((self.number(pair[0]), self.number(pair[1])))
        return number

    def feature_names_number(self, blob: bytes) -> int:
        """Return the number of packed names of features, new or known."""
        number = self._feature_blobs.setdefault(blob, len(self.feature_names))
        if number == len(self.feature_names):
            self.feature_names.append(unpack_names(blob))
            self._features += len(self.feature_names[-1])
        return number


class Contexts(dict[bytes, int]):
    """The number of each distinct tail, made on demand; ``UNREADABLE`` for bytes that are none.

    >>> import numpy as np
    >>> from detectors.entries import encode_tail
    >>> contexts = Contexts()
    >>> made = contexts[encode_tail(Tail("m", "1"))]
    >>> [contexts.names.texts[number] for number in contexts.column("version", np.array([made]))], contexts[b"damaged"]
    (['1'], -1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.names = Names()
        self.bytes = 0  # of what repeats, as it came: whoever keeps more than the tails adds that
        self._table = Growing([(name, "<i8") for name in (*FIELDS, "more")])
        self._more = Growing([(name, "<i8") for name in MORE])
        self._numbers = {(0,) * len(MORE): 0}  # of the rows of ``_more``
        self._more.extend(self._numbers)

    def column(self, name: str, tails: Ints) -> Ints:
        """Return a column of ``FIELDS`` or ``MORE`` for tails by their numbers, shape (n,)."""
        column: Ints = self._table.column(name)[tails] if name in FIELDS else self._more.column(name)[self._table.column("more")[tails]]
        return column

    def held(self, names: Sequence[str]) -> Sequence[str]:
        """Return which columns of ``MORE`` hold anything but 0, none or all of them."""
        return names if len(self._numbers) > 1 else ()

    def __missing__(self, raw: bytes) -> int:
        """Read a tail that was not met before."""
        try:
            return self._add(raw, decode_tail(raw))
        except (msgspec.MsgspecError, ValueError):
            return self._keep(raw, UNREADABLE)

    def full(self) -> bool:
        """Say whether to begin anew: a name per record would fill the memory."""
        return max(len(self), len(self.names.pairs)) > MOST or len(self.names) > MOST_NAMES or self.bytes > MOST_BYTES

    def know(self, raw: bytes, tail: Tail) -> int:
        """Return the number of a tail that was just encoded: it need not be read again."""
        number = self.get(raw)
        return self._add(raw, tail) if number is None else number

    def know_names(self, raw: bytes, model: int, version: int, subgroups: int) -> int:
        """Return the number of a tail that holds no more than these, numbers of names."""
        number = self.get(raw)
        if number is None:
            number = self._keep(raw, self._table.add((model, version, subgroups, 0)))
        return number

    def _keep(self, raw: bytes, number: int) -> int:
        self[raw] = number
        self.bytes += len(raw)
        return number

    def _add(self, raw: bytes, tail: Tail) -> int:
        number = self.names.number
        more = (
            *map(number, (tail.unit, tail.alert_key, tail.probe)),
            self.names.feature_names_number(tail.feature_names),
            number(tail.label or ""),
            tail.compute_cost,
            tail.features,
            tail.missing,
            int(tail.label == "0"),
            int(tail.label == "1"),
        )
        which = self._numbers.get(more)
        if which is None:
            which = self._numbers[more] = self._more.add(more)
        row = (number(tail.model), number(tail.version), self.names.subgroups_number(tail.subgroups), which)
        return self._keep(raw, self._table.add(row))
