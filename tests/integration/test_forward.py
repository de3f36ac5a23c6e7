"""``gnomon forward`` on a real Kafka: to a real Alertmanager and to a receiver that fails, with forwarders that are killed."""

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import missing
from support.alertmanager import Alertmanager, NoAlertmanagerError
from support.flow import provision
from support.incidents import breached, drift, fatigue, publish
from support.kafka_broker import Broker, new_broker
from support.ports import free_port
from support.prometheus_server import fetch
from support.receiver import Receiver, Reply
from support.whole import read_messages
from support.workers import Process, committed, processes, wait_for

from schemas.codec import Reason
from schemas.dead_letter import DeadLetter
from schemas.findings import from_json, to_binary
from streams.forward.forwarder import group_name
from streams.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def told() -> Iterator[Receiver]:
    """Whom Alertmanager tells."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def alertmanager(tmp_path: Path, told: Receiver) -> Iterator[Alertmanager]:
    """A real Alertmanager of this test alone."""
    try:
        server = Alertmanager(tmp_path / "alertmanager", f"{told.url}/told")
    except NoAlertmanagerError as error:
        missing(str(error))
        raise
    yield server.start()
    server.close()


class Forwarders:
    """Forwarders of one deployment, one after the other."""

    def __init__(self, settings: Settings, folder: Path, started: list[Process]) -> None:
        self.settings, self._folder, self._started = settings, folder, started

    def start(self, *arguments: str, **env: str) -> Process:
        """Start one."""
        base = {"GNOMON_KAFKA": self.settings.kafka, "GNOMON_PREFIX": self.settings.prefix, "GNOMON_SESSION_TIMEOUT_MS": "6000"}
        log = self._folder / f"log-{len(self._started)}"
        self._started.append(Process([sys.executable, "-m", "streams.cli", "forward", *arguments], {**base, **env}, log))
        return self._started[-1]

    def acknowledged(self, target: str, url: str, topic: str = "drift") -> int:
        """Return the offset of a topic's only partition before which all is acknowledged; negative: none is."""
        group = self.settings.topic(group_name(target, url))
        return committed(self.settings.kafka, group, self.settings.topic(topic), 1)[0]


@pytest.fixture
def forwarders(kafka: Broker, prefix: str, tmp_path: Path) -> Iterator[Forwarders]:
    """Topics of this test alone, and what is started on them."""
    with processes() as started:
        yield Forwarders(provision(kafka, prefix), tmp_path, started)


def notified(told: Receiver, incident: str) -> list[tuple[str, str]]:
    """What Alertmanager said of an incident: status and fingerprint, in order."""
    alerts = [alert for body in told.taken() for alert in body["alerts"]]
    return [(one["status"], one["fingerprint"]) for one in alerts if one["labels"]["incident_id"] == incident]


def active(server: Alertmanager, check: Callable[[dict[str, Any]], bool] = lambda alert: True) -> set[str]:
    return {alert["labels"]["incident_id"] for alert in server.alerts() if check(alert)}


def severity(server: Alertmanager) -> dict[str, str]:
    return {alert["labels"]["incident_id"]: alert["annotations"].get("severity", "") for alert in server.alerts()}


def test_one_fingerprint_an_incident_and_resolved_when_it_clears_though_the_forwarder_is_killed_twice(forwarders, alertmanager, told):
    settings = forwarders.settings
    command = ("alertmanager", alertmanager.url, "--resend", "2s")
    # Both incidents were there before anyone forwarded; the second stays open.
    publish(settings, drift("opened", 1), drift("opened", 1, incident="a2"), fatigue("opened", 1))
    forwarder = forwarders.start(*command)
    wait_for(lambda: severity(alertmanager) == {"a1": "minor", "a2": "minor", "f1": ""}, "all are active")
    wait_for(lambda: forwarders.acknowledged("alertmanager", alertmanager.url) == 2, "all is acknowledged")
    forwarder.kill()
    publish(settings, drift("updated", 2, metric="error"), drift("escalated", 3, severity="critical", kind="calibration"))
    forwarder = forwarders.start(*command)
    wait_for(lambda: severity(alertmanager) == {"a1": "critical", "a2": "minor", "f1": ""}, "the escalation is known")
    forwarder.kill()
    publish(settings, drift("cleared", 4, severity="critical"), drift("updated", 2, incident="a2"))
    forwarders.start(*command)
    wait_for(lambda: active(alertmanager) == {"a2", "f1"}, "the cleared one is resolved, the others are not")
    wait_for(lambda: "resolved" in dict(notified(told, "a1")), "the receiver hears that it is")
    # By now each has outlived Alertmanager's own patience many times over, and no one was told of an incident but once.
    assert [status for status, _ in notified(told, "a1")] == ["firing", "resolved"]
    assert len({fingerprint for _, fingerprint in notified(told, "a1")}) == 1
    assert [status for status, _ in notified(told, "a2")] == ["firing"]
    publish(settings, fatigue("cleared", 2))
    wait_for(lambda: active(alertmanager) == {"a2"}, "fatigue clears too")


