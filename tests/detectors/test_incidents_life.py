"""Incidents: opened once, joined, escalated, updated, cleared; and the sentences people read."""

import math
from dataclasses import replace

import msgspec
import pytest

from detectors.budget import DAY_MS
from detectors.control_desk import decide_incidents
from detectors.families import families
from detectors.findings import drift_data
from detectors.incident_events import message, percent
from detectors.incidents import Incidents
from detectors.signals import Alarm, Cleared, Estimate, Key, Moved, Note
from schemas.control import Control


def alarm(family="error", *, segment=0, onset=40, due=50, age=1, rung=1, direction=1, log=0.5, **over):
    """Days for times."""
    given = {
        "key": Key(family, direction, segment, rung),
        "kind": families()[family][0].kind,
        "direction": "up" if direction > 0 else "down",
        "how": "",
        "needs_labels": families()[family][0].needs_labels,
        "age_ms": int(age * DAY_MS),
        "mature": True,
        "due_ms": due * DAY_MS,
        "onset_ms": onset * DAY_MS,
        "end_ms": int((due - age) * DAY_MS),
        "baseline": Estimate(0.05, 0.04, 0.06, 1000.0),
        "current": Estimate(0.1, 0.08, 0.12, 300.0),
        "log_evidence": log,
        "affected": (segment,) if segment else (),
    }
    return Alarm(**given | over)


def moved(of, severity, due, rose=True, value=0.15):
    return Moved(
        key=of.key,
        due_ms=due * DAY_MS,
        current=Estimate(value, value - 0.02, value + 0.02, 500.0),
        baseline=of.baseline,
        severity=severity,
        rose=rose,
    )


def cleared(of, due):
    return Cleared(key=of.key, due_ms=due * DAY_MS, current=Estimate(0.05, 0.03, 0.07, 400.0))


@pytest.fixture
def incidents():
    return Incidents("car-loan", "1")


def say(incidents, due, *signals):
    return incidents.apply(signals, due * DAY_MS)


def test_an_incident_opens_once_escalates_once_a_level_and_clears(incidents):
    first = alarm()
    (opened,) = say(incidents, 50, first)
    assert (opened.event, opened.severity, opened.scope, opened.kind) == ("opened", "minor", "all", "concept")
    assert (opened.metric, opened.direction, opened.age_s, opened.time_ms) == ("error", "up", 86_400, 50 * DAY_MS)
    assert opened.current == first.current
    assert opened.window == (40 * DAY_MS, 49 * DAY_MS)
    assert opened.evidence == pytest.approx(math.exp(0.5))
    assert (opened.threshold, opened.impact, opened.members) == (1.0, None, (first.key,))
    assert say(incidents, 51) == []
    (up,) = say(incidents, 52, moved(first, 1, 52))
    assert (up.event, up.severity, up.current.value) == ("escalated", "major", 0.15)
    (more,) = say(incidents, 54, moved(first, 1, 54, rose=False, value=0.13))
    assert (more.event, more.severity, more.current.value) == ("updated", "major", 0.13)
    (top,) = say(incidents, 55, moved(first, 2, 55))
    assert (top.event, top.severity) == ("escalated", "critical")
    (end,) = say(incidents, 60, cleared(first, 60))
    assert (end.event, end.current.value, end.severity) == ("cleared", 0.05, "critical")
    assert {event.incident_id for event in (opened, up, more, top, end)} == {opened.incident_id}
    assert incidents.open == []


def test_the_identity_of_an_incident_depends_on_its_first_alarm_only():
    def identity(version="1", **given):
        given = {"family": "error"} | given
        return Incidents("m", version).apply([alarm(given.pop("family"), **given)], 50 * DAY_MS)[0].incident_id

    assert identity() == identity(log=3.0)
    assert len(identity()) == 16
    assert len({identity(), identity(version="2"), identity(family="fnr"), identity(due=51), identity(segment=3), identity(rung=2)}) == 6


def test_monitors_whose_cohorts_touch_are_one_incident(incidents):
    say(incidents, 50, alarm(onset=40, due=50))
    say(incidents, 55, alarm("fnr", onset=55, due=57))  # within seven days of the last alarm's cohort
    assert len(incidents.open) == 1
    say(incidents, 60, alarm("alert_rate", onset=45, due=60, age=0, rung=0))  # needs no label: its own
    assert len(incidents.open) == 2


def test_when_labels_come_does_not_hide_what_they_say(incidents):
    say(incidents, 50, alarm("coverage", onset=40, due=50))
    (other,) = say(incidents, 51, alarm("fnr", onset=41, due=51))
    assert (other.event, other.kind, len(incidents.open)) == ("opened", "concept", 2)


