"""Many messages to records in one call: the ordinary case of ``schemas.codec``, at a fraction of its cost per record.

The messages are put one to a line and decoded together, into structs with the fields of the record's own but without its checks across
fields. What is not ordinary (a fault, an array, whitespace around, a field that we do not know) is left to ``decode_records``, one message
at a time: it says the same of a good record and tells what is wrong with a bad one.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from schemas.codec import LIMITS, Limits, decode_records

_SMALL = 8  # messages; a run of them that cannot be decoded together is taken apart down to here
_OPEN, _CLOSE = b"{}"


class Bulk(msgspec.Struct):
    """The records of many messages, in their order; the four lists have equal length.

    A record is a lean twin of its kind, whose checks across fields have not been made (``checked`` is False), or the kind itself.
    """

    records: list[Any]  # or a ``Fault``
    raws: list[bytes]
    messages: list[int]  # position of the record's message
    elements: list[int]  # its index in the message

    def extend(self, other: "Bulk") -> None:
        """Add the records of later messages."""
        self.records += other.records
        self.raws += other.raws
        self.messages += other.messages
        self.elements += other.elements


def decode_many(values: Sequence[bytes | None], kind: type[Any], limits: Limits = LIMITS, *, raw: tuple[str, ...] = ()) -> Bulk:
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

    Examples
    --------
    >>> from schemas.outcome import Outcome
    >>> from schemas.codec import Fault
    >>> good = b'{"request_id": "a", "timestamp": 0, "true_label": 1}'
    >>> bulk = decode_many([good, b"[" + good + b", 7]", None], Outcome)
    >>> bulk.messages, bulk.elements, [isinstance(record, Fault) for record in bulk.records]
    ([0, 1, 1, 2], [0, 0, 1, 0], [False, False, True, True])

    """
    bulk = Bulk([], [], [], [])
    _decode(values, 0, len(values), (kind, limits, raw), bulk)
    return bulk


def _decode(values: Sequence[bytes | None], start: int, stop: int, how: tuple[type[Any], Limits, tuple[str, ...]], into: Bulk) -> None:
    """Decode a run of messages: together where that goes, else each half on its own."""
    kind, limits, raw = how
    run = values[start:stop]
    records = _together(run, kind, limits, raw)
    if records is not None:
        into.extend(Bulk(records, list(run), list(range(start, stop)), [0] * len(run)))  # type: ignore[arg-type]  # none is None
    elif stop - start <= _SMALL or not any(value and value[0] == _OPEN for value in run):
        for position, value in enumerate(run, start):
            for element, record, part in decode_records(value, kind, limits):
                into.records.append(record)
                into.raws.append(part)
                into.messages.append(position)
                into.elements.append(element)
    else:
        middle = (start + stop) // 2
        _decode(values, start, middle, how, into)
        _decode(values, middle, stop, how, into)


def _together(values: Sequence[bytes | None], kind: type[Any], limits: Limits, raw: tuple[str, ...]) -> list[Any] | None:
    """Return one record per message, or None where a message is anything but one good object within its limits.

    JSON knows no line break in a string, and after the ``}`` of an inner object no ``{`` without a comma: so where every message begins
    with one and ends with the other, no value spans two messages, and as many values as messages means one in each.
    """
    if not values or None in values:
        return None if values else []
    sizes = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]  # none is None
    if not sizes.min() or sizes.max() > limits.max_bytes:
        return None
    lines = b"\n".join(values)  # type: ignore[arg-type]
    text = np.frombuffer(lines, np.uint8)
    ends = np.cumsum(sizes + 1) - 1
    if (text[ends - sizes] != _OPEN).any() or (text[ends - 1] != _CLOSE).any() or not _is_text(lines):
        return None
    try:
        records = _decoder(kind, raw, strict=True).decode_lines(lines)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Fields that we do not know may be nested without end, those that we know are not.
        if not _shallow(text, int(sizes.max()), limits.max_depth):
            return None
        try:
            records = _decoder(kind, raw, strict=False).decode_lines(lines)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
    return records if len(records) == len(values) else None


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


def _decoder(kind: type[Any], raw: tuple[str, ...], *, strict: bool) -> msgspec.json.Decoder[Any]:
    """Return a decoder of a record's fields without its checks across fields; a strict one refuses fields that it does not know."""
    decoder = _DECODERS.get((kind, raw, strict))
    if decoder is None:
        fields: list[tuple[str, Any, Any]] = []
        for field in msgspec.structs.fields(kind):
            if field.name in raw:
                fields.append((field.name, msgspec.Raw, msgspec.Raw()))
            else:
                fields.append((field.name, field.type, field.default))  # of one that is required: NODEFAULT
        lean = msgspec.defstruct(kind.__name__, fields, gc=False, kw_only=True, forbid_unknown_fields=strict)
        decoder = _DECODERS[kind, raw, strict] = msgspec.json.Decoder(lean)
    return decoder


_DECODERS: dict[tuple[type[Any], tuple[str, ...], bool], msgspec.json.Decoder[Any]] = {}
