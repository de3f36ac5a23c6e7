"""What could not be read, and why: enough to find it again in the log, and its bytes only where the settings allow."""

import base64
import hashlib

import msgspec

from schemas.codec import Fault, Reason
from schemas.drift import Count64
from schemas.fields import Count, Name


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One record that was refused. ``sha256`` is of its bytes; ``payload`` is them in base64."""

    reason: Reason
    detail: str
    topic: Name
    partition: Count
    offset: Count64
    index: Count = 0  # position in the message's array
    size: Count = 0  # bytes
    sha256: str = ""
    at_ms: int = 0  # the Kafka record's timestamp
    payload: str | None = None


def dead_letter(fault: Fault, raw: bytes, *, topic: str, partition: int, offset: int, at_ms: int, keep_payload: bool = False) -> DeadLetter:
    """Return the dead letter of a fault in the record ``raw`` of the message at that offset.

    >>> letter = dead_letter(Fault(0, Reason.MALFORMED, "..."), b"{", topic="predictions", partition=0, offset=7, at_ms=5)
    >>> letter.size, letter.sha256[:8], letter.payload
    (1, '021fb596', None)
    """
    return DeadLetter(
        reason=fault.reason,
        detail=fault.detail,
        topic=topic,
        partition=partition,
        offset=offset,
        index=fault.index,
        size=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
        at_ms=at_ms,
        payload=base64.b64encode(raw).decode() if keep_payload else None,
    )
