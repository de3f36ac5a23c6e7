"""Workers as processes of their own: started, told to stop, killed; and what they left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

HERE = Path(__file__).parent


def wait_for(check: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until ``check()`` holds."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)


class Process:
    """A worker process; its log is kept for the failure message."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, env={**os.environ, **env}, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> tuple[int, float]:
        """Send SIGTERM and wait; returns the exit code and the seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s), time.monotonic() - begun

    def catches(self, number: signal.Signals) -> bool:
        """Say whether it handles a signal by now: what is sent before ends it without a word."""
        caught = Path(f"/proc/{self.process.pid}/status").read_text().split("SigCgt:")[1].split()[0]
        return bool(int(caught, 16) >> number - 1 & 1)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait()

    def text(self) -> str:
        """Return what it has logged."""
        return self.log.read_text(errors="replace")


@contextmanager
def processes() -> Iterator[list[Process]]:
    """Kill whatever of the list is still alive at the end."""
    started: list[Process] = []
    try:
        yield started
    except BaseException as error:
        for process in started:
            error.add_note(f"{process.log.name}, exit code {process.process.poll()}: {process.text()[-3000:]}")
        raise
    finally:
        for process in started:
            if process.process.poll() is None:
                process.kill()


def engine_worker(
    folder: Path, kafka: str, prefix: str, topics: list[str], *, behaviour: str = "-", name: str = "0", **env: str
) -> Process:
    """Start ``engine_app.py``; it writes to ``folder/out-NAME``."""
    command = [sys.executable, str(HERE / "engine_app.py"), str(folder / f"out-{name}"), behaviour, *topics]
    env = {"GNOMON_KAFKA": kafka, "GNOMON_PREFIX": prefix, "GNOMON_DATA_DIR": str(folder / f"data-{name}"), **env}
    env.setdefault("GNOMON_SESSION_TIMEOUT_MS", "6000")
    return Process(command, env, folder / f"log-{name}")


def finished_lines(path: Path) -> list[str]:
    """Return the lines of a file that somebody may be writing: what stands after the last line's end is not there yet."""
    return path.read_text().split("\n")[:-1]


def handled(folder: Path, name: str = "*") -> list[tuple[str, int, int, str]]:
    """Return (topic, partition, offset, value) of what workers have handled, in the order of each."""
    lines = [line.split() for path in sorted(folder.glob(f"out-{name}")) for line in finished_lines(path)]
    return [(t, int(p), int(o), v) for t, p, o, v in (line for line in lines if line[0] != "checkpoint")]


def produce(bootstrap: str, topic: str, partitions: int, values: range, **config: str) -> None:
    """Produce whole numbers round robin over partitions."""
    producer = Producer({"bootstrap.servers": bootstrap, **config})
    for value in values:
        producer.produce(topic, str(value).encode(), partition=value % partitions)
        producer.poll(0)
    assert producer.flush(30) == 0


def committed(bootstrap: str, group: str, topic: str, partitions: int) -> list[int]:
    """Return a group's committed offset of each partition; negative: none."""
    consumer, deadline = Consumer({"bootstrap.servers": bootstrap, "group.id": group}), time.monotonic() + 20
    try:
        while True:
            try:
                return [tp.offset for tp in consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=20)]
            except KafkaException:  # a new broker's coordinator takes its time
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
    finally:
        consumer.close()


def read_topic(bootstrap: str, topic: str, timeout_s: float = 20.0) -> list[tuple[int, int, bytes | None]]:
    """Return (partition, offset, value) of everything committed in a topic."""
    config = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.partition.eof": True, "isolation.level": "read_committed"}
    consumer = Consumer({**config, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    found, ends, deadline = [], set(), time.monotonic() + timeout_s
    while len(ends) < len(partitions):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} was not read to its end within {timeout_s:g} s")
        for message in consumer.consume(1000, 0.5):
            if message.error() is None:
                found.append((message.partition(), message.offset(), message.value()))
            else:
                ends.add(message.partition())
    consumer.close()
    return found
