"""What targets make of events, without Kafka and without HTTP."""

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.incidents import HOUR_MS, START_MS, breached, drift, fatigue, place

from detectors.findings import drift_data
from detectors.incidents import Incidents
from detectors.signals import Alarm, Cleared, Estimate, Key
from schemas.fields import rfc3339
from schemas.findings import Event, EventType, from_json
from streams.forward import targets
from streams.forward.alertmanager import LIVES, NOTICE_MS, Alertmanager
from streams.forward.target import Options, Target
from streams.forward.webhook import Webhook

NOW_MS = START_MS + 1000 * HOUR_MS
MINUTE_MS = 60_000
DAY_MS = 86_400_000


def took(target: Target, *events: Event, fresh: bool = True, now_ms: int = NOW_MS) -> list[dict[str, object]]:
    """Give a target events, tell what it wants to send, let it be taken; returns the bodies' alerts."""
    for offset, event in enumerate(events):
        target.take(event, place(offset, now_ms), fresh=fresh)
    return sent(target, now_ms)


def sent(target: Target, now_ms: int) -> list[dict[str, object]]:
    bodies = []
    for request in target.requests(now_ms):
        bodies += json.loads(request.body(now_ms))
        target.told(request, now_ms)
    return bodies


def life(incident: str = "a1") -> list[Event]:
    """All the events of an incident in which everything changes that may change."""
    return [
        drift("opened", 1, incident=incident, kind="label_delay", unconfirmed=True),
        drift("updated", 2, incident=incident, metric="error", scope="group", segment={"country": "NL"}, direction="both"),
        drift("escalated", 3, incident=incident, severity="critical", impact={"money_per_day": 12.5}, why="so"),
        drift("cleared", 4, incident=incident, severity="critical"),
    ]


def test_a_snoozed_incident_that_is_over_is_resolved_whatever_the_time_of_the_decision():
    target = Alertmanager(Options())
    opened, cleared = drift("opened", 5), drift("cleared", 2)  # closed by a person whose clock event time is ahead of
    assert took(target, opened)[0]["endsAt"] > rfc3339(NOW_MS)
    [told] = took(target, cleared)
    assert told["endsAt"] <= rfc3339(NOW_MS)
    assert target.active() == 0
    assert took(target, opened, cleared) == []  # once more, out of order or not: it is over


def test_what_a_snooze_keeps_back_is_the_news_and_not_the_end():
    """From the incident to Alertmanager: opened, snoozed, moved, and cleared while it is snoozed."""
    incidents, target = Incidents("m", "1"), Alertmanager(Options())
    first = alarm("error", due=50 * DAY_MS)
    [opened] = incidents.apply([first], 50 * DAY_MS)
    incidents.snooze(opened.incident_id, until_ms=100 * DAY_MS)
    told = [opened, *incidents.apply([alarm("fnr", due=51 * DAY_MS)], 51 * DAY_MS)]
    assert incidents.withheld == 1
    for name in ("error", "fnr"):
        told += incidents.apply([Cleared(key=first.key._replace(family=name), due_ms=60 * DAY_MS, current=first.current)], 60 * DAY_MS)
    assert [each.event for each in told] == ["opened", "cleared"]
    events = [
        Event(
            id=f"{each.incident_id}-{i}",
            type=EventType(f"gnomon.drift.{each.event}"),
            subject="m/1",
            time_ms=each.time_ms,
            data=drift_data(each, "m", "1", lambda _: {}, {}),
        )
        for i, each in enumerate(told)
    ]
    assert len(took(target, *events)) == 1
    assert target.active() == 0


def alarm(family: str, *, due: int) -> Alarm:
    """A monitor's alarm."""
    return Alarm(
        key=Key(family, 1, 0, 1),
        kind="concept",
        direction="up",
        how="",
        needs_labels=True,
        age_ms=DAY_MS,
        mature=True,
        due_ms=due,
        onset_ms=due - 10 * DAY_MS,
        end_ms=due - DAY_MS,
        baseline=Estimate(0.05, 0.04, 0.06, 1e3),
        current=Estimate(0.1, 0.08, 0.12, 300),
        log_evidence=0.5,
    )


