"""What benchmarks share: a real Kafka and Redis, workers as processes, their CPU, and who measured what where."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException, Producer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.kafka_broker import Broker, new_broker  # noqa: E402  the tests' folder must be on the path first
from support.redis_server import RedisServer  # noqa: E402
from support.workers import Process, committed, processes  # noqa: E402

from streams.guard import admin  # noqa: E402
from streams.provision import apply, plan  # noqa: E402
from streams.settings import Settings  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Stage:
    """A broker, a Redis and a folder to work in."""

    kafka: Broker
    redis: RedisServer
    folder: Path

    def provision(self, prefix: str, **fields: object) -> Settings:
        """Make the topics of one run."""
        settings = Settings(kafka=self.kafka.bootstrap, redis=self.redis.url, prefix=prefix, **fields)  # type: ignore[arg-type]
        client = admin(settings)
        apply(client, settings, plan(client, settings))
        return settings

    def worker(self, app: str, settings: Settings, name: str = "", **env: str) -> Process:
        """Start a worker of an app, ``join`` or ``watch``."""
        base = {
            "GNOMON_KAFKA": settings.kafka,
            "GNOMON_REDIS": settings.redis,
            "GNOMON_PREFIX": settings.prefix,
            "GNOMON_SECRET_KEY": "benchmark",
            "GNOMON_DATA_DIR": str(self.folder / f"{settings.prefix}{app}{name}"),
            "GNOMON_IDLE_TIMEOUT_MS": "never",
        }
        command = [sys.executable, "-m", "faust", "-A", f"streams.{app}", "worker", "-l", "warn"]
        return Process(command, {**base, **env}, self.folder / f"{settings.prefix}{app}{name}.log")


@contextmanager
def stage() -> Iterator[tuple[Stage, list[Process]]]:
    """Start the services; end them, and every worker on the list, afterwards."""
    with tempfile.TemporaryDirectory() as folder, processes() as started:
        broker, redis = new_broker(), RedisServer().start()
        try:
            broker.start()
            yield Stage(broker, redis, Path(folder)), started
        finally:
            broker.close()
            redis.close()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def produce(settings: Settings, topic: str, values: list[bytes], keys: list[bytes]) -> None:
    """Fill a source topic, round robin over its partitions, so that both sides of a pair are in the same one."""
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 50, "queue.buffering.max.messages": 2_000_000})
    for i, (key, value) in enumerate(zip(keys, values, strict=True)):
        producer.produce(settings.topic(topic), value, key, partition=i % settings.source_partitions)
        if i % 10_000 == 0:
            producer.poll(0)
    if producer.flush(120):
        raise RuntimeError(f"{topic} could not be filled")


def consumed(settings: Settings, group: str, topics: dict[str, int]) -> int:
    """Return how many records of topics (name → partitions) a group has committed."""
    try:
        offsets = [committed(settings.kafka, settings.topic(group), settings.topic(topic), n) for topic, n in topics.items()]
    except KafkaException:
        return 0  # the group has no coordinator yet
    return sum(max(0, offset) for each in offsets for offset in each)


def wait(check: Callable[[], bool], process: Process, timeout_s: float = 600) -> None:
    """Wait until something holds; fail with the worker's log when it ends or time is up."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if process.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker did not get there:\n{process.text()[-2_000:]}")
        time.sleep(0.05)


def heading(command: str) -> str:
    """Return who measured: commit, machine, versions."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.strip()
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    return (
        f"`{command}` at {git or 'no commit'}, {time.strftime('%Y-%m-%d')}: {os.cpu_count()} x {model}, Python {platform.python_version()}"
    )
