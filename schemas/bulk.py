"""Many messages to records in one call: the ordinary case of ``schemas.codec``, at a fraction of its cost per record.

The messages are put one to a line and decoded together, into structs with the fields of the record's own but without its checks across
fields; where all of them hold nothing but a few usual fields, into structs of those alone. What is not ordinary (a fault, an array,
whitespace around, a field that we do not know) is left to ``decode_records``, one message at a time: it says the same of a good record and
tells what is wrong with a bad one.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.codec import LIMITS, Limits, decode_records
from schemas.text_lines import TextLines

_SMALL = 8  # messages; a run of them that cannot be decoded together is taken apart down to here
_OPEN, _CLOSE = b"{}"


class Bulk(NamedTuple):
    """The records of many messages, in their order, n of them.

    A record is a lean twin of its kind, whose checks across fields have not been made, or the kind itself. See ``held_by``.
    """

    records: list[Any]  # or a ``Fault``
    raws: Sequence[bytes]
    messages: npt.NDArray[np.int64]  # position of the record's message, shape (n,)
    elements: npt.NDArray[np.int64]  # its index in the message, shape (n,)
    kinds: frozenset[type[Any]]  # of the records


class How(NamedTuple):
    """How messages are read."""

    kind: type[Any]
    limits: Limits
    raw: tuple[str, ...]
    usual: tuple[str, ...]


def decode_many(
    values: Sequence[bytes | None], kind: type[Any], limits: Limits = LIMITS, *, raw: tuple[str, ...] = (), usual: tuple[str, ...] = ()
) -> Bulk:
    r"""Decode messages that each hold one JSON object, or an array of them.

    Parameters
    ----------
    values
        The messages.
    kind
        The record's struct.
    limits
        Of each message.
    raw
        Fields that stay JSON (``msgspec.Raw``) in lean records: whoever reads them must decode and so check them.
    usual
        Fields of the usual record, those that are required among them: where messages hold no others, those cost nothing.

    Examples
    --------
    >>> from schemas.outcome import Outcome
    >>> from schemas.codec import Fault
    >>> good = b'{"request_id": "a", "timestamp": 0, "true_label": 1}'
    >>> bulk = decode_many([good, b"[" + good + b", 7]", None], Outcome)
    >>> bulk.messages, bulk.elements, [isinstance(record, Fault) for record in bulk.records]
    (array([0, 1, 1, 2]), array([0, 0, 1, 0]), [False, False, True, True])

    """
    how = How(kind, limits, raw, usual)
    records = _together(values, how)
    if records is not None:
        kinds = frozenset(map(type, records[:1]))  # one decoder made them
        raws: Any = values if isinstance(values, TextLines) else list(values)  # none is None
        return Bulk(records, raws, np.arange(len(values)), np.zeros(len(values), dtype=np.int64), kinds)
    found: list[tuple[Any, bytes, int, int]] = []
    values = list(values)  # they are looked at again and again
    _decode(values, 0, len(values), how, found)
    places = np.array([place for _, _, *place in found], dtype=np.int64).reshape(-1, 2)
    records = [record for record, *_ in found]
    return Bulk(records, [raw for _, raw, *_ in found], places[:, 0], places[:, 1], frozenset(map(type, records)))


def held_by(kinds: Collection[type[Any]], names: Sequence[str]) -> list[str]:
    """Return which fields may hold something in some of the records; the others are at their defaults in all of them.

    >>> from schemas.outcome import Outcome
    >>> usual = ("request_id", "timestamp", "true_label")
    >>> bulk = decode_many([b'{"request_id": "a", "timestamp": 0, "true_label": 1}'], Outcome, usual=usual)
    >>> held_by(bulk.kinds, ["true_label", "cost"]), bulk.records[0].cost
    (['true_label'], None)
    """
    return [name for name in names if any(name not in getattr(kind, "LEFT_OUT", ()) for kind in kinds)]


def _decode(values: Sequence[bytes | None], start: int, stop: int, how: How, into: list[tuple[Any, bytes, int, int]]) -> None:
    """Decode a run of messages: together where that goes, else each half on its own; add (record, bytes, message, element)."""
    run = values[start:stop]
    records = _together(run, how)
    if records is not None:
        into.extend(zip(records, run, range(start, stop), [0] * len(run), strict=True))  # type: ignore[arg-type]  # none is None
    elif stop - start <= _SMALL or not any(value and value[0] == _OPEN for value in run):
        for position, value in enumerate(run, start):
            into.extend((record, part, position, element) for element, record, part in decode_records(value, how.kind, how.limits))
    else:
        middle = (start + stop) // 2
        _decode(values, start, middle, how, into)
        _decode(values, middle, stop, how, into)


def _together(values: Sequence[bytes | None], how: How) -> list[Any] | None:
    """Return one record per message, or None where a message is anything but one good object within its limits."""
    if not values:
        return []
    joined = joined_lines(values, how.limits.max_bytes)
    if joined is None or not _is_text(joined.lines):
        return None
    records = (_lines(joined.lines, how, how.usual) if how.usual else None) or _lines(joined.lines, how, ())
    # Fields that we do not know may be nested without end, those that we know are not.
    if records is None and _shallow(np.frombuffer(joined.lines, np.uint8), joined.longest, how.limits.max_depth):
        records = _lines(joined.lines, how, None)
    return records if records is not None and len(records) == len(values) else None


class Lines(NamedTuple):
    """Messages one to a line, and how many bytes the longest has."""

    lines: bytes
    longest: int


def joined_lines(values: Sequence[bytes | None], max_bytes: int) -> Lines | None:
    """Return messages one to a line, or None if one cannot be an object, or is too long.

    JSON knows no line break in a string, and after the ``}`` of an inner object no ``{`` without a comma: so where every message begins
    with one and ends with the other, no value spans two messages, and as many values as messages means one in each.
    """
    try:
        sizes = values.sizes if isinstance(values, TextLines) else np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]
    except TypeError:  # one is None
        return None
    if not sizes.min(initial=1) or sizes.max(initial=0) > max_bytes:
        return None
    lines = values.joined() if isinstance(values, TextLines) else b"\n".join(values)  # type: ignore[arg-type]
    text = np.frombuffer(lines, np.uint8)
    ends = np.cumsum(sizes + 1) - 1
    if (text[ends - sizes] != _OPEN).any() or (text[ends - 1] != _CLOSE).any():
        return None
    return Lines(lines, int(sizes.max(initial=0)))


def _lines(lines: bytes, how: How, only: tuple[str, ...] | None) -> list[Any] | None:
    try:
        return _decoder(how.kind, how.raw, only).decode_lines(lines)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shallow(text: Any, longest: int, depth: int) -> bool:
    """Tell, cheaply, that no message has more opening brackets than a record may be deep; if unsure, say no."""
    at = np.flatnonzero((text | 0x20) == ord("{"))  # "[" and "{" differ in one bit
    return len(at) <= depth or bool((at[depth:] - at[:-depth] > longest).all())


def _decoder(kind: type[Any], raw: tuple[str, ...], only: tuple[str, ...] | None) -> msgspec.json.Decoder[Any]:
    """Return a decoder of a record's fields without its checks across fields.

    It refuses any fields but ``only``, or where that is empty those that we do not know; None: it refuses none.
    """
    decoder = _DECODERS.get((kind, raw, only))
    if decoder is None:
        fields: list[tuple[str, Any, Any]] = []
        left_out: dict[str, Any] = {}
        for field in msgspec.structs.fields(kind):
            if only and field.name not in only:
                left_out[field.name] = field.default
            elif field.name in raw:
                fields.append((field.name, msgspec.Raw, msgspec.Raw()))
            else:
                fields.append((field.name, field.type, field.default))  # of one that is required: NODEFAULT
        namespace = {**left_out, "LEFT_OUT": frozenset(left_out)}
        strict = only is not None
        lean = msgspec.defstruct(kind.__name__, fields, namespace=namespace, gc=False, kw_only=True, forbid_unknown_fields=strict)
        decoder = _DECODERS[kind, raw, only] = msgspec.json.Decoder(lean)
    return decoder


_DECODERS: dict[tuple[type[Any], tuple[str, ...], tuple[str, ...] | None], msgspec.json.Decoder[Any]] = {}
