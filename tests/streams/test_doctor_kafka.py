"""What ``gnomon doctor`` says of topics, clocks and groups: every fault is an error or a warning, and has something to do about it."""

import time
from types import SimpleNamespace

import pytest
from confluent_kafka.admin import OffsetSpec

from streams import doctor
from streams.doctor import GROUPS, Finding, Level
from streams.guard import Facts
from streams.provision import Action, Step
from streams.readers import Record
from streams.settings import Settings
from streams.topics import SOURCES, topics

SETTINGS = Settings()
FOUND = {name: Facts(f"id-of-{name}", topic.partitions) for name, topic in topics(SETTINGS).items()}
LAST = 100  # the end of each partition


def bad(found) -> list[Finding]:
    wrong = [each for each in found if each.level != Level.OK]
    assert all(each.fix for each in wrong)
    return wrong


def steps(**actions) -> list[Step]:
    return [
        Step(name, f"gnomon.{name}", *actions.get(name.replace("-", "_"), (Action.KEEP, "")), {}, {}, {})  # as ``plan`` gives
        for name in topics(SETTINGS)
    ]


@pytest.fixture
def kafka(monkeypatch):
    """A Kafka that has everything, read to its end by one worker of each group; tests change what they are about."""
    at = {"committed": dict.fromkeys(places(), LAST), "later": None, "start": 0, "members": 1, "replicas": 3, "insync": 3, "steps": steps()}
    asked = []

    def committed(_, group):
        asked.append(group)
        now = at["later"] if at["later"] is not None and len(asked) > 1 else at["committed"]
        return {(f"gnomon.{topic}", partition): offset for (topic, partition), offset in now.items()}

    def offsets(_, __, wanted, spec):
        latest = type(spec) is type(OffsetSpec.latest())
        return dict.fromkeys(wanted, LAST if latest else at["start"])

    def partition(number):
        return SimpleNamespace(id=number, replicas=range(at["replicas"]), isrs=range(at["insync"]))

    def list_topics(timeout):
        made = {name: SimpleNamespace(partitions=dict(enumerate(map(partition, range(of.partitions))))) for name, of in FOUND.items()}
        return SimpleNamespace(topics={f"gnomon.{name}": topic for name, topic in made.items()})

    monkeypatch.setattr(doctor, "members", lambda *_: ["worker"] * at["members"])
    monkeypatch.setattr(doctor, "committed", committed)
    monkeypatch.setattr(doctor, "_offsets", offsets)
    monkeypatch.setattr(doctor, "plan", lambda *_: at["steps"])
    at["client"] = SimpleNamespace(list_topics=list_topics)
    return at


def places():
    return [(topic, partition) for group in GROUPS.values() for topic in group for partition in range(FOUND[topic].partitions)]


def of_topics(kafka, remembered=None, brokers=3):
    return bad(doctor._topics(kafka["client"], SETTINGS, FOUND, remembered or {}, brokers))


def of_group(kafka, group="watch"):
    return bad(doctor._group(kafka["client"], SETTINGS, group, FOUND, 0.0))


def test_nothing_is_wrong_with_what_is_as_it_should_be(kafka):
    assert of_topics(kafka) == []
    assert of_group(kafka) == of_group(kafka, "join") == []


@pytest.mark.parametrize(
    ("name", "step", "level", "fix"),
    [
        ("drift", (Action.CREATE, "is missing"), "error", "gnomon provision"),
        ("drift", (Action.ALTER, "retention.ms 1 -> 2"), "warning", "gnomon provision"),
        ("outcomes", (Action.GROW, "2 -> 8 partitions"), "warning", "gnomon provision"),
        ("scored", (Action.REFUSE, "has 4 partitions: set GNOMON_SCORED_PARTITIONS"), "error", "set GNOMON_SCORED_PARTITIONS"),
        ("control", (Action.REFUSE, "has 4 partitions: begin under another GNOMON_PREFIX"), "error", "begin under another"),
    ],
)
def test_a_topic_that_is_not_as_the_settings_say(kafka, name, step, level, fix):
    kafka["steps"] = steps(**{name: step})
    [found] = of_topics(kafka)
    assert (found.level, found.about) == (level, "topics")
    assert f"gnomon.{name}" in found.text
    assert found.fix.startswith(fix)


def test_a_topic_that_was_made_anew(kafka):
    [found] = of_topics(kafka, {"outcomes": '{"id": "another", "partitions": 8}'})
    assert found.level == Level.ERROR
    assert "made anew" in found.text
    assert "--accept" in found.fix


@pytest.mark.parametrize(("brokers", "fix"), [(3, "GNOMON_REPLICATION=3"), (1, "three brokers")])
def test_one_copy_only(kafka, brokers, fix):
    kafka |= {"replicas": 1, "insync": 1}
    [found] = of_topics(kafka, brokers=brokers)
    assert found.level == Level.WARNING
    assert found.fix.startswith(("set " + fix, fix))


def test_replicas_that_are_behind(kafka):
    kafka["insync"] = 2
    [found] = of_topics(kafka)
    assert (found.level, "scored[7]" in found.text) == (Level.WARNING, True)


def test_no_worker_runs_and_records_wait(kafka):
    kafka |= {"members": 0, "committed": dict.fromkeys(places(), 60)}
    runs, lag = of_group(kafka)
    assert (runs.level, runs.fix) == (Level.WARNING, "gnomon worker --watch")
    assert f"{8 * 40} records to read" in lag.text


def test_records_wait_and_are_read(kafka):
    kafka |= {"committed": dict.fromkeys(places(), 60), "later": dict.fromkeys(places(), 70)}
    assert of_group(kafka) == []


def test_records_wait_and_none_is_read(kafka):
    kafka["committed"] = dict.fromkeys(places(), LAST) | {("scored", 3): 60}
    [found] = of_group(kafka)
    assert found.level == Level.WARNING
    assert "scored[3]" in found.text
    assert "scored[2]" not in found.text


def test_a_topic_that_ends_before_what_was_read(kafka):
    kafka["committed"][("scored", 3)] = LAST + 5
    [found] = of_group(kafka)
    assert found.level == Level.ERROR
    assert "scored[3] ends at 100, but was read to 105" in found.text
    assert "--accept" in found.fix


def test_records_that_were_deleted_unread(kafka):
    kafka |= {"start": 30, "committed": dict.fromkeys(places(), LAST) | {("outcomes", 1): 10}, "later": dict.fromkeys(places(), LAST)}
    [found] = of_group(kafka, "join")
    assert found.level == Level.ERROR
    assert "20 records were deleted unread" in found.text
    assert "RETENTION" in found.fix


@pytest.mark.parametrize(("ahead_s", "wrong"), [(-90.0, 0), (90.0, 1)])
def test_a_broker_whose_clock_is_ahead(monkeypatch, ahead_s, wrong):
    at_ms = int((time.time() + ahead_s) * 1000)

    class Fake:
        def __init__(self, *_):
            """Read nothing."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            """Keep nothing."""

        def read(self, **_):
            return [Record(0, 1, at_ms, b"", [])]

    monkeypatch.setattr(doctor, "Reader", Fake)
    found = bad(doctor._append_clock(SETTINGS, {name: FOUND[name] for name in SOURCES}))
    assert len(found) == wrong
    assert all("chronyc" in each.fix for each in found)
