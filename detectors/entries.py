"""What the join keeps per request: one compact entry per record that arrived, without raw ids.

An entry holds just what scored rows need, some 60 bytes for a prediction with three subgroups. What a policy decides (threshold, positive
label, dimensions) is decided when the entry is made and kept with it, so that reading a stored entry again never depends on the policy of
the day. There are four forms, told apart by their first byte:

- a prediction, 0x40 to 0x7f, six bits of it the flags: a head of fixed width, which many entries at once are read from as columns,
  then a tail that repeats from one prediction to the next (model, version, subgroups ...), so that each distinct one is read once: a
  msgpack array, or where there are names alone the shorter ``short_text``, which begins below 0x80; where a number is predicted, it and
  its interval stand between the two;
- a prediction whose features the policy watches, 0x20 to 0x3f, five bits of it flags: the same with the features' values before the tail,
  two bytes for their length before them; values do not repeat, the features' names do and stand in the tail;
- the ordinary outcome, a label 0 or 1 and nothing else, 0x80 or 0x81: a head;
- any other outcome, a prediction of a time beyond 48 bits, and one of a number whose features are watched, from 0x90 on: a msgpack array.

Fields are only ever added at the end of an array, with a default: old entries stay readable, and so do newer ones. Two wider forms that
came before those of a head, 0x01 and 0x02, stay readable too.
"""

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.feature_packing import check_values
from detectors.short_text import squeeze, stretch

BINARY, POSITIVE, ABSTAINED, ALERTED, MAPPED, VALUED = 1, 2, 4, 8, 16, 32  # bits of ``PredictionEntry.flags``; VALUED: of a number
PREDICTION_FORM, LABEL_FORM = 0x40, 0x80  # first byte of an entry, with its flags or its label in the lower bits
OTHER_FORM = 0x90  # and above: an array
FEATURED_FORM = 0x20
FIRST_PLAIN = 0x80  # first byte of a tail that is a msgpack array, or above
FORMS = 0xE0  # bits of the first byte that tell the two forms of predictions whose flags are not VALUED
_WIDE_PREDICTION, _WIDE_LABEL = 1, 2  # forms that are read, and made no more
MOST_48, LEAST_48 = 2**47 - 1, -(2**47)  # what 48 bits hold; every amount of money, and times until the year 6429
# Integers of 48 bits are (low, high), see ``split_48``. A score of NaN stands for none.
LABEL_HEAD = np.dtype([("form", "u1"), ("at_low", "<u4"), ("at_high", "<i2"), ("digest", "<u8")])
PREDICTION_HEAD = np.dtype([*LABEL_HEAD.descr, ("score", "<f8"), ("amount_low", "<u4"), ("amount_high", "<i2")])

Column = npt.NDArray[Any]


