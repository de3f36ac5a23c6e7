"""The audit trail of a watch: what was decided and what was found, as chained lines. A product of the fold, like its findings.

What was said to every model stands in a chain of its own (model ""), which is the same, byte for byte, in every scored partition: it is
made of the control records that all of them read, and of nothing else. A model's chain begins with the policy in force, and holds what was
said to the model and what happened to it. Lines of one model found on the way to a watermark stand in the order of their due times, so a
chain does not depend on how often the watermark moves.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from detectors.standing import Baseline
from schemas.audit import FIRST, AuditLine, AuditType, sha256
from schemas.codec import encode
from schemas.control import REFERENCE, Control
from schemas.fields import epoch_ms, rfc3339
from schemas.findings import Event, EventType, to_json

EVERY_MODEL = ""
WATCH = "gnomon"  # who says what the watch has found
BASELINES_A_LINE = 500
_BUILT_IN = (sha256(b""), WATCH, None)


class Written(NamedTuple):
    """A line as it goes out."""

    model_id: str
    value: bytes


class Ledger:
    """The chains of one watch.

    Examples
    --------
    >>> ledger = Ledger()
    >>> ledger.decision("fraud", Control(type="ack", by="ada", at=0, incident_id="i-1"))
    >>> [(line.model_id, msgspec.json.decode(line.value)["text"]) for line in ledger.take()]
    [('fraud', 'The built-in policy is in force.'), ('fraud', 'ada: ack, incident i-1.')]

    """

    def __init__(self) -> None:
        self.heads: dict[str, tuple[int, str]] = {}  # by model: lines so far, hash of the last
        self.in_force: tuple[str, str, int | None] = _BUILT_IN  # hash of the policy, by whom, at (epoch ms; None: never put into force)
        self._untaken: list[Written] = []

    def take(self) -> list[Written]:
        """Return the lines made since the last call, in order."""
        taken, self._untaken = self._untaken, []
        return taken

    def policy(self, control: Control, toml: str) -> None:
        """Note a policy that comes into force, for every model with a chain."""
        self.in_force = sha256(toml.encode()), control.by, epoch_ms(control.at)
        self._add(EVERY_MODEL, AuditType.POLICY, self.in_force[2], by=control.by, text=self._policy_text(), body=_record(control))
        for model_id in sorted(self.heads.keys() - {EVERY_MODEL}):
            self._policy_of(model_id, self.in_force[2])

    def refused(self, control: Control, why: str) -> None:
        """Note a policy that is refused whole, and all its faults."""
        text = f"The policy of {control.by} is refused whole: {'; '.join(why.splitlines())}."
        self._add(EVERY_MODEL, AuditType.REFUSED, epoch_ms(control.at), by=control.by, text=text, body=_record(control))

    def decision(self, model_id: str, control: Control) -> None:
        """Note what someone has decided of a model."""
        what = control.body.get("verdict", control.body.get("decision", ""))
        text = f"{control.by}: {control.type}{f' {what}' if what else ''}"
        about = f", incident {control.incident_id}" if control.incident_id else ""
        if what == REFERENCE:
            about = f" for {control.body.get('model_version') or 'every version'}, SHA-256 {str(control.body['sha256'])[:12]}"
        self._add(
            model_id,
            AuditType.DECISION,
            epoch_ms(control.at),
            by=control.by,
            text=f"{text}{about}.",
            incident_id=control.incident_id or "",
            body=_record(control),
        )

    def found(self, events: Iterable[Event], baselines: Iterable[Baseline]) -> None:
        """Note what the watch has found in one step: events but statistics, baselines, and changes seen beside them."""
        lines: list[tuple[str, int, str, int, dict[str, Any]]] = []  # model, time, version; baselines first
        for where, group in groupby(sorted(baselines, key=lambda each: each[:3]), key=lambda each: each[:3]):
            model_id, name, due_ms = where
            lines += [(model_id, due_ms, name, 0, line) for line in _baselines(list(group))]
        for event in events:
            if event.type != EventType.STATISTICS:
                lines.append((event.data.model_id, event.time_ms, getattr(event.data, "model_version", ""), 1, _finding(event)))
        for model_id, time_ms, name, _, line in sorted(lines, key=lambda each: each[:4]):
            self._add(model_id, line.pop("type"), time_ms, by=WATCH, model_version=name, **line)

    def _add(self, model_id: str, kind: AuditType, time_ms: int | None, **fields: Any) -> None:
        if model_id not in self.heads and model_id != EVERY_MODEL and kind != AuditType.POLICY:
            self._policy_of(model_id, time_ms if self.in_force[2] is None else self.in_force[2])
        number, previous = self.heads.get(model_id, (0, FIRST))
        line = AuditLine(
            model_id=model_id, number=number, previous=previous, type=kind, time=rfc3339(time_ms or 0), policy=self.in_force[0], **fields
        )
        value = encode(line)
        self.heads[model_id] = number + 1, sha256(value)
        self._untaken.append(Written(model_id, value))

    def _policy_of(self, model_id: str, time_ms: int | None) -> None:
        self._add(model_id, AuditType.POLICY, time_ms, by=self.in_force[1], text=self._policy_text())

    def _policy_text(self) -> str:
        digest, by, at = self.in_force
        return "The built-in policy is in force." if at is None else f"The policy {digest[:12]} of {by} is in force."

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values. What was not taken is lost: take it first."""
        return {"heads": [[model, *head] for model, head in self.heads.items()], "in_force": list(self.in_force)}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.heads = {model: (number, last) for model, number, last in state["heads"]}
        digest, by, at = state["in_force"]
        self.in_force = digest, by, at


def _record(control: Control) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.json.decode(encode(control))
    return record


def _finding(event: Event) -> dict[str, Any]:
    text = getattr(event.data, "message", "") or getattr(event.data, "reason", "")
    return {
        "type": AuditType.FINDING,
        "text": f"{event.type.value.removeprefix('gnomon.')}: {text}",
        "incident_id": getattr(event.data, "incident_id", ""),
        "body": msgspec.json.decode(to_json(event)),
    }


def _baselines(found: Sequence[Baseline]) -> Iterable[dict[str, Any]]:
    stand = [each for each in found if not each.seen]
    for start in range(0, len(stand), BASELINES_A_LINE):
        part = stand[start : start + BASELINES_A_LINE]
        what = part[0].text if len(part) == 1 else f"{len(part)} baselines stand, or were estimated anew"
        text = "; ".join([what, *(each.remark for each in part if each.remark)])
        yield _baseline(text, {"baselines": [each.body for each in part]})
    yield from (_baseline(each.text, {"baselines": [], each.seen: each.body}) for each in found if each.seen)


def _baseline(text: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"type": AuditType.BASELINE, "text": f"{text[0].upper()}{text[1:]}.", "body": body}
