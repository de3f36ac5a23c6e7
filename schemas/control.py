"""What people tell the watch: policies, acknowledgements, verdicts, decisions on baselines and retraining."""

from enum import StrEnum
from typing import Any

import msgspec

from schemas.fields import Id, Record, Timestamp
from schemas.reference import Reference, read_reference


class ControlType(StrEnum):
    """What a control record does."""

    POLICY = "policy"  # body {"toml": text}: replaces the policy, for every model; one with a fault is refused whole
    ACK = "ack"  # someone has seen the incident
    SNOOZE = "snooze"  # body {"until": timestamp}
    VERDICT = "verdict"  # body {"verdict": "true" | "false"}: was the incident real
    # body {"decision": "accept" | "reset" | "reference"}: incidents have found what is normal, or learn all anew, or, with the fields of
    # ``schemas.reference.Reference``, take what was counted in a reference set
    BASELINE = "baseline"
    RETRAIN = "retrain"  # body {"decision": "ack" | "done" | "cancel", "request_id", "reason"}: answers the model's open request


class Control(Record, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A decision of a person or of a system that acts for one.

    >>> from schemas.codec import encode
    >>> encode(Control(type=ControlType.ACK, incident_id="i-1", by="ada", at=0))
    b'{"type":"ack","by":"ada","at":0,"incident_id":"i-1"}'
    """

    type: ControlType
    by: Id  # who
    at: Timestamp
    model_id: Id | None = None  # absent: every model
    incident_id: Id | None = None
    body: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a record that does not say what it is about, or what is decided: it would change nothing, and nobody would know."""
        if self.type in _ABOUT_INCIDENTS and self.incident_id is None:
            raise ValueError("Object missing required field `incident_id`")
        if self.type == ControlType.POLICY:
            if not isinstance(self.body.get("toml"), str):
                raise ValueError("Object missing required field `toml` - at `$.body`")
            if self.model_id is not None:
                raise ValueError("Expected no `model_id`: a policy is for every model - at `$.model_id`")
        if self.type == ControlType.SNOOZE:
            try:
                msgspec.convert(self.body.get("until"), Timestamp)
            except msgspec.ValidationError as error:
                raise ValueError(f"{error} - at `$.body.until`") from None
        field, words = _DECISIONS.get(self.type, ("", ()))
        if field and self.body.get(field) not in words:
            raise ValueError(f"Invalid enum value: expected {' or '.join(words)} - at `$.body.{field}`")
        if self.type == ControlType.BASELINE and self.body["decision"] == RESET and self.incident_id is not None:
            raise ValueError("Expected no `incident_id`: a reset is of all baselines - at `$.incident_id`")
        if self.type == ControlType.BASELINE and self.body["decision"] == REFERENCE:
            if self.model_id is None:
                raise ValueError("Object missing required field `model_id`")
            read_reference(self.body)


def ship(model_id: str, reference: Reference, *, by: str, at_ms: int) -> Control:
    """Return the record that gives a model, or one version of it, the baselines of a reference set."""
    body: dict[str, Any] = msgspec.to_builtins(reference)
    return Control(type=ControlType.BASELINE, by=by, at=at_ms, model_id=model_id, body={"decision": REFERENCE} | body)


ACCEPT, RESET, REFERENCE = "accept", "reset", "reference"
_ABOUT_INCIDENTS = frozenset({ControlType.ACK, ControlType.SNOOZE, ControlType.VERDICT})
_DECISIONS: dict[ControlType, tuple[str, tuple[str, ...]]] = {
    ControlType.VERDICT: ("verdict", ("true", "false")),
    ControlType.BASELINE: ("decision", (ACCEPT, RESET, REFERENCE)),
    ControlType.RETRAIN: ("decision", ("ack", "done", "cancel")),
}