def test_an_incident_keeps_its_labels_from_its_first_event_to_its_last():
    found = [alert for event in life() for alert in took(Alertmanager(Options()), event)]
    labels = {"alertname": "GnomonDrift", "incident_id": "a1", "model_id": "fraud", "model_version": "7"}
    assert [alert["labels"] for alert in found] == [labels] * 4
    assert found[2]["annotations"]["severity"] == "critical"
    assert found[2]["annotations"]["money_per_day"] == "12.50"
    assert found[1]["annotations"]["segment"] == "country = NL"
    assert "segment" not in found[0]["annotations"]  # what is empty is left out
    assert found[0]["annotations"]["description"] == "event 1 of a1"


def test_an_open_incident_is_sent_again_and_again_until_it_clears():
    target = Alertmanager(Options(resend_ms=MINUTE_MS))
    [first] = took(target, life()[0])
    assert first["startsAt"] == "2023-11-14T23:13:20.000Z"
    assert first["endsAt"] > "2023-12-26T"  # LIVES minutes from now
    assert sent(target, NOW_MS + MINUTE_MS - 1) == []
    [again] = sent(target, NOW_MS + MINUTE_MS)
    assert again["endsAt"] > first["endsAt"]
    assert {**again, "endsAt": ""} == {**first, "endsAt": ""}
    assert target.active() == 1
    [last] = took(target, *life()[1:], now_ms=NOW_MS + 90_000)
    assert last["endsAt"] == "2023-11-15T02:13:20.000Z"  # when it cleared
    assert last["startsAt"] == first["startsAt"]
    assert sent(target, NOW_MS + 100 * MINUTE_MS) == []
    assert target.active() == 0


def test_an_alert_that_waits_for_alertmanager_is_not_sent_as_one_that_is_over():
    target = Alertmanager(Options(resend_ms=MINUTE_MS))
    target.take(life()[0], place(0, NOW_MS), fresh=True)
    [request] = target.requests(NOW_MS)
    for waited_ms in (0, 20 * MINUTE_MS, DAY_MS):
        [alert] = json.loads(request.body(NOW_MS + waited_ms))
        assert alert["endsAt"] == rfc3339(NOW_MS + waited_ms + LIVES * MINUTE_MS)


def test_alertmanager_may_miss_reminders_before_it_takes_an_incident_for_over():
    [alert] = took(Alertmanager(Options(resend_ms=MINUTE_MS)), life()[0], now_ms=0)
    assert alert["endsAt"] == f"1970-01-01T00:{LIVES:02d}:00.000Z"
    assert alert["startsAt"] == "1970-01-01T00:00:00.000Z"  # event time may be ahead of ours; an alert begins before it ends


def test_what_was_told_before_is_not_told_again_but_what_is_open_is():
    target = Alertmanager(Options())
    history = [*life("a1"), *life("a2")[:3]]
    assert [alert["labels"]["incident_id"] for alert in took(target, *history, fresh=False)] == ["a2"]
    # This one cleared while nobody forwarded.
    [alert] = took(target, life("a2")[3])
    assert alert["endsAt"] == "2023-11-15T02:13:20.000Z"


@pytest.mark.parametrize("cut", range(1, 5))
def test_events_that_are_repeated_after_a_crash_of_the_watch_change_nothing(cut):
    target = Alertmanager(Options())
    took(target, *life()[:cut])
    # The same again from the beginning: none of them, not even the opening, may reopen or set back an alert.
    states = [took(target, event) for event in life()[:cut]]
    assert [[alert["annotations"]["event_id"] for alert in alerts] for alerts in states] == [[]] * (cut - 1) + [[f"a1-{cut}"][: cut < 4]]
    assert target.active() == (cut < 4)


def test_a_refused_alert_is_left_alone_until_there_is_news():
    target = Alertmanager(Options())
    target.take(life()[0], place(0), fresh=True)
    [request] = target.requests(NOW_MS)
    target.refused(request)
    assert target.requests(NOW_MS + 10 * MINUTE_MS) == []
    assert len(took(target, life()[1])) == 1


def test_fatigue_has_a_unit_and_clears():
    target = Alertmanager(Options())
    [opened] = took(target, fatigue("opened", 1))
    assert opened["labels"] == {"alertname": "GnomonFatigue", "incident_id": "f1", "model_id": "sepsis", "unit": "ward-3"}
    [cleared] = took(target, fatigue("cleared", 2))
    assert cleared["labels"] == opened["labels"]
    assert cleared["endsAt"] < opened["endsAt"]


