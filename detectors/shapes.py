"""What repeats from one prediction to the next, from JSON to the tail of its entry: each distinct one is packed once."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from operator import getitem
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.contexts import MOST, UNREADABLE, Contexts, Names
from detectors.entries import BINARY, MAPPED, Tail, encode_tail
from detectors.fixed import Ints
from detectors.growing import Growing
from detectors.packing import JOINT, kept_subgroups, pack_subgroups
from detectors.short_text import Coded, chained, coded, squeezed
from schemas.fields import Subgroups
from schemas.policy_models import ModelPolicy

Held = Callable[[str], tuple[ModelPolicy, int]]  # model -> its policy, how long logs are kept

_decode_subgroups = msgspec.json.Decoder(Subgroups | None).decode


class Shapes(dict[tuple[str, str], "_Version"]):
    """Everything about a prediction that repeats, numbered: by model and version, then subgroups as JSON and what else some have.

    >>> shapes = Shapes(lambda model: (ModelPolicy(), 0))
    >>> codes = shapes.numbers(["m", "m"], ["1", "1"], [b'{"site": "a"}', b'{"site":"a"}'], [])
    >>> codes.tolist(), shapes.column("context", codes).tolist()
    ([0, 1], [0, 0])
    """

    def __init__(self, held: Held) -> None:
        super().__init__()
        self.contexts = Contexts()
        self.tails: list[bytes] = []
        self._rows = Growing([("kept", "<i8"), ("context", "<i8"), ("bytes", "<i8")])
        self._kept = Growing([("threshold", "<f8"), ("flags", "<i8"), ("ttl_ms", "<i8")])  # of each model version
        self._held = held
        self._numbers = count()
        self._new: list[tuple[_Common, _Key]] = []
        self._groups: dict[tuple[Any, ...], _Groups] = {}

    def full(self) -> bool:
        """Say whether to begin anew: a name per record would fill the memory."""
        return len(self.tails) > MOST or self.contexts.full()

    def column(self, name: str, shapes: Ints) -> npt.NDArray[Any]:
        """Return threshold, flags, time to live in ms, context or bytes of the tail of shapes by their numbers, shape (n,).

        The context is the number of the tail; ``UNREADABLE``: subgroups that cannot be read.
        """
        if name in ("context", "bytes"):
            column: npt.NDArray[Any] = self._rows.column(name)[shapes]
        else:
            column = self._kept.column(name)[self._rows.column("kept")[shapes]]
        return column

    def numbers(self, models: Sequence[str], versions: Sequence[str], subgroups: Sequence[bytes], more: Sequence[Any]) -> Ints:
        """Return the numbers of the shapes of n predictions, new or known, shape (n,).

        ``more`` is what is in their tails beside, from the label on, None for nothing; or empty: nothing in any of them.
        """
        keys: Sequence[_Key] = subgroups
        if more:
            keys = [json if each is None else (json, each) for json, each in zip(subgroups, more, strict=True)]
        found = list(map(getitem, map(self.__getitem__, zip(models, versions, strict=True)), keys))
        if self._new:
            self._learn()
        return np.array(found, dtype=np.int64)

    def __missing__(self, name: tuple[str, str]) -> "_Version":
        model, version = name
        policy, ttl_ms = self._held(model)
        mapped, number = policy.positive_label != 1, self.contexts.names.number
        how = policy.dimensions, policy.intersections
        groups = self._groups.setdefault(how, _Groups(*how, self.contexts.names))
        kept = self._kept.add((policy.threshold, BINARY | MAPPED if mapped else BINARY, ttl_ms))
        label = str(policy.positive_label) if mapped else None
        common = _Common(model, version, (number(model), number(version)), coded(name), kept, label, groups)
        made = self[name] = _Version(common, self._numbers, self._new)
        return made

    def _learn(self) -> None:
        """Learn what is to be known of the shapes that were met since the last time: of all or, if it fails, of none."""
        contexts = self.contexts
        tails: list[bytes] = []
        rows: list[tuple[int, int, int]] = []
        for common, key in self._new:
            subgroups, more = key if isinstance(key, tuple) else (key, None)
            group = common.groups[subgroups]
            contexts.bytes += len(subgroups)
            if group is None:
                tails.append(b"")
                rows.append((common.kept, UNREADABLE, 0))
                continue
            number, code = group
            tail = squeezed(common.coded, code) if more is None and common.label is None else None
            if tail is not None:
                context = contexts.know_names(tail, *common.numbers, number)
            else:
                label, rest = (common.label, ()) if more is None else (more[0], more[1:])
                made = Tail(common.model, common.version, common.groups.packed(subgroups), label, *rest)
                tail = encode_tail(made)
                context = contexts.know(tail, made)
            tails.append(tail)
            rows.append((common.kept, context, len(tail)))
        self.tails += tails
        self._rows.extend(rows)
        self._new.clear()


_Key = bytes | tuple[bytes, Any]  # subgroups as JSON, no bytes for none; and what else is in the tail


class _Common(NamedTuple):
    """What the predictions of a model version have in common."""

    model: str
    version: str
    numbers: tuple[int, int]  # of both names
    coded: Coded
    kept: int  # row of ``Shapes._kept``
    label: str | None  # that counts as positive, where it is not 1
    groups: "_Groups"


class _Version(dict[_Key, int]):
    """The numbers of the shapes of a model version."""

    __slots__ = ("_common", "_new", "_numbers")  # there may be one for each prediction

    def __init__(self, common: _Common, numbers: Iterator[int], new: list[tuple[_Common, _Key]]) -> None:
        super().__init__()
        self._common, self._numbers, self._new = common, numbers, new

    def __missing__(self, key: _Key) -> int:
        number = self[key] = next(self._numbers)
        self._new.append((self._common, key))
        return number


_Group = tuple[int, Coded]  # subgroups: their number, see ``Names``; their code


class _Groups(dict[bytes, _Group | None]):
    """Subgroups by their JSON, no bytes for none, as a policy keeps them; None where they cannot be read. Models share them."""

    def __init__(self, dimensions: tuple[str, ...] | None, intersections: tuple[tuple[str, ...], ...], names: Names) -> None:
        super().__init__()
        self._how = dimensions, intersections
        self._names = names
        self._codes: dict[int, Coded] = {}  # of pairs
        self._kept = _Pairs(names, self._codes)
        self._sent = _Sent(names, self._codes, all_kept=dimensions is None and not intersections)
        self._packed: dict[bytes, bytes] = {}

    def __missing__(self, json: bytes) -> _Group | None:
        try:
            made = self._read(json)
        except (msgspec.MsgspecError, ValueError):
            made = None
        self[json] = made
        return made

    def _read(self, json: bytes) -> _Group:
        given = (_decode_subgroups(json) if json else None) or {}
        try:
            pairs = list(map(self._sent.__getitem__, sorted(given.items())))
        except KeyError:
            texts = kept_subgroups(given, *self._how)
            pairs = list(map(self._kept.__getitem__, zip(texts[::2], texts[1::2], strict=True)))
        return self._names.add_subgroups(pairs), chained(map(self._codes.__getitem__, pairs))

    def packed(self, json: bytes) -> bytes:
        """Return subgroups that can be read, packed."""
        packed = self._packed.get(json)
        if packed is None:
            packed = self._packed[json] = pack_subgroups(_decode_subgroups(json) if json else None, *self._how)
        return packed


class _Pairs(dict[tuple[str, str], int]):
    """The numbers of pairs of a dimension and its value, see ``Names``, as they are kept; their codes are put into ``codes``."""

    def __init__(self, names: Names, codes: dict[int, Coded]) -> None:
        super().__init__()
        self._number, self._codes = names.pair_number, codes

    def __missing__(self, pair: tuple[str, str]) -> int:
        number = self[pair] = self._number(pair)
        self._codes[number] = coded(pair)
        return number


class _Sent(_Pairs):
    """The same of those that are kept as they are sent; ``KeyError`` of others."""

    def __init__(self, names: Names, codes: dict[int, Coded], *, all_kept: bool) -> None:
        super().__init__(names, codes)
        self._all_kept = all_kept

    def __missing__(self, pair: tuple[str, Any]) -> int:
        name, value = pair
        if not self._all_kept or JOINT in name or type(value) is not str or not value:
            raise KeyError(pair)
        return super().__missing__(pair)