def test_an_alertmanager_that_was_killed_learns_again_what_is_open(forwarders, alertmanager, told):
    publish(forwarders.settings, drift("opened", 1), drift("opened", 1, incident="a2", severity="major"), breached())
    publish(forwarders.settings, drift("cleared", 2))
    forwarder = forwarders.start("alertmanager", alertmanager.url, "--resend", "1s", "--label", "env=test")
    wait_for(lambda: active(alertmanager) == {"a2", "b1"}, "what is open is active")
    assert {alert["labels"]["env"] for alert in alertmanager.alerts()} == {"test"}
    assert notified(told, "a1") == []  # it was over before anyone forwarded
    alertmanager.kill()
    publish(forwarders.settings, drift("opened", 1, incident="a3"))
    wait_for(lambda: "trying again" in forwarder.text(), "it is missed")
    alertmanager.start()
    wait_for(lambda: active(alertmanager) == {"a2", "a3", "b1"}, "all are active again")
    assert forwarder.stop()[0] == 0
    # Nobody reminds it any more, and what it was told to keep for fifteen re-sends it keeps.
    time.sleep(2)
    assert active(alertmanager) == {"a2", "a3", "b1"}


def test_what_is_below_a_severity_is_left_out_until_it_is_not(forwarders, alertmanager):
    publish(forwarders.settings, drift("opened", 1), drift("opened", 1, incident="a2", severity="critical"))
    forwarders.start("alertmanager", alertmanager.url, "--min-severity", "major")
    wait_for(lambda: severity(alertmanager) == {"a2": "critical"}, "the critical one")
    publish(forwarders.settings, drift("escalated", 2, severity="major"))
    wait_for(lambda: severity(alertmanager) == {"a1": "major", "a2": "critical"}, "the one that has become major")


def test_a_receiver_that_fails_gets_every_event_in_order_from_forwarders_that_are_killed(forwarders):
    r = random.Random(5)

    def moody(_: int, body: bytes) -> Reply:
        return r.choice([*6 * [Reply()], Reply(500), Reply(0), Reply(429), Reply(wait_s=0.4)])

    with Receiver(moody) as receiver:
        command = ("webhook", receiver.url, "--timeout", "300ms", "--topic", "drift", "--from-beginning")
        events = [drift("opened", n, incident=f"i{n}") for n in range(30)]
        for part in range(3):
            publish(forwarders.settings, *events[10 * part : 10 * part + 10])
            forwarder = forwarders.start(*command)
            before = len(receiver.got)
            wait_for(lambda before=before: len(receiver.got) > before + 4, "it is at work")
            forwarder.kill()
        forwarders.start(*command)
        wait_for(lambda: forwarders.acknowledged("webhook", receiver.url) == 30, "all is acknowledged", 120)
        got = [from_json(one.body) for one in receiver.got if one.status == 200]
        assert {event.id for event in got} == {event.id for event in events}
        assert list({event.id: event for event in got}.values()) == events  # first deliveries in order
        assert all(one.headers["webhook-id"] == from_json(one.body).id for one in receiver.got)


