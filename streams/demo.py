"""The demo: both workers as they run in production, on a broker in memory, fed with a made-up story whose truth is known.

Event time is compressed, some days a second; everything else is real: the Faust apps, the records, the policy on its topic. At the end the
books must balance: every record that was sent is counted once, and the watch knows as many predictions and labels as there were.
"""

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from detectors.watch import Watch
from detectors.watch_report import report
from schemas.figures import StatisticsData
from schemas.findings import Event, EventType, from_binary
from schemas.report import Report
from schemas.scored import Forwarded, Rows, decode
from streams.embedded import PARTITIONS, MockBroker
from streams.processes import Child, start, stop, worker_command
from streams.scenario_small import CHANGE_DAY, CHANGED, DAY_MS, DAYS, DIMENSION, MODEL, PER_DAY, POLICY, Item, canaries, play
from streams.settings import Settings, child_environment

DAYS_PER_S = 3.0
START_S = 60.0  # workers must have begun by then
SETTLE_S = 60.0  # everything must be counted by then
WEEK_MS = 7 * DAY_MS
READ = ("scored", "drift", "statistics", "dead-letters")
APPS = ("join", "watch")

Say = Callable[[str], None]


class DemoError(Exception):
    """The demo cannot go on: a worker has ended, or nothing comes out."""


@dataclass
class Seen:
    """What has come out so far."""

    counted: Watch = field(default_factory=Watch)  # rows and policy, no ticks: no evidence is weighed
    begun: bool = False  # the policy has come through
    events: list[Event] = field(default_factory=list)
    statistics: dict[str, StatisticsData] = field(default_factory=dict)  # by group, "" for all; the latest
    dead_letters: int = 0

    def take(self, topic: str, headers: Any, value: bytes) -> Event | None:
        """Take in one message; return a drift event."""
        if topic == "scored":
            record = decode(value)
            self.begun |= isinstance(record, Forwarded)
            if isinstance(record, Rows | Forwarded):
                self.counted.apply(record)
        elif topic == "dead-letters":
            self.dead_letters += 1
        else:
            event = from_binary(headers, value)
            if isinstance(event.data, StatisticsData):
                if event.data.model_id == MODEL:
                    self.statistics[",".join(event.data.segment.values())] = event.data
            else:
                self.events.append(event)
                return event
        return None

    def total(self) -> int:
        """Return how many input records have been counted."""
        join = report([self.counted]).join
        return join.predictions + join.outcomes + join.duplicate + join.conflict + join.dead_letter


@dataclass
class Told:
    """How the demo ended."""

    report: Report
    events: list[Event]
    found: Event | None  # the first that names the group, after the change
    faults: list[str]  # where the books do not balance
    seconds: float


def run(say: Say, status: Say, *, days: int = DAYS, change_day: int | None = CHANGE_DAY, seed: int = 1, pace: float = DAYS_PER_S) -> Told:
    """Play the story.

    Parameters
    ----------
    say, status
        Where a line of the story goes, and the line that is replaced again and again.
    days, change_day, seed
        Of the story.
    pace
        Days of event time a second.

    Raises
    ------
    DemoError
        If a worker ends, or nothing comes out of it.

    """
    begun = time.monotonic()
    start_ms = int(time.time() * 1000) - (days + 30) * DAY_MS
    items = list(play(start_ms, seed=seed, days=days, change_day=change_day))
    with MockBroker() as broker, tempfile.TemporaryDirectory(prefix="gnomon-demo-") as name:
        folder = Path(name)
        (folder / "policy.toml").write_text(POLICY)
        env = broker.environment() | {
            "GNOMON_POLICY": str(folder / "policy.toml"),
            "GNOMON_DATA_DIR": str(folder / "data"),
            "GNOMON_IDLE_TIMEOUT_MS": "never",  # event time is past: no partition may follow the clock on the wall
        }
        settings = Settings.from_env(env)
        say(f"A broker in memory at {broker.bootstrap}; starting a join worker and a watch worker.")
        with _workers(folder, env) as alive, _stage(settings, say, status, alive) as stage:
            stage.until(lambda: stage.seen.begun, START_S, "the policy to come through the control topic")
            say("The policy is in force. Predictions and labels begin to flow.")
            stage.play(items, start_ms, pace, change_day)
            stage.until(lambda: stage.seen.total() >= len(items), SETTLE_S, "every record to be counted")
            extra = stage.close(items[-1].at_ms)
            faults = _faults(stage.seen, items, extra, days)
            found = next((event for event in stage.seen.events if names_group(event, start_ms + (change_day or 0) * DAY_MS)), None)
            return Told(report([stage.seen.counted]), stage.seen.events, found, faults, time.monotonic() - begun)


def names_group(event: Event, since_ms: int) -> bool:
    """Whether a drift event was opened, or grew, after a time and names the changed group among those affected."""
    affected = getattr(event.data, "affected", [])
    return event.type != EventType.DRIFT_CLEARED and event.time_ms >= since_ms and {DIMENSION: CHANGED} in affected


