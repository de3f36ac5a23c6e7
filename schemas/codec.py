"""Bytes to records and back, within limits.

A bad record is data: it becomes a ``Fault`` that says where and why, and never raises. The ordinary message, one good object, costs one
call of msgspec and a few scans in C; everything else takes a slower path. Of a key that stands twice in an object the last one counts
(msgspec's rule; refusing would cost a second parse).
"""

import math
import re
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
WHITESPACE = b" \t\n\r"
DEEPEST = 256  # deeper than this, a message is refused whole: msgspec recurses, and the stack is finite


class Reason(StrEnum):
    """Why a record cannot be read; stable words, fit for metrics."""

    NULL_VALUE = "null_value"  # no bytes (a tombstone), or nothing but whitespace
    TOO_LARGE = "too_large"
    TOO_MANY_RECORDS = "too_many_records"
    TOO_DEEP = "too_deep"
    INVALID_UTF8 = "invalid_utf8"
    MALFORMED = "malformed"  # not JSON; NaN and Infinity are not
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    OUT_OF_RANGE = "out_of_range"  # of numbers, lengths and times
    INVALID_VALUE = "invalid_value"  # not one of the words that a field may hold
    TOO_FAR_AHEAD = "too_far_ahead"  # this and the next are found by the join
    LOG_FULL = "log_full"
    REFUSED = "refused"  # of an event: by an alert target


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one message may hold."""

    max_bytes: int = 1 << 20
    max_depth: int = 32  # of arrays and objects in a record
    max_records: int = 10_000


class Fault(msgspec.Struct, frozen=True):
    """Why element ``index`` of a message is no record. ``detail`` names the path and the types, never the values."""

    index: int
    reason: Reason
    detail: str


Decoded = list[tuple[int, T | Fault, bytes]]
LIMITS = Limits()


def decode_records(data: bytes | None, kind: type[T], limits: Limits = LIMITS) -> Decoded[T]:
    """Decode a message that holds one JSON object, or an array of them.

    Parameters
    ----------
    data
        The message. None or empty is a fault.
    kind
        The record's struct.
    limits
        Of the message.

    Returns
    -------
    list of (index, record or fault, bytes of that record)
        One per element; a fault of the whole message is a single one with index 0 and all its bytes.

    Examples
    --------
    >>> from schemas.outcome import Outcome
    >>> [(_, fault, _)] = decode_records(b'{"request_id": 7, "timestamp": 0}', Outcome)
    >>> fault.reason, fault.detail
    (<Reason.WRONG_TYPE: 'wrong_type'>, 'Expected `str`, got `int` - at `$.request_id`')

    """
    if data and len(data) <= limits.max_bytes:
        raw = data.strip(WHITESPACE)
        flat = 91 not in raw and raw.count(123) <= limits.max_depth  # "[", "{": the usual case of ``_shallow``, without a call
        if raw[:1] == b"{" and (flat or _shallow(raw, limits.max_depth)) and (raw.isascii() or _is_utf8(raw)):
            try:
                return [(0, (_DECODERS.get(kind) or _decoder(kind)).decode(raw), raw)]
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass  # what is wrong with it is told on the slow path
    return _decode_message(data, kind, limits)


def encode(record: msgspec.Struct) -> bytes:
    """Encode a record as JSON, held against its own limits: what cannot be read back is not written.

    Raises
    ------
    msgspec.ValidationError
        If a field is outside its limits, or a number is NaN or infinite.

    Examples
    --------
    >>> from schemas.outcome import Outcome
    >>> encode(Outcome(request_id="a2", timestamp=0, cost=float("nan")))
    Traceback (most recent call last):
    msgspec.ValidationError: Expected a finite `float`, got `nan` - at `$.cost`

    """
    data = _ENCODER.encode(record)
    if b"null" in data and _MAYBE_INFINITE.search(msgspec.msgpack.encode(record)):
        _refuse_infinite(msgspec.to_builtins(record), "$")
    try:
        _decoder(type(record)).decode(data)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(_without_values(str(error))) from None
    return data


def reason_of(detail: str) -> Reason:
    """Return the reason that a detail of msgspec stands for.

    >>> reason_of("Expected `float` <= 1.0 - at `$.score`").value
    'out_of_range'
    """
    for pattern, reason in _REASONS:
        if pattern.search(detail):
            return reason
    return Reason.WRONG_TYPE


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}
_ENCODER = msgspec.json.Encoder()
_MAYBE_INFINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]", re.DOTALL)  # in msgpack; a text may look alike
_REASONS = (
    (re.compile("missing required field"), Reason.MISSING_FIELD),
    (re.compile("Invalid enum value"), Reason.INVALID_VALUE),
    (
        re.compile("of length|` [<>]|out of range|passed <= total|lower <= upper|timezone component|Invalid RFC3339|fraction"),
        Reason.OUT_OF_RANGE,
    ),
)
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)  # possessive: linear in any input
_VALUE = re.compile(r"(Invalid enum value) '.*'(?= - at|$)", re.DOTALL)


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return decoder


def _shallow(data: bytes, depth: int) -> bool:
    """Tell, cheaply, that no value is nested deeper; if unsure, measure."""
    if 91 not in data:  # "["
        return data.count(123) <= depth or _depth(data) <= depth  # "{"
    return data.count(123) + data.count(91) <= depth or _depth(data) <= depth


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for match in _TOKEN.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_message(data: bytes | None, kind: type[T], limits: Limits) -> Decoded[T]:
    elements = _split(data, limits)
    if isinstance(elements, Fault):
        return [(0, elements, data or b"")]
    records = [(index, _decode_element(index, raw, kind, limits), raw) for index, raw in enumerate(elements)]
    if any(isinstance(record, Fault) and record.reason is Reason.TOO_DEEP and _depth(raw) > DEEPEST for _, record, raw in records):
        return [(0, _too_deep(0, limits), data or b"")]
    return records


def _split(data: bytes | None, limits: Limits) -> list[bytes] | Fault:
    """Return the bytes of each record of a message, or the fault of the whole message."""
    if (fault := _refusal(data, limits)) is not None:
        return fault
    data = (data or b"").strip(WHITESPACE)
    try:
        if data[:1] != b"[":
            return [bytes(msgspec.json.decode(data, type=msgspec.Raw))]
        elements = msgspec.json.decode(data, type=list[msgspec.Raw])
    except msgspec.DecodeError as error:  # where the stack ends must not decide what is wrong: measure
        return _too_deep(0, limits) if _depth(data) > DEEPEST else Fault(0, Reason.MALFORMED, str(error))
    except RecursionError:
        return _too_deep(0, limits)
    if len(elements) > limits.max_records:
        return Fault(0, Reason.TOO_MANY_RECORDS, f"Expected at most {limits.max_records} records, got {len(elements)}")
    return [bytes(element) for element in elements]


def _refusal(data: bytes | None, limits: Limits) -> Fault | None:
    if data and len(data) > limits.max_bytes:
        return Fault(0, Reason.TOO_LARGE, f"Expected at most {limits.max_bytes} bytes, got {len(data)}")
    if not data or not data.strip(WHITESPACE):
        return Fault(0, Reason.NULL_VALUE, "Expected a JSON object or an array of them, got nothing")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return Fault(0, Reason.INVALID_UTF8, f"Expected UTF-8, got an invalid byte at {error.start}")
    return None


def _decode_element(index: int, raw: bytes, kind: type[T], limits: Limits) -> T | Fault:
    if not _shallow(raw, limits.max_depth):
        return _too_deep(index, limits)
    try:
        return _decoder(kind).decode(raw)
    except msgspec.ValidationError as error:
        detail = str(error)
    except msgspec.DecodeError as error:
        return Fault(index, Reason.MALFORMED, str(error))
    if raw[:1] == b"{" and b"null" in raw:  # a null is the same as absent, where the type has a default other than null too
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        given = {name: value for name, value in fields.items() if bytes(value) != b"null"}
        try:
            return _decoder(kind).decode(msgspec.json.encode(given))
        except msgspec.ValidationError as error:
            detail = str(error)
    return Fault(index, reason_of(detail), _without_values(detail))


def _too_deep(index: int, limits: Limits) -> Fault:
    return Fault(index, Reason.TOO_DEEP, f"Expected at most {limits.max_depth} nested arrays and objects")


def _without_values(detail: str) -> str:
    return _VALUE.sub(r"\1", detail)


def _refuse_infinite(value: Any, path: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise msgspec.ValidationError(f"Expected a finite `float`, got `{value}` - at `{path}`")
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_infinite(item, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _refuse_infinite(item, f"{path}[{position}]")