def test_an_event_that_is_refused_becomes_a_dead_letter_and_does_not_block(forwarders):
    with Receiver(lambda _, body: Reply(422 if b'"i1"' in body else 200)) as receiver:
        publish(forwarders.settings, *(drift("opened", n, incident=f"i{n}") for n in range(3)))
        done = forwarders.start("webhook", receiver.url, "--from-beginning", "--no-follow")
        assert done.wait() == 0
        assert "2 sent, 1 put into dead letters" in done.text()
        assert [from_json(json.dumps(body).encode()).id for body in receiver.taken()] == ["i0-0", "i2-2"]
        assert forwarders.start("webhook", receiver.url, "--from-beginning", "--no-follow").wait() == 0
        assert len(receiver.got) == 3  # nothing is sent twice
    [(_, value)] = read_messages(forwarders.settings, "dead-letters")
    letter = msgspec.json.decode(value, type=DeadLetter)
    assert (letter.reason, letter.topic, letter.offset) == (Reason.REFUSED, "drift", 1)
    assert letter.detail == f"webhook at {receiver.url} answered 422"


def test_what_is_no_event_becomes_a_dead_letter(forwarders, alertmanager):
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": forwarders.settings.kafka})
    for topic in ("drift", "fatigue"):  # that of fatigue goes unread before, as nothing tells that anyone forwarded
        producer.produce(forwarders.settings.topic(topic), b"{", headers=[("ce_id", b"x")])
    assert producer.flush(20) == 0
    forwarder = forwarders.start("alertmanager", alertmanager.url, "--from-beginning")
    wait_for(lambda: len(read_messages(forwarders.settings, "dead-letters")) == 2, "both are there")
    publish(forwarders.settings, drift("opened", 1))
    wait_for(lambda: active(alertmanager) == {"a1"}, "it goes on")
    assert forwarder.process.poll() is None
    reasons = {msgspec.json.decode(value, type=DeadLetter).reason for _, value in read_messages(forwarders.settings, "dead-letters")}
    assert reasons == {Reason.MALFORMED}


def test_a_target_that_stays_away_ends_it_with_nothing_acknowledged_and_the_next_start_goes_on(forwarders):
    publish(forwarders.settings, drift("opened", 1))
    with Receiver(lambda _, body: Reply(503)) as receiver:
        command = ("webhook", receiver.url, "--from-beginning", "--give-up", "1s")
        ended = forwarders.start(*command)
        assert ended.wait() == 1
        assert "503" in ended.text()
        assert "is sent when the command is started again" in ended.text()
        assert forwarders.acknowledged("webhook", receiver.url) == 0
        receiver.reply = lambda _, body: Reply()
        assert forwarders.start(*command, "--no-follow").wait() == 0
        assert len(receiver.taken()) == 1
        assert forwarders.acknowledged("webhook", receiver.url) == 1


def test_a_webhook_begins_with_what_comes_and_passes_nothing_over_from_then_on(forwarders):
    publish(forwarders.settings, drift("opened", 1))
    with Receiver() as receiver:
        first = forwarders.start("webhook", receiver.url)
        wait_for(lambda: forwarders.acknowledged("webhook", receiver.url) == 1, "its place is kept")
        first.kill()
        publish(forwarders.settings, drift("updated", 2))
        forwarders.start("webhook", receiver.url)
        wait_for(lambda: len(receiver.got) > 0, "the second event")
        time.sleep(1)
        assert [from_json(one.body).id for one in receiver.got] == ["a1-2"]


def test_it_tells_of_itself_and_shows_no_secret(forwarders, tmp_path):
    port = free_port()
    (tmp_path / "token").write_text("hidden-token\n")
    key = "whsec_" + "aGlkZGVuLWtleS0taGlkZGVuLWtleS0taGlkZGVu"
    with Receiver(lambda number, body: Reply(500 if number == 0 else 200)) as receiver:
        env = {"GNOMON_FORWARD_TOKEN_FILE": str(tmp_path / "token"), "GNOMON_FORWARD_SIGNING_KEY": key}
        env |= {"GNOMON_FORWARD_HTTP_PORT": str(port), "GNOMON_FORWARD_URL": f"{receiver.url}/hidden-path"}
        forwarder = forwarders.start("webhook", "--from-beginning", "--loglevel", "DEBUG", **env)
        publish(forwarders.settings, drift("opened", 1))
        wait_for(lambda: 'gnomon_forward_requests_total{result="sent"} 1.0' in fetch(port, "/metrics")[1], "it is sent")
        metrics = fetch(port, "/metrics")[1]
        assert 'gnomon_forward_requests_total{result="retried"} 1.0' in metrics
        assert "gnomon_forward_target_up 1.0" in metrics
        wait_for(lambda: 'gnomon_forward_lag_records{partition="0",topic="drift"} 0.0' in fetch(port, "/metrics")[1], "no lag")
        assert [fetch(port, path)[0] for path in ("/livez", "/readyz", "/startupz")] == [200] * 3
        assert receiver.got[0].path == "/hidden-path"
        assert receiver.got[0].headers["authorization"] == "Bearer hidden-token"
        assert receiver.got[0].headers["webhook-signature"].startswith("v1,")
        assert forwarder.stop()[0] == 0
        assert "500" in forwarder.text()
        assert "hidden" not in forwarder.text() + metrics
        assert key not in forwarder.text()


