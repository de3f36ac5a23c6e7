"""What people decide, applied to the fold: policies, acknowledgements, verdicts, new baselines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from detectors.findings import drift_event
from detectors.incident_events import IncidentEvent, Naming
from detectors.incidents import Incidents
from detectors.ledger import EVERY_MODEL
from detectors.model_companions import COMPANIONS
from detectors.policy_record import read_policy
from detectors.signals import Key
from schemas.control import REFERENCE, RESET, Control, ControlType
from schemas.fields import Timestamp, epoch_ms
from schemas.findings import Event
from schemas.policy import PolicyError
from schemas.reference import read_reference

if TYPE_CHECKING:
    from detectors.model_version import ModelVersion
    from detectors.watch import Watch


def decide(watch: Watch, control: Control) -> list[Event]:
    """Apply one control record to the watch; return the events that it causes.

    A policy that can't be read changes nothing: it is refused whole. A record about an incident that is not open changes nothing.
    """
    if control.type == ControlType.POLICY:
        try:
            policy = read_policy(control)
        except PolicyError as error:
            watch.ledger.refused(control, str(error))
            return []
        watch.ledger.policy(control, policy.toml)
        return watch.use(policy)
    watch.ledger.decision(control.model_id or EVERY_MODEL, control)
    if control.type == ControlType.BASELINE and control.body["decision"] == REFERENCE:
        watch.ship(control.model_id or "", read_reference(control.body), epoch_ms(control.at))
        return []
    if is_reset(control):
        watch.forget_references(control.model_id)
    found: list[Event] = []
    for model_id in sorted(watch.models):
        if control.model_id is None and _concerns(watch.models[model_id].values(), control):
            watch.ledger.decision(model_id, control)
        if control.model_id is None or control.model_id == model_id:
            begin = len(found)
            for _, version in sorted(watch.models[model_id].items()):
                events, keys = decide_incidents(version.incidents, control, version.segment_text)
                if control.type == ControlType.BASELINE and control.incident_id is None:
                    keys += sorted(version.bank.outlived())  # their incidents are closed, but what they said stands
                version.bank.relearn(keys)
                if is_reset(control):
                    version.bank.reset()
                found += [drift_event(version, event) for event in events]
                watch.changed.add((model_id, version.name))
            found += watch.companions[model_id].decide(control)
            found += watch.companions[model_id].heed(found[begin:])
            watch.changed.add((model_id, COMPANIONS))
    return found


def _concerns(versions: Iterable[ModelVersion], control: Control) -> bool:
    """Say whether a decision that was sent to every model is about one of these versions."""
    return control.incident_id is None or any(version.incidents.find(control.incident_id) for version in versions)


def decide_incidents(incidents: Incidents, control: Control, naming: Naming) -> tuple[list[IncidentEvent], list[Key]]:
    """Apply what people decided to open incidents; return what that causes, and the monitors that must learn a new baseline."""
    incident_id, at_ms = control.incident_id, epoch_ms(control.at)
    if control.type == ControlType.BASELINE:
        reset = is_reset(control)
        why = f"all baselines were reset by {control.by}" if reset else f"accepted as the new normal by {control.by}"
        found: list[IncidentEvent] = []
        relearn: list[Key] = []
        for incident in list(incidents.open):
            if incident_id in (None, incident.incident_id):
                relearn += [member.alarm.key for member in incident.members]
                found += incidents.close(incident.incident_id, why, due_ms=at_ms, naming=naming)
        return found, relearn
    if incident_id is None:
        return [], []
    if control.type == ControlType.ACK:
        incidents.acknowledge(incident_id, by=control.by, at_ms=at_ms)
    elif control.type == ControlType.SNOOZE:
        incidents.snooze(incident_id, until_ms=epoch_ms(msgspec.convert(control.body["until"], Timestamp)))
    elif control.type == ControlType.VERDICT:
        incidents.judge(incident_id, true=control.body["verdict"] == "true", by=control.by, at_ms=at_ms)
    return [], []


def is_reset(control: Control) -> bool:
    """Say whether every monitor is to learn its baseline anew, not only those of open incidents."""
    return control.type == ControlType.BASELINE and control.body["decision"] == RESET