class PredictionEntry(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """What a prediction leaves in the log of its request."""

    model: str
    version: str
    at: int  # epoch ms
    score: float | None
    flags: int
    label: str | None  # not BINARY: the label predicted; MAPPED: the label that counts as 1
    digest: bytes  # of the record as it came, 8 bytes: only byte-identical repeats are duplicates
    amount: int = 0
    subgroups: bytes = b""  # see ``subgroup_pairs``
    compute_cost: int = 0
    features: int = 0
    missing: int = 0
    unit: str = ""
    alert_key: str = ""
    probe: str = ""
    value: float | None = None  # VALUED: the number predicted ...
    lower: float | None = None  # ... and its interval, whose level is the score
    upper: float | None = None
    feature_names: bytes = b""  # see ``feature_packing``; empty: none are watched
    feature_values: bytes = b""


class OutcomeEntry(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """What an outcome leaves in the log of its request."""

    at: int  # known at, epoch ms
    digest: bytes
    label: int | str | None = None
    version: int | None = None
    model: str | None = None  # None: every model that answered the request
    cost: int | None = None
    action: str | None = None
    review_ms: int | None = None
    value: int | None = None
    checks: list[tuple[str, int, int]] | None = None  # name, passed, total; by name
    true_value: float | None = None

    @property
    def rank(self) -> int:
        """The version that decides which outcome is in force."""
        return self.at if self.version is None else self.version


Entry = PredictionEntry | OutcomeEntry


class Tail(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What repeats from one prediction to the next; in the order of ``PredictionEntry``, which says what each field is."""

    model: str
    version: str
    subgroups: bytes = b""
    label: str | None = None
    compute_cost: int = 0
    features: int = 0
    missing: int = 0
    unit: str = ""
    alert_key: str = ""
    probe: str = ""
    feature_names: bytes = b""


class _StoredTail(Tail, frozen=True, array_like=True, gc=False):
    """A tail as it is stored: subgroups as the array that they are, or packed once more as tails of the wide form have them."""

    subgroups: bytes | list[str] = b""  # type: ignore[assignment]


_NO_TAIL = Tail("", "")
_TAIL = Tail.__struct_fields__
_prediction_head = struct.Struct("<BIhQdIh")
_label_head = struct.Struct("<BIhQ")
_wide_prediction_head = struct.Struct("<BBqQdq")
_wide_label_head = struct.Struct("<BBqQ")
_value = struct.Struct("<3d")
_encode = msgspec.msgpack.Encoder().encode
_decode_array = msgspec.msgpack.Decoder(Entry).decode
_decode_tail = msgspec.msgpack.Decoder(_StoredTail).decode
_decode_subgroups = msgspec.msgpack.Decoder(tuple[str, ...]).decode


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of an entry.

    >>> entry = OutcomeEntry(9, b"8 bytes.", label=1)
    >>> len(encode_entry(entry)), decode_entry(encode_entry(entry)) == entry
    (15, True)
    """
    digest = int.from_bytes(entry.digest[:8].ljust(8, b"\0"), "little")
    at = _halves(entry.at)
    if not LEAST_48 <= entry.at <= MOST_48:
        return _encode(entry)
    if isinstance(entry, PredictionEntry):
        if entry.feature_values and entry.flags & VALUED:
            return _encode(entry)
        score, form = float("nan") if entry.score is None else entry.score, FEATURED_FORM if entry.feature_values else PREDICTION_FORM
        head = _prediction_head.pack(form | entry.flags, *at, digest, score, *_halves(entry.amount))
        head += framed(entry.feature_values) + encode_value(entry.value, entry.lower, entry.upper)
        return head + encode_tail(Tail(*(getattr(entry, name) for name in _TAIL)))
    if entry == OutcomeEntry(entry.at, entry.digest, entry.label) and entry.label in (0, 1):
        return _label_head.pack(LABEL_FORM | int(entry.label), *at, digest)
    return _encode(entry)


def framed(values: bytes) -> bytes:
    """Return features' values as they stand between head and tail; no bytes where there are none."""
    return len(values).to_bytes(2, "little") + values if values else b""


def tail_at(raw: bytes, head: int) -> int:
    """Return where the tail of a ``FEATURED_FORM`` begins, in bytes that hold its head up to ``head``; past the end if they are damaged."""
    return head + 2 + int.from_bytes(raw[head : head + 2], "little")


def encode_value(value: float | None, lower: float | None, upper: float | None) -> bytes:
    """Return the bytes of a predicted number and its interval, none where none is predicted; without an interval its ends are NaN."""
    return b"" if value is None else _value.pack(value, *(math.nan if end is None else end for end in (lower, upper)))


def encode_tail(tail: Tail) -> bytes:
    """Return the bytes of a tail: of one that is names alone, in short; else its fields as far as they differ from their defaults."""
    if tail == Tail(tail.model, tail.version, tail.subgroups):
        short = squeeze([tail.model, tail.version, *subgroup_texts(tail.subgroups)])
        if short is not None:
            return short
    values: list[Any] = list(msgspec.structs.astuple(tail))
    values[2] = msgspec.Raw(tail.subgroups) if tail.subgroups else b""
    n = len(values)
    while n > 2 and values[n - 1] == getattr(_NO_TAIL, _TAIL[n - 1]):
        n -= 1
    return _encode(values[:n])


def decode_entry(raw: bytes) -> Entry:
    """Return the entry that bytes stand for.

    Raises
    ------
    msgspec.MsgspecError, ValueError
        If they stand for none.

    """
    form, n = raw[0] if raw else 0, len(raw)
    if form >= OTHER_FORM:
        entry: Entry = _decode_array(raw)
        return entry
    if form & ~1 == LABEL_FORM and n == _label_head.size:
        _, *halves, digest = _label_head.unpack(raw)
        return OutcomeEntry(_whole(*halves), _digest(digest), form & 1)
    if form & 0xC0 == PREDICTION_FORM and n > _prediction_head.size:
        _, low, high, digest, score, *halves = _prediction_head.unpack_from(raw)
        numbers, end = [score, _whole(*halves)], _prediction_head.size
        if form & VALUED:
            numbers += _value.unpack_from(raw, end)
            end += _value.size
        return prediction_entry(_whole(low, high), _digest(digest), form & 0x3F, numbers, decode_tail(raw[end:]))
    if form & FORMS == FEATURED_FORM and n > _prediction_head.size:
        _, low, high, digest, score, *halves = _prediction_head.unpack_from(raw)
        end = tail_at(raw, _prediction_head.size)
        tail, values = decode_tail(raw[end:]), raw[_prediction_head.size + 2 : end]
        check_values(tail.feature_names, values)
        made = prediction_entry(_whole(low, high), _digest(digest), form & ~FORMS, [score, _whole(*halves)], tail)
        return msgspec.structs.replace(made, feature_values=values)
    if form == _WIDE_LABEL and n == _wide_label_head.size:
        _, label, at, digest = _wide_label_head.unpack(raw)
        return OutcomeEntry(at, _digest(digest), label)
    if form == _WIDE_PREDICTION and n > _wide_prediction_head.size:
        _, flags, at, digest, score, amount = _wide_prediction_head.unpack_from(raw)
        return prediction_entry(at, _digest(digest), flags, (score, amount), decode_tail(raw[_wide_prediction_head.size :]))
    raise ValueError("expected an entry of the pending table, got bytes that are none")


def _known(number: float | None) -> float | None:
    return None if number is None or math.isnan(number) else number


def decode_tail(raw: bytes) -> Tail:
    """Return the tail that bytes stand for; raises ``msgspec.MsgspecError`` or ``ValueError`` if they stand for none."""
    if raw and raw[0] < FIRST_PLAIN:
        return _names(raw)
    stored = _decode_tail(raw)
    values = msgspec.structs.asdict(stored)
    if isinstance(stored.subgroups, list):
        values["subgroups"] = _encode(stored.subgroups)
    return Tail(**values)


@lru_cache(4_096)
def _names(raw: bytes) -> Tail:
    model, version, *subgroups = stretch(raw)
    return Tail(model, version, _encode(subgroups) if subgroups else b"")


def prediction_entry(at: int, digest: bytes, flags: int, numbers: Sequence[Any], tail: Tail) -> PredictionEntry:
    """Return an entry of what its head and its tail hold.

    ``numbers`` are score and amount, then the number predicted and its interval where there is one; what is not there is NaN or None.
    """
    score, amount, *number = numbers
    rest = (tail.compute_cost, tail.features, tail.missing, tail.unit, tail.alert_key, tail.probe)
    value, lower, upper = map(_known, number or (None, None, None))
    more = (value, lower, upper, tail.feature_names)
    return PredictionEntry(tail.model, tail.version, at, _known(score), flags, tail.label, digest, amount, tail.subgroups, *rest, *more)


def split_48(heads: Column, name: str, values: Column) -> None:
    """Put integers of 48 bits into heads, shape (n,).

    >>> heads = np.zeros(2, dtype=PREDICTION_HEAD)
    >>> split_48(heads, "at", np.array([-1, 2**40 + 5]))
    >>> read_48(heads, "at").tolist()
    [-1, 1099511627781]
    """
    heads[f"{name}_low"] = values & 0xFFFFFFFF
    heads[f"{name}_high"] = values >> 32


def read_48(heads: Column, name: str) -> npt.NDArray[np.int64]:
    """Return integers of 48 bits of heads, shape (n,)."""
    values: npt.NDArray[np.int64] = heads[f"{name}_high"].astype(np.int64) << 32 | heads[f"{name}_low"]
    return values


def _halves(value: int) -> tuple[int, int]:
    return value & 0xFFFFFFFF, value >> 32


def _whole(low: int, high: int) -> int:
    return high << 32 | low


def _digest(number: int) -> bytes:
    return number.to_bytes(8, "little")


@lru_cache(256)
def subgroup_texts(blob: bytes) -> tuple[str, ...]:
    """Return an entry's subgroups as they stand in it: dimension, value, dimension, value, and so on."""
    return _decode_subgroups(blob) if blob else ()


def subgroup_pairs(blob: bytes) -> list[tuple[str, str]]:
    """Return (dimension, value) of an entry's subgroups, in the order of the dimensions' names."""
    flat = subgroup_texts(blob)
    return list(zip(flat[::2], flat[1::2], strict=True))
