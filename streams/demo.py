"""The demo: both workers as they run in production, on a broker in memory, fed with a made-up story whose truth is known.

Event time is compressed, some days a second; everything else is real: the Faust apps, the records, the policy on its topic. At the end the
books must balance: every record that was sent is counted once, and the watch knows as many predictions and labels as there were.
"""

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.report import Report
from streams.demo_seen import Seen
from streams.embedded import PARTITIONS, MockBroker
from streams.processes import Child, start, stop, worker_command
from streams.scenario_small import CHANGE_DAY, CHANGED, DAY_MS, DAYS, DIMENSION, MODEL, PER_DAY, POLICY, VERSION, Item, canaries, play
from streams.settings import Settings, child_environment

DAYS_PER_S = 3.0
START_S = 60.0  # workers must have begun by then
SETTLE_S = 60.0  # everything must be counted by then
WEEK_MS = 7 * DAY_MS
READ = ("scored", "drift", "fatigue", "retrain", "statistics", "dead-letters")
NEWS = ("opened", "escalated", "requested")  # what is told as it comes
APPS = ("join", "watch")

Say = Callable[[str], None]


class DemoError(Exception):
    """The demo cannot go on: a worker has ended, or nothing comes out."""


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
    turn = (start_ms + change_day * DAY_MS, f"the {CHANGED} clinic gets another camera") if change_day is not None else None
    seen, extra = perform(Piece(POLICY, items, start_ms, pace, turn, closes_ms=items[-1].at_ms + DAY_MS), say, status)
    faults = _faults(seen, items, extra, days)
    found = next((event for event in seen.events if names_group(event, start_ms + (change_day or 0) * DAY_MS)), None)
    return Told(report([seen.counted]), seen.events, found, faults, time.monotonic() - begun)


@dataclass(frozen=True)
class Piece:
    """What is played: records in the order of their time, and what is to be said of them."""

    policy: str
    items: Sequence[Item]
    start_ms: int
    pace: float  # days of event time a second
    turn: tuple[int, str] | None  # when something changes, and what
    closes_ms: int  # event time that the probes at the end come to
    model: str = MODEL
    version: str = VERSION


def perform(piece: Piece, say: Say, status: Say) -> tuple[Seen, int]:
    """Play a piece to both workers; return what came out, and how many records more than the piece's own were sent."""
    with MockBroker() as broker, tempfile.TemporaryDirectory(prefix="gnomon-demo-") as name:
        folder = Path(name)
        (folder / "policy.toml").write_text(piece.policy)
        env = broker.environment() | {
            "GNOMON_POLICY": str(folder / "policy.toml"),
            "GNOMON_DATA_DIR": str(folder / "data"),
            "GNOMON_IDLE_TIMEOUT_MS": "never",  # event time is past: no partition may follow the clock on the wall
        }
        settings = Settings.from_env(env)
        say(f"A broker in memory at {broker.bootstrap}; starting a join worker and a watch worker.")
        with _workers(folder, env) as alive, _stage(settings, say, status, alive) as stage:
            stage.seen.model = piece.model
            stage.until(lambda: stage.seen.begun, START_S, "the policy to come through the control topic")
            say("The policy is in force. Predictions and labels begin to flow.")
            stage.play(piece)
            stage.until(lambda: stage.seen.total() >= len(piece.items), SETTLE_S, "every record to be counted")
            return stage.seen, stage.close(piece)


def names_group(event: Event, since_ms: int) -> bool:
    """Whether a drift event was opened, or grew, after a time and names the changed group among those affected."""
    affected = getattr(event.data, "affected", [])
    return event.type != EventType.DRIFT_CLEARED and event.time_ms >= since_ms and {DIMENSION: CHANGED} in affected


def _sentence(event: Event) -> str:
    return str(getattr(event.data, "message", "") or getattr(event.data, "reason", ""))


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
        self._turned_ms: int | None = None  # when something changed; None: nothing has, or the group that it is about was named since

    def play(self, piece: Piece) -> None:
        """Send the records at the pace of the story, and tell what comes out meanwhile."""
        items, start_ms, turn = piece.items, piece.start_ms, piece.turn
        begun, at, step_ms = time.monotonic(), 0, max(WEEK_MS, (items[-1].at_ms - start_ms) // 10 // DAY_MS * DAY_MS)
        next_ms = start_ms + step_ms
        while at < len(items):
            now_ms = start_ms + int((time.monotonic() - begun) * piece.pace * DAY_MS)
            while at < len(items) and items[at].at_ms <= now_ms:
                self.send(items[at].topic, items[at].value)
                at += 1
            self.read()
            self._status(f"day {(now_ms - start_ms) // DAY_MS}: {at:,} records sent, {self.seen.total():,} counted")
            if turn is not None and now_ms >= turn[0]:
                self._say(f"day {(turn[0] - start_ms) // DAY_MS}: {turn[1]}. Nobody tells Gnomon.")
                self._turned_ms, turn = turn[0], None
            elif now_ms >= next_ms:
                self._say(f"day {(next_ms - start_ms) // DAY_MS}: {self._figures()}")
                next_ms += step_ms
        self.flush()

    def close(self, piece: Piece) -> int:
        """Send probes to every partition so that event time moves past the last record; return how many records that took.

        Probes are kept out of the figures of real traffic. With them the watch's last statistics hold everything before.
        """
        extra = canaries(piece.closes_ms, PARTITIONS, model=piece.model, version=piece.version)
        before = self.seen.total()
        for item, partition in extra:
            self.send(item.topic, item.value, partition)
        self.flush()
        self.until(lambda: self.seen.total() >= before + len(extra) and self._settled(), SETTLE_S, "the last statistics")
        return len(extra)

    def _settled(self) -> bool:
        whole = self.seen.statistics.get("")
        models = [model for model in report([self.seen.counted]).models if model.model_id == self.seen.model]
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
            if event is None:
                continue
            names = self._turned_ms is not None and names_group(event, self._turned_ms)
            if names:
                self._turned_ms = None
            if names or event.type.value.endswith(NEWS):
                self._say(f"{event.time[:10]} {event.type.value}: {_sentence(event)}")

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
        if whole is None:
            return "no figures have come yet"
        shown = f"{whole.n_predictions:,} predictions, {whole.n_labelled:,} labelled"
        shown += "" if whole.accuracy is None else f", error {1 - whole.accuracy:.1%}"
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