def _faults(seen: Seen, items: list[Item], extra: int, days: int) -> list[str]:
    """Return where what came out does not balance with what was sent; the truth is the story's own."""
    join = report([seen.counted]).join
    truth = Counter(item.is_a for item in items)
    whole = seen.statistics.get("")
    expected = {
        "records counted once": (len(items) + extra, seen.total()),
        "predictions": (days * PER_DAY + extra // 2, join.predictions),
        "repeats": (truth["repeat"], join.duplicate),
        "corrections": (truth["correction"], join.corrected),
        "dead letters counted": (truth["cut"], join.dead_letter),
        "dead letters kept": (truth["cut"], seen.dead_letters),
        "predictions known to the watch": (days * PER_DAY, whole.n_predictions if whole else 0),
        "labels known to the watch": (days * PER_DAY, whole.n_labelled if whole else 0),
    }
    return [f"{what}: expected {sent:,}, got {got:,}" for what, (sent, got) in expected.items() if sent != got]


class _Stage:
    """The producer and the consumer of the demo, and what has been seen."""

    def __init__(self, settings: Settings, say: Say, status: Say, alive: Callable[[], None]) -> None:
        self.seen = Seen()
        self._settings, self._say, self._status, self._alive = settings, say, status, alive
        self._logical = {settings.topic(name): name for name in READ}
        self._producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 5, "enable.idempotence": True, "log_level": 0})
        self._consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "demo", "enable.auto.commit": False, "log_level": 0})
        self._consumer.assign([TopicPartition(topic, partition, 0) for topic in self._logical for partition in range(PARTITIONS)])
        self._refused: list[str] = []

    def play(self, items: list[Item], start_ms: int, pace: float, change_day: int | None) -> None:
        """Send the records at the pace of the story, and tell what comes out meanwhile."""
        begun, at, week, changed = time.monotonic(), 0, 1, False
        while at < len(items):
            now_ms = start_ms + int((time.monotonic() - begun) * pace * DAY_MS)
            while at < len(items) and items[at].at_ms <= now_ms:
                self.send(items[at].topic, items[at].value)
                at += 1
            self.read()
            self._status(f"day {(now_ms - start_ms) // DAY_MS}: {at:,} records sent, {self.seen.total():,} counted")
            if change_day is not None and not changed and now_ms >= start_ms + change_day * DAY_MS:
                changed = True
                self._say(f"day {change_day}: the {CHANGED} clinic gets another camera. Nobody tells Gnomon.")
            elif now_ms >= start_ms + week * WEEK_MS:
                self._say(f"day {week * 7}: {self._figures()}")
                week += 1
        self.flush()

    def close(self, after_ms: int) -> int:
        """Send probes to every partition so that event time moves past the last record; return how many records that took.

        Probes are kept out of the figures of real traffic. With them the watch's last statistics hold everything before.
        """
        extra = canaries(after_ms + DAY_MS, PARTITIONS)
        before = self.seen.total()
        for item, partition in extra:
            self.send(item.topic, item.value, partition)
        self.flush()
        self.until(lambda: self.seen.total() >= before + len(extra) and self._settled(), SETTLE_S, "the last statistics")
        return len(extra)

    def _settled(self) -> bool:
        whole = self.seen.statistics.get("")
        models = [model for model in report([self.seen.counted]).models if model.model_id == MODEL]
        if whole is None or not models:
            return False
        counted = models[0].segments[0]
        return whole.n_predictions >= counted.n_predictions and whole.n_labelled >= counted.n_labelled

    def send(self, topic: str, value: bytes, partition: int | None = None) -> None:
        """Produce a record."""
        options: dict[str, Any] = {} if partition is None else {"partition": partition}
        self._producer.produce(self._settings.topic(topic), value, on_delivery=self._delivered, **options)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        if self._producer.flush(SETTLE_S) or self._refused:
            raise DemoError(f"the broker did not take everything: {'; '.join(self._refused[:3]) or 'no answer'}")

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._refused.append(str(error))

    def read(self) -> None:
        """Take in what has come out, and tell what has been found."""
        self._alive()
        for message in self._consumer.consume(1_000, 0.1):
            if message.error() is not None:
                continue  # the end of a partition, or a broker that is busy: it is asked again
            event = self.seen.take(self._logical[message.topic()], message.headers() or (), message.value() or b"")
            if event is not None and event.type in (EventType.DRIFT_OPENED, EventType.DRIFT_ESCALATED):
                self._say(f"{event.time[:10]} {event.type.value}: {getattr(event.data, 'message', '')}")

    def until(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Read on until something holds."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise DemoError(f"waited {seconds:g} s for {what}; {self.seen.total():,} records are counted")
            self._status(f"waiting for {what}")
            self.read()

    def _figures(self) -> str:
        whole, group = self.seen.statistics.get(""), self.seen.statistics.get(CHANGED)
        if whole is None or whole.accuracy is None:
            return "no label has come yet"
        shown = f"{whole.n_predictions:,} predictions, {whole.n_labelled:,} labelled, error {1 - whole.accuracy:.1%}"
        return shown + (f", of the {CHANGED} clinic {1 - group.accuracy:.1%}" if group is not None and group.accuracy is not None else "")

    def end(self) -> None:
        """Let go of the broker."""
        self._consumer.close()


@contextmanager
def _stage(settings: Settings, say: Say, status: Say, alive: Callable[[], None]) -> Iterator[_Stage]:
    stage = _Stage(settings, say, status, alive)
    try:
        yield stage
    finally:
        stage.end()


@contextmanager
def _workers(folder: Path, env: dict[str, str]) -> Iterator[Callable[[], None]]:
    """Run both workers; the function that is given raises if one has ended."""
    running: dict[str, subprocess.Popen[bytes]] = {}

    def alive() -> None:
        for name, process in running.items():
            if process.poll() is not None:
                tail = (folder / f"{name}.log").read_text(errors="replace").splitlines()[-20:]
                raise DemoError("\n".join([f"the {name} worker has ended with status {process.returncode}:", *tail]))

    try:
        for name in APPS:
            running[name] = start(Child(name, worker_command(name, "WARNING"), child_environment(env), folder / f"{name}.log"))
        yield alive
    finally:
        stop(list(running.values()), 15, 10.0)
