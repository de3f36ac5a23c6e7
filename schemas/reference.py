"""What a reference set says of a model version: the body of a ``baseline`` record that ships it.

The watch reads no file, so what a file says arrives as a record: the sums that baselines are made of, by family and segment, small enough
for a control message, and the hash of the file that they were counted from.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.drift import Count64, Finite
from schemas.fields import Id, Name, Segment

MOST_BYTES = 1 << 16  # of a reference as JSON: its smallest groups are left out


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The sums of one family in one segment, in the order that its bet has them."""

    segment: Segment  # by name; empty: all
    total: Annotated[list[Finite], Meta(max_length=1_000)]
    dispersion: Annotated[float, Meta(ge=1, le=1e9)] = 1.0  # so many events count as one


class FamilyReference(msgspec.Struct, frozen=True, kw_only=True):
    """One family: first the whole, then groups, the largest first."""

    family: Name
    segments: list[Observation]


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A reference set, counted.

    >>> errors = FamilyReference(family="error", segments=[Observation(segment={}, total=[1000.0, 80.0])])
    >>> Reference(sha256="0" * 64, predictions=1000, labelled=1000, families=[errors], model_version="1.4").model_version
    '1.4'
    """

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # of the file, or of the two files one after the other
    predictions: Count64
    labelled: Count64
    families: list[FamilyReference]
    model_version: Id | None = None  # null: every version that has none of its own
    cost: dict[str, Any] | None = None  # the matrix that costs were counted by


def read_reference(body: dict[str, Any]) -> Reference:
    """Return the reference that the body of a record carries.

    Raises
    ------
    ValueError
        If it is none; the message says where.

    """
    try:
        return msgspec.convert(body, Reference)
    except msgspec.ValidationError as error:
        text = str(error)
        raise ValueError(text.replace("`$.", "`$.body.") if "`$" in text else f"{text} - at `$.body`") from None
