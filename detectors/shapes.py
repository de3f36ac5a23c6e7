"""What repeats from one prediction to the next, from JSON to the tail of its entry: each distinct one is packed once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy.typing as npt

from detectors.contexts import UNREADABLE, Contexts, Names
from detectors.entries import BINARY, MAPPED, Tail, encode_tail
from detectors.fixed import Ints
from detectors.growing import Growing
from detectors.packing import JOINT, kept_subgroups, pack_subgroups
from detectors.short_text import Coded, chained, coded, squeezed
from schemas.fields import Subgroups
from schemas.policy_models import ModelPolicy

Held = Callable[[str], tuple[ModelPolicy, int]]  # model -> its policy, how long logs are kept

_decode_subgroups = msgspec.json.Decoder(Subgroups | None).decode


class Shapes(dict[tuple[Any, ...], int]):
    """Everything about a prediction that repeats, numbered: (model, version, subgroups as JSON, more).

    A shape has its number as soon as it is asked for; what is to be known of it, once ``learn`` was called.
    """

    def __init__(self, held: Held) -> None:
        super().__init__()
        self.contexts = Contexts()
        self.tails: list[bytes] = []
        self._rows = Growing([("kept", "<i8"), ("context", "<i8")])
        self._kept = Growing([("threshold", "<f8"), ("flags", "<i8"), ("ttl_ms", "<i8")])  # of each model version
        self._held = held
        self._new: list[tuple[Any, ...]] = []
        self._versions: dict[tuple[str, str], _Version] = {}
        self._groups: dict[tuple[Any, ...], _Groups] = {}

    def column(self, name: str, shapes: Ints) -> npt.NDArray[Any]:
        """Return threshold, flags, time to live in ms or context of shapes by their numbers, shape (n,).

        The context is the number of the tail; ``UNREADABLE``: subgroups that cannot be read.
        """
        if name == "context":
            column: npt.NDArray[Any] = self._rows.column(name)[shapes]
        else:
            column = self._kept.column(name)[self._rows.column("kept")[shapes]]
        return column

    def __missing__(self, shape: tuple[Any, ...]) -> int:
        """Return the number of a shape that was not met before."""
        self._new.append(shape)
        number = self[shape] = len(self)
        return number

    def learn(self) -> None:
        """Learn about the shapes that were met since the last time."""
        new, self._new = self._new, []
        contexts, tails, rows = self.contexts, self.tails, []
        for model, version, subgroups, more in new:
            common = self._versions.get((model, version)) or self._version(model, version)
            group = common.groups[subgroups]
            if group is None:
                tails.append(b"")
                rows.append((common.kept, UNREADABLE))
                continue
            number, code = group
            tail = squeezed(common.coded, code) if more is None and common.label is None else None
            if tail is not None:
                context = contexts.know_names(tail, common.model, common.version, number)
            else:
                label, rest = (common.label, ()) if more is None else (more[0], more[1:])
                made = Tail(model, version, common.groups.packed(subgroups), label, *rest)
                tail = encode_tail(made)
                context = contexts.know(tail, made)
            tails.append(tail)
            rows.append((common.kept, context))
        self._rows.extend(rows)

    def _version(self, model: str, version: str) -> "_Version":
        policy, ttl_ms = self._held(model)
        mapped, number = policy.positive_label != 1, self.contexts.names.number
        how = policy.dimensions, policy.intersections
        groups = self._groups.setdefault(how, _Groups(*how, self.contexts.names))
        kept = self._kept.add((policy.threshold, BINARY | MAPPED if mapped else BINARY, ttl_ms))
        label = str(policy.positive_label) if mapped else None
        made = self._versions[model, version] = _Version(number(model), number(version), coded((model, version)), kept, label, groups)
        return made


_Group = tuple[int, Coded]  # subgroups: their number, see ``Names``; their code


class _Groups(dict[bytes, _Group | None]):
    """Subgroups by their JSON, no bytes for none, as a policy keeps them; None where they cannot be read. Models share them."""

    def __init__(self, dimensions: tuple[str, ...] | None, intersections: tuple[tuple[str, ...], ...], names: Names) -> None:
        super().__init__()
        self._how = dimensions, intersections
        self._as_sent = dimensions is None and not intersections
        self._names = names
        self._pairs = _Pairs(names)
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
        pairs: list[tuple[str, Any]] = sorted(given.items())
        if not self._as_sent or JOINT in "".join(given) or not all(map(self._pairs.__contains__, pairs)):
            texts = kept_subgroups(given, *self._how)
            pairs = list(zip(texts[::2], texts[1::2], strict=True))
        known = [self._pairs[pair] for pair in pairs]
        return self._names.number_of_pairs(tuple([number for number, _ in known])), chained([code for _, code in known])

    def packed(self, json: bytes) -> bytes:
        """Return subgroups that can be read, packed."""
        packed = self._packed.get(json)
        if packed is None:
            packed = self._packed[json] = pack_subgroups(_decode_subgroups(json) if json else None, *self._how)
        return packed


class _Pairs(dict[tuple[str, str], tuple[int, Coded]]):
    """Pairs of a dimension and its value, as they are kept: the number of each, see ``Names``, and its code."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self._number = names.pair_number

    def __missing__(self, pair: tuple[str, str]) -> tuple[int, Coded]:
        made = self[pair] = self._number(pair), coded(pair)
        return made


class _Version(NamedTuple):
    """What the predictions of a model version have in common."""

    model: int  # number of its name
    version: int
    coded: Coded
    kept: int  # its row of ``Shapes._kept``
    label: str | None  # that counts as positive, where it is not 1
    groups: _Groups
