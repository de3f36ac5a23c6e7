"""What is said of an incident: its event, with all that its members know."""

import math

from detectors.incident import Incident, loss_per_day
from detectors.incident_events import ESCALATED, MOST_EVIDENCE, SEVERITIES, IncidentEvent, Naming, message

_LN10 = math.log(10.0)


def told_of(incident: Incident, event: str, who: str, due_ms: int, naming: Naming, *, closed: str = "") -> IncidentEvent:
    """Return an event of an incident.

    Parameters
    ----------
    incident
        As it stands now.
    event
        Which one.
    who
        The model and its version, as text for people.
    due_ms
        When it is said, epoch ms.
    naming
        Writes a segment's index as text for people.
    closed
        Why it was closed, if it was.

    """
    member = incident.gravest if event == ESCALATED else incident.lead
    lead, affected = member.alarm, tuple(sorted(incident.affected, key=naming))
    current, rates = lead.current, lead.rates
    if member.current is not None and member.current.n > 0:
        current, rates = member.current, member.rates
    whole = any(each.alarm.key.segment == 0 for each in incident.members)
    return IncidentEvent(
        event=event,
        incident_id=incident.incident_id,
        time_ms=due_ms,
        kind=incident.kind,
        scope="all" if whole else "group",
        segment=lead.key.segment,
        metric=lead.key.family,
        direction=lead.direction,
        age_s=lead.age_ms / 1000,
        severity=SEVERITIES[incident.severity],
        baseline=lead.baseline,
        current=current,
        onset_ms=incident.onset_ms,
        evidence=math.exp(min(lead.log_evidence, MOST_EVIDENCE)),
        log10_evidence=lead.log_evidence / _LN10,
        affected=affected,
        window=(incident.start_ms, incident.end_ms),
        members=tuple(each.alarm.key for each in incident.members),
        alarms=tuple(each.alarm for each in sorted(incident.members, key=lambda m: m is not member)),
        unconfirmed=incident.unconfirmed,
        why=closed or incident.why,
        impact=loss_per_day(incident),
        rates=rates,
        message=message(
            event,
            who,
            lead,
            current,
            affected,
            naming=naming,
            why=incident.why,
            closed=closed,
            figure=member.figure,
            money=loss_per_day(incident),
            began_ms=incident.onset_ms,
            rates=rates,
        ),
    )