def test_one_stands_by_until_the_other_is_gone(forwarders, alertmanager, told):
    command = ("alertmanager", alertmanager.url, "--resend", "1s")
    publish(forwarders.settings, drift("opened", 1), drift("opened", 1, incident="a2"))
    first = forwarders.start(*command)
    wait_for(lambda: active(alertmanager) == {"a1", "a2"}, "the first is at work")
    second = forwarders.start(*command)
    wait_for(lambda: "standing by" in first.text() + second.text(), "one stands by")
    at_work, stands_by = (second, first) if "standing by" in first.text() else (first, second)
    publish(forwarders.settings, drift("cleared", 2))
    wait_for(lambda: active(alertmanager) == {"a2"}, "the other works on")
    at_work.kill()
    publish(forwarders.settings, drift("escalated", 2, incident="a2", severity="critical"))
    wait_for(lambda: severity(alertmanager) == {"a2": "critical"}, "the one that stood by takes over")
    assert stands_by.process.poll() is None
    assert [status for status, _ in notified(told, "a2")] == ["firing"]


def test_a_partition_that_is_added_is_read_from_its_beginning(forwarders, kafka):
    from confluent_kafka import Producer
    from confluent_kafka.admin import NewPartitions

    topic = forwarders.settings.topic("drift")
    with Receiver() as receiver:
        publish(forwarders.settings, drift("opened", 1))
        assert forwarders.start("webhook", receiver.url, "--no-follow").wait() == 0
        client = kafka.admin()
        [future] = client.create_partitions([NewPartitions(topic, 2)]).values()
        future.result(30)
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        headers, value = to_binary(drift("updated", 2))
        wait_for(lambda: len(producer.list_topics(topic, timeout=10).topics[topic].partitions) == 2, "it is there")
        producer.produce(topic, value, headers=headers, partition=1)
        assert producer.flush(20) == 0
        assert forwarders.start("webhook", receiver.url, "--no-follow").wait() == 0
        assert [from_json(one.body).id for one in receiver.got] == ["a1-2"]


def test_while_kafka_is_away_what_is_open_stays_active(kafka, alertmanager, tmp_path):  # kafka: a broker can be run here
    broker = new_broker()
    with processes() as started:
        try:
            broker.start()
            forwarders = Forwarders(provision(broker, "away."), tmp_path, started)
            publish(forwarders.settings, drift("opened", 1))
            forwarder = forwarders.start("alertmanager", alertmanager.url, "--resend", "200ms")  # 3 s without it, and it is over
            wait_for(lambda: active(alertmanager) == {"a1"}, "it is active")
            broker.kill()
            time.sleep(5)
            assert active(alertmanager) == {"a1"}
            broker.start()
            publish(forwarders.settings, drift("cleared", 2))
            wait_for(lambda: active(alertmanager) == set(), "it goes on", 60)
            assert forwarder.process.poll() is None
        finally:
            broker.close()


def test_topics_that_are_not_there(kafka, prefix, tmp_path):
    with processes() as started, Receiver() as receiver:
        forwarder = Forwarders(Settings(kafka=kafka.bootstrap, prefix=prefix), tmp_path, started).start("webhook", receiver.url)
        assert forwarder.wait() == 1
        assert "gnomon provision" in forwarder.text()