def test_a_breached_budget_ends_by_itself():
    target = Alertmanager(Options(resend_ms=HOUR_MS))
    [alert] = took(target, breached())
    assert alert["labels"]["alertname"] == "GnomonBudgetBreached"
    assert len(sent(target, NOW_MS + NOTICE_MS - HOUR_MS)) == 1
    assert sent(target, NOW_MS + NOTICE_MS) == []
    assert target.active() == 0


def test_text_of_records_is_bounded_and_has_no_control_characters():
    event = drift("opened", 1, model_id="m\x1b[2J\n" + "x" * 249, message="a\x00" * 5000, affected=[{"d": "v" * 256}] * 500)
    [alert] = took(Alertmanager(Options(labels={"env": "prod\n"})), event)
    assert alert["labels"]["model_id"].startswith("m?[2J?xx")
    assert alert["labels"]["env"] == "prod?"
    texts = [*alert["labels"].values(), *alert["annotations"].values()]
    assert all(text.isprintable() and len(text) <= 2000 for text in texts)


@pytest.mark.parametrize("name", ["incident_id", "alertname", "1st", "a-b", "__x", ""])
def test_a_fixed_label_has_a_name_of_its_own(name):
    with pytest.raises(ValueError, match="label"):
        Alertmanager(Options(labels={name: "x"}))


@given(st.data())
def test_wherever_the_forwarder_is_killed_the_open_incidents_are_known_again(data):
    lives = [iter(life(name)) for name in ("a1", "a2", "a3")]
    log = []
    for _ in range(data.draw(st.integers(0, 12))):
        event = next(data.draw(st.sampled_from(lives)), None)
        if event is not None:
            log.append(event)
    acknowledged = data.draw(st.integers(0, len(log)))
    last = {event.data.incident_id: event for event in log}
    open_ones = {name for name, event in last.items() if event.type.value != "gnomon.drift.cleared"}
    told = {event.data.incident_id for event in log[acknowledged:]}  # may not have been told
    target = Alertmanager(Options())
    for offset, event in enumerate(log):
        target.take(event, place(offset), fresh=offset >= acknowledged)
    found = {alert["labels"]["incident_id"]: alert["annotations"]["event_id"] for alert in sent(target, NOW_MS)}
    assert found == {name: last[name].id for name in open_ones | told}
    assert target.active() == len(open_ones)


def test_a_webhook_is_sent_each_event_once_in_order_as_a_cloudevent():
    target = Webhook(Options())
    for offset, event in enumerate(life()):
        target.take(event, place(offset), fresh=offset > 0)
    requests = target.requests(0)
    assert [from_json(request.body(0)) for request in requests] == life()[1:]
    headers = requests[0].headers(5)
    assert headers == {"Content-Type": "application/cloudevents+json", "webhook-id": "a1-2", "webhook-timestamp": "5"}
    target.told(requests[0], 0)
    target.refused(requests[1])
    assert [from_json(request.body(0)).id for request in target.requests(0)] == ["a1-4"]


def test_a_signature_covers_id_time_and_body():
    key = os.urandom(32)
    target = Webhook(Options(signing_key="whsec_" + base64.b64encode(key).decode()))
    target.take(life()[0], place(0), fresh=True)
    [request] = target.requests(0)
    headers = request.headers(1_700_000_000)
    expected = hmac.new(key, b"a1-1.1700000000." + request.body(1_700_000_000_000), hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()
    assert request.headers(1_700_000_001)["webhook-signature"] != headers["webhook-signature"]


@pytest.mark.parametrize("key", ["secret", "whsec_", "whsec_****", "whsec_" + base64.b64encode(b"x" * 23).decode(), "MTIzNDU2Nzg5MA=="])
def test_a_key_that_is_none_is_refused_and_not_shown(key):
    with pytest.raises(ValueError, match="whsec_") as caught:
        Webhook(Options(signing_key=key))
    assert str(caught.value) == "expected a signing key: whsec_ and the base64 of 24 to 64 random bytes"
    assert "hidden" not in repr(Options(signing_key="hidden"))


@pytest.mark.parametrize("name", sorted(targets()))
def test_every_target_says_what_it_is_and_is_in_the_docs(name):
    target = targets()[name]
    assert target.doc.endswith(".")
    assert set(target.default_topics) <= set(target.topics)
    assert f"gnomon forward {name}" in Path("docs/how-to/forward-alerts.md").read_text()