def test_a_change_that_began_earlier_and_ended_apart_is_another_incident(incidents):
    say(incidents, 50, alarm(onset=90, due=100))
    say(incidents, 60, alarm("fnr", onset=20, due=60))
    assert len(incidents.open) == 2


def test_an_old_age_allows_a_tenth_of_it(incidents):
    say(incidents, 500, alarm(onset=100, due=500, age=380))
    say(incidents, 501, alarm("fnr", onset=60, due=460, age=380, rung=2))  # cohorts 60..80: 20 days before 100
    assert len(incidents.open) == 1


def test_an_active_monitor_with_an_earlier_onset_takes_later_alarms(incidents):
    first = alarm(onset=40, due=50)
    say(incidents, 50, first)
    say(incidents, 300, alarm("fnr", onset=290, due=300))
    assert len(incidents.open) == 1
    say(incidents, 301, cleared(first, 301), cleared(alarm("fnr"), 301))
    (opened,) = say(incidents, 400, alarm("fpr", onset=390, due=400))
    assert opened.event == "opened"


def test_groups_are_named_and_the_scope_says_whether_the_whole_is_silent(incidents):
    (opened,) = say(incidents, 50, alarm("fnr", segment=7, affected=(3, 7)))
    assert (opened.scope, opened.segment, opened.affected) == ("group", 7, (3, 7))
    assert "for group 7" in opened.message
    assert "affected: group 3, group 7" in opened.message
    (joined,) = say(incidents, 51, alarm("fnr", due=51))
    assert (joined.event, joined.scope, joined.segment, joined.affected) == ("updated", "all", 0, (3, 7))


def test_twenty_groups_that_join_are_not_twenty_messages(incidents):
    events = [event for n in range(1, 21) for event in say(incidents, 50 + n, alarm("fnr", segment=n, due=50 + n))]
    assert [event.event for event in events] == ["opened"] + ["updated"] * 4
    assert sorted(events[-1].affected) == list(range(1, 17))
    assert len(incidents.open[0].affected) == 20


