"""The audit trail: what was decided of a model, by whom, and what was found, as lines that are chained by their hashes.

A line holds the SHA-256 of the one before it in its chain, so that one that was removed or changed is noticed by the next. There is a chain
per model, and one of what was said to every model, whose ``model_id`` is empty.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from schemas.drift import Count64, Time
from schemas.fields import Id, Text

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
FIRST = "0" * 64  # what stands for the line before the first


class AuditType(StrEnum):
    """What a line tells."""

    POLICY = "policy"  # a policy is in force; its text is in the chain of what was said to every model
    REFUSED = "refused"  # a policy with a fault: nothing has changed
    BASELINE = "baseline"  # baselines stand, or were estimated anew; or a change was seen that pages nobody
    FINDING = "finding"  # an event: an alarm, what became of it, a request to retrain
    DECISION = "decision"  # an acknowledgement, a snooze, a verdict, a decision on a baseline or on retraining


class AuditLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit trail, in the topic ``audit``, which is kept for ever.

    >>> line = AuditLine(model_id="fraud", number=0, previous=FIRST, type=AuditType.DECISION, time="2026-01-02T03:04:05.000Z", by="ada",
    ...     policy=sha256(b""), text="ada: verdict")
    >>> msgspec.json.decode(msgspec.json.encode(line), type=AuditLine) == line
    True
    """

    model_id: Text  # empty: said to every model
    number: Count64  # in the chain of the model, from 0
    previous: Digest  # SHA-256 of the line before it in its chain, byte for byte; of the first: zeros
    type: AuditType
    time: Time  # of a decision: as it says; else the event time at which it was found
    by: Id  # who decided; gnomon: found by the watch
    policy: Digest  # SHA-256 of the text of the policy in force
    text: str  # a sentence for people
    model_version: Text = ""
    incident_id: Text = ""
    body: dict[str, Any] = msgspec.field(default_factory=dict)  # the control record, the event or the baselines, whole


def sha256(data: bytes) -> str:
    """Return the hash of a line, or of the text of a policy, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
