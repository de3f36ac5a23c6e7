"""Types of fields that several records share, with their limits, and what their values mean."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

FIRST_MS = -62_135_596_800_000  # 0001-01-01T00:00:00Z
LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
INTEGRAL = 2.0**53  # up to here a float holds every integer

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Text = Annotated[str, Meta(max_length=256)]  # empty is the same as absent
Name = Annotated[str, Meta(min_length=1, max_length=256)]  # of a class, dimension, feature, check
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Money = Annotated[float, Meta(ge=-1e10, le=1e10)]  # in the deployment's money unit
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]  # what a regression model predicts, in a unit of its own
Millis = Annotated[int, Meta(ge=FIRST_MS, le=LAST_MS)]  # since 1970-01-01T00:00:00Z
Timestamp = Millis | Annotated[datetime, Meta(tz=True)]  # on the wire: epoch ms, or RFC 3339 with a zone
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Label = bool | Integer | float | Text  # a float must be integral: 1.0 is the label 1
Value = bool | Integer | float | Text | None  # of a subgroup; null is the same as absent
Feature = bool | float | Annotated[str, Meta(max_length=1024)] | None  # null: missing
Scores = Annotated[dict[Name, Probability], Meta(max_length=1000)]
Subgroups = Annotated[dict[Name, Value], Meta(max_length=32)]
Segment = Annotated[dict[Name, Text], Meta(max_length=32)]  # dimension -> value; empty: everything
Features = Annotated[dict[Name, Feature], Meta(max_length=2000)]
Checks = Annotated[dict[Name, tuple[Count, Count]], Meta(max_length=100)]  # name -> passed, total

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def epoch_ms(timestamp: int | datetime) -> int:
    """Return a timestamp as whole milliseconds since 1970-01-01T00:00:00Z, rounded down.

    Raises
    ------
    TypeError
        If a datetime has no zone; decoded records never hold one.

    Examples
    --------
    >>> epoch_ms(5), epoch_ms(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC))
    (5, -1)

    """
    if isinstance(timestamp, int):
        return timestamp
    return (timestamp - _EPOCH) // _MS


def rfc3339(ms: int) -> str:
    """Return epoch milliseconds as an RFC 3339 time in UTC; always three decimals, so that text sorts as time does.

    Times outside the years 1 to 9999, which RFC 3339 cannot write, become the nearest one that it can.

    >>> rfc3339(1_300_000_000_007), rfc3339(-1)
    ('2011-03-13T07:06:40.007Z', '1969-12-31T23:59:59.999Z')
    """
    at = _EPOCH + timedelta(milliseconds=min(max(ms, FIRST_MS), LAST_MS))
    return at.isoformat(timespec="milliseconds")[:-6] + "Z"


def label_value(label: bool | int | float | str) -> int | str:
    """Return the label that a field stands for: true is 1, 1.0 is 1; text stays text, so "1" is not 1.

    >>> label_value(True), label_value(1.0), label_value("cat")
    (1, 1, 'cat')
    """
    return label if isinstance(label, str) else int(label)


def text(value: bool | int | float | str | None) -> str:
    """Return a subgroup's value, or another scalar, as text; null is empty. Numbers that are equal give the same text.

    >>> [text(v) for v in ("a", True, 3, 3.0, 0.25, None)]
    ['a', 'true', '3', '3', '0.25', '']
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= INTEGRAL:
        return str(int(value))
    return repr(value)


def segment(subgroups: dict[str, bool | int | float | str | None] | None) -> dict[str, str]:
    """Return the subgroups that a record names, as text, dimensions in the order of their names; absent ones left out.

    >>> segment({"sex": "f", "adult": True, "site": None})
    {'adult': 'true', 'sex': 'f'}
    """
    if not subgroups:
        return {}
    named = {}
    for name in sorted(subgroups):
        value = subgroups[name]
        if type(value) is not str:
            value = text(value)
        if value:
            named[name] = value
    return named


def check_label(label: bool | int | float | str | None, field: str) -> None:
    """Refuse a label that is a fraction.

    Raises
    ------
    ValueError
        With the path of the field, but not its value.

    Examples
    --------
    >>> check_label(0.5, "true_label")
    Traceback (most recent call last):
    ValueError: Expected `bool | int | str`, got a fraction - at `$.true_label`

    """
    if type(label) is float and not (label.is_integer() and abs(label) <= INTEGRAL):
        raise ValueError(f"Expected `bool | int | str`, got a fraction - at `$.{field}`")


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Base of what comes in: unknown fields are ignored, fields at their default are not written."""