def test_what_was_told_first_stands_and_each_monitor_tells_its_own_onset(incidents):
    first = alarm("fnr", segment=3, onset=40)
    (opened,) = say(incidents, 50, first)
    (joined,) = say(incidents, 51, alarm("cost", onset=37, due=51, log=4.0, per_day=10.0))
    assert (opened.onset_ms, joined.onset_ms) == (40 * DAY_MS, 40 * DAY_MS)
    assert (opened.kind, joined.kind, joined.metric) == ("concept", "concept", "cost")
    assert [(each.key.family, each.onset_ms // DAY_MS, each.kind) for each in joined.alarms] == [
        ("cost", 37, "cost"),
        ("fnr", 40, "concept"),
    ]
    assert joined.window[0] == 37 * DAY_MS
    assert "since 7 February 1970 (the incident: since 10 February 1970)" in joined.message
    assert "(the incident" not in opened.message
    data = drift_data(joined, "car-loan", "1", lambda number: {"group": str(number)} if number else {}, {})
    assert data.onset == "1970-02-10T00:00:00.000Z"
    assert [(each.metric, each.onset[:10], each.segment) for each in data.monitors] == [
        ("cost", "1970-02-07", {}),
        ("fnr", "1970-02-10", {"group": "3"}),
    ]


def test_an_unconfirmed_alarm_gives_way_to_what_the_last_rung_tells(incidents):
    (opened,) = say(incidents, 50, alarm(kind="label_delay", unconfirmed=True, why="labels come at another pace", mature=False))
    assert (opened.kind, opened.unconfirmed) == ("label_delay", True)
    assert "Labels come at another pace." in opened.message
    over, sure = say(incidents, 70, alarm(rung=2, onset=45, age=20, due=70))
    assert (over.event, over.kind, over.incident_id) == ("cleared", "label_delay", opened.incident_id)
    assert f"see incident {sure.incident_id}" in over.message
    assert (sure.event, sure.kind, sure.unconfirmed, sure.onset_ms) == ("opened", "concept", False, 45 * DAY_MS)
    assert sure.incident_id != opened.incident_id
    assert sure.age_s == 20 * 86_400
    assert len(incidents.open) == 1
    assert say(incidents, 80, cleared(alarm(rung=2, age=20), 80))[0].event == "updated"  # the younger monitor goes on with it
    (end,) = say(incidents, 81, cleared(alarm(), 81))
    assert (end.event, end.incident_id) == ("cleared", sure.incident_id)


def test_flapping_keeps_one_incident_open(incidents):
    events = []
    for at in (50, 52, 54, 56):
        one = alarm(onset=at - 2, due=at)
        events += say(incidents, at, one)
        events += say(incidents, at + 1, cleared(one, at + 1))
    assert [event.event for event in events] == ["opened", "cleared", "opened", "updated"]
    assert "comes and goes" in events[-1].message
    assert len(incidents.open) == 1
    assert say(incidents, 63) == []
    (end,) = say(incidents, 65)
    assert end.event == "cleared"


def test_a_snoozed_incident_speaks_up_when_it_is_critical_or_over(incidents):
    first = alarm()
    (opened,) = say(incidents, 50, first)
    assert incidents.snooze(opened.incident_id, until_ms=100 * DAY_MS)
    assert say(incidents, 51, moved(first, 1, 51)) == []
    assert incidents.withheld == 1
    assert [event.event for event in say(incidents, 52, moved(first, 2, 52))] == ["escalated"]
    assert [event.event for event in say(incidents, 53, cleared(first, 53))] == ["cleared"]
    assert not incidents.snooze(opened.incident_id, until_ms=0)
    assert incidents.withheld == 1  # what was said is not


def test_what_a_snooze_kept_back_is_told_of_once_when_it_is_over(incidents):
    first = alarm()
    (opened,) = say(incidents, 50, first)
    incidents.snooze(opened.incident_id, until_ms=60 * DAY_MS)
    assert say(incidents, 51, moved(first, 1, 51)) == say(incidents, 52, moved(first, 1, 52)) == say(incidents, 59) == []
    again = type(incidents).from_state(incidents.to_state(), incidents.model_id, incidents.model_version)
    for each in (incidents, again):
        (told,) = say(each, 60)
        assert (told.event, told.severity) == ("escalated", "major")
        assert say(each, 61) == []


def test_a_snooze_that_kept_nothing_back_ends_in_silence(incidents):
    (opened,) = say(incidents, 50, alarm())
    incidents.snooze(opened.incident_id, until_ms=60 * DAY_MS)
    assert [say(incidents, day) for day in (55, 60, 61)] == [[], [], []]


def test_acknowledged_judged_accepted(incidents):
    first = alarm(segment=2)
    (opened,) = say(incidents, 50, first)
    assert incidents.acknowledge(opened.incident_id, by="ada", at_ms=5)
    assert incidents.find(opened.incident_id).acknowledged == ("ada", 5)
    assert incidents.judge(opened.incident_id, true=False, by="ada", at_ms=6)
    assert not incidents.judge(opened.incident_id, true=True, by="bob", at_ms=7)
    accept = Control(type="baseline", by="ada", at=51 * DAY_MS, body={"decision": "accept"})
    events, keys = decide_incidents(incidents, accept, "group {}".format)
    assert [event.event for event in events] == ["cleared"]
    assert events[0].message == "Closed: error rate of car-loan 1 for group 2. Accepted as the new normal by ada."
    assert keys == [first.key]
    assert incidents.open == []
    assert incidents.close("nothing", "", due_ms=0) == []


def test_what_a_new_policy_does_not_watch_is_let_go(incidents):
    one, two = alarm(), alarm("fnr", due=51)
    say(incidents, 50, one)
    say(incidents, 51, two)
    assert incidents.keep({one.key, two.key}, 52 * DAY_MS) == []
    assert incidents.keep({two.key}, 52 * DAY_MS) == []
    (end,) = incidents.keep(set(), 53 * DAY_MS)
    assert (end.event, incidents.open) == ("cleared", [])
    assert "no longer watches" in end.message


def test_what_pages_nobody_makes_no_incident(incidents):
    assert (
        say(incidents, 50, Note(what="armed", key=Key("error", 1, 0, 1), due_ms=0, text=""), cleared(alarm(), 50), moved(alarm(), 2, 50))
        == []
    )


def test_saved_and_loaded_mid_life(incidents):
    one, two = alarm(affected=(3,)), alarm("alert_rate", onset=30, due=51, age=0, rung=0)
    say(incidents, 50, one)
    say(incidents, 51, two, moved(one, 1, 51))
    incidents.acknowledge(incidents.open[0].incident_id, by="ada", at_ms=5)
    say(incidents, 52, cleared(two, 52))
    wire = msgspec.msgpack.encode(incidents.to_state())
    again = Incidents.from_state(msgspec.msgpack.decode(wire), "car-loan", "1")
    assert msgspec.msgpack.encode(again.to_state()) == wire
    assert say(again, 60, cleared(one, 60)) == say(incidents, 60, cleared(one, 60)) != []
    with pytest.raises(ValueError, match="version 3, got None"):
        Incidents.from_state({}, "car-loan", "1")


def test_evidence_stays_finite(incidents):
    (event,) = say(incidents, 50, alarm(log=5_000.0))
    assert event.evidence == pytest.approx(1e300)
    assert event.log10_evidence == pytest.approx(5_000 / math.log(10))


@pytest.mark.parametrize("family", sorted(families()))
def test_every_family_has_a_sentence_a_person_can_act_on(family):
    lead = alarm(
        family, segment=4, age=0 if not families()[family][0].needs_labels else 30, how="the scores are over-confident", direction=-1
    )
    text = message("opened", "car-loan 1", lead, lead.current, (4,), naming={4: "country=DE"}.get)
    assert "country=DE" in text
    written = {"cost": "0.1000 (0.0800\u20130.1200)", "gap": "10.0 points (8.0 to 12.0)"}
    assert written.get(families()[family][0].kind, "10.0 % (8.0\u201312.0)") in text
    assert "since 10 February 1970" in text
    assert ("at age 30 days" in text) == families()[family][0].needs_labels
    assert families()[family][0].look in text
    over = message("cleared", "car-loan 1", replace(lead), Estimate(0.05, 0.03, 0.07, 9), (), naming=str)
    assert "is back" in over


@pytest.mark.parametrize(
    ("direction", "now", "told"),
    [(1, (0.0, 0.0, 0.01), "has turned"), (-1, (0.4, 0.3, 0.5), "has turned"), (1, (0.1, 0.0, 0.2), "is back")],
)
def test_what_has_swung_to_the_other_side_is_not_called_back(direction, now, told):
    lead = alarm("score", how="scores up to 0.05", direction=direction)
    assert told in message("cleared", "m 1", lead, Estimate(*now, 99), (), naming=str)


def test_rates_are_written_as_exactly_as_they_are_known():
    assert percent(Estimate(0.0123, 0.0119, 0.0127, 1e6)) == "1.23 % (1.19\u20131.27)"


def test_what_is_said_does_not_hang_on_how_groups_are_numbered():
    """Groups are numbered as they arrive; another order of arrival gives other numbers, and the same events."""

    def told(numbers):
        names = {number: name for name, number in numbers.items()} | {0: "all"}
        incidents = Incidents("m", "1")
        alarms = [alarm(family, segment=numbers[group], log=2.0) for group in ("north", "south") for family in ("error", "fpr")]
        alarms = [replace(each, affected=tuple(sorted(numbers.values()))) for each in sorted(alarms, key=lambda each: each.key.segment)]
        found = incidents.apply(alarms, 50 * DAY_MS, names.get)
        return [
            (
                event.incident_id,
                event.metric,
                names[event.segment],
                [names[each] for each in event.affected],
                event.message,
                [(each.key.family, names[each.key.segment]) for each in event.alarms],
            )
            for event in found
        ]

    one, other = told({"north": 3, "south": 4}), told({"north": 4, "south": 3})
    assert one == other
    assert len(one) == 1


def test_an_escalation_speaks_of_the_monitor_that_became_graver(incidents):
    whole, group = alarm("error"), alarm("fnr", segment=4)
    say(incidents, 50, whole)
    say(incidents, 50, group)
    (up,) = say(incidents, 52, moved(group, 2, 52))
    assert (up.event, up.severity, up.metric, up.segment, up.current.value) == ("escalated", "critical", "fnr", 4, 0.15)
    (more,) = say(incidents, 54, moved(whole, 1, 54, rose=False, value=0.13))
    assert (more.event, more.metric, more.severity) == ("updated", "error", "critical")


def test_what_has_come_back_and_further_is_not_said_to_have_risen_or_fallen_to_it():
    risen, fallen = alarm(), alarm(direction=-1, current=Estimate(0.01, 0.0, 0.02, 300.0))
    back, beyond = Estimate(0.03, 0.02, 0.04, 300.0), Estimate(0.07, 0.06, 0.08, 300.0)
    assert "rose from 5 % (4\u20136) to 7 % (6\u20138) among" in message("updated", "m 1", risen, beyond, naming=str).replace(".0", "")
    text = message("updated", "m 1", risen, back, naming=str)
    assert "rose from" in text
    assert "and is 3.0 % (2.0\u20134.0) since the alarm, among" in text
    text = message("escalated", "m 1", fallen, beyond, naming=str)
    assert "fell from" in text
    assert "and is 7.0 % (6.0\u20138.0) since the alarm, among" in text
