"""What probes are told of a worker: unready in bad weather, unlive only where a restart helps."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import faust
import pytest
import redis.exceptions
from confluent_kafka import KafkaError, KafkaException

from streams import vitals
from streams.batches import Position
from streams.engine import new_app
from streams.errors import StoreUnavailable
from streams.guard import RefusedError
from streams.join_metrics import JoinMetrics
from streams.settings import Settings
from streams.vitals import Vitals

TP = ("gnomon.predictions", 0)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


class Consumer:
    """Reads one partition, or has stopped to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lag = 0
        self.offset = 5
        self.hangs = False

    async def positions(self) -> tuple[int, dict[Any, Position]]:
        if self.hangs:
            await asyncio.sleep(60)
        return 0, {TP: Position(self.offset, self.offset + self.lag, int(self.clock.now * 1000))}

    async def read_to_end(self) -> dict[Any, Position]:
        return {} if self.lag else (await self.positions())[1]

    def committed(self) -> dict[Any, int | None]:
        return {TP: self.offset}


class App:
    """What the vitals know of Faust's app."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.rebalancing = self.should_stop = False
        self.rebalancing_count = 1
        self.served: list[Any] = []

    def beside(self, *functions: Any) -> None:
        self.served.append(functions)


class Redis:
    """A server whose settings are good, or are not."""

    def __init__(self) -> None:
        self.policy = "noeviction"
        self.error: Exception | None = None
        self.asked = 0
        self.wait = asyncio.Event()
        self.wait.set()

    async def info(self, *_: str) -> dict[str, object]:
        self.asked += 1
        await self.wait.wait()
        if self.error:
            raise self.error
        return {"maxmemory_policy": self.policy, "redis_version": "7.0.1", "aof_enabled": 1, "used_memory": 77, "maxmemory": 100}

    async def time(self) -> tuple[int, int]:
        return 1003, 500_000  # the clock of a test begins at 1000

    async def config_get(self, name: str) -> dict[str, str]:
        return {name: "always"}


class Cluster(Redis):
    """Three nodes; the second is the fullest, and its clock is right."""

    state = "ok"
    down: frozenset[int] = frozenset()

    async def initialize(self) -> None:
        """It knows its nodes."""

    def get_primaries(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=f"host-{n}:6379", n=n, execute_command=partial(self.command, n)) for n in range(3)]

    async def command(self, n: int, *_: str) -> None:
        if n in self.down:
            raise redis.exceptions.ConnectionError("secret")

    async def info(self, *_: str, target_nodes: SimpleNamespace) -> dict[str, object]:
        await self.command(target_nodes.n)
        return await super().info() | {"used_memory": (50, 90, 80)[target_nodes.n]}

    async def time(self, target_nodes: SimpleNamespace) -> tuple[int, int]:
        return (1001, 1000, 998)[target_nodes.n], 0

    async def config_get(self, name: str, target_nodes: SimpleNamespace) -> dict[str, str]:
        return {name: "always"}

    async def cluster_info(self, target_nodes: SimpleNamespace) -> dict[str, str]:
        return {"cluster_state": self.state, "cluster_slots_ok": "16384" if self.state == "ok" else "10922"}


class Guard:
    """Finds the topics in order, or raises."""

    error: Exception | None = None

    async def check(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        return {}


class Worker:
    """One worker's vitals with everything around them made up."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.consumer, self.redis, self.guard = clock, Consumer(clock), Redis(), Guard()
        self.app: Any = App(self.consumer)
        self.metrics = JoinMetrics(Settings())
        self.vitals = Vitals(self.app, Settings(stall_timeout_ms=60_000), self.metrics, 0)
        self.vitals.uses(self.redis)
        self.vitals.loaded()

    async def after(self, seconds: float) -> None:
        """Let time pass, with a sample every ten seconds."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now += 10
            await self.vitals._sample()

    async def live(self) -> list[str]:
        return (await self.vitals.live()).reasons

    async def ready(self) -> list[str]:
        self.clock.now += 1.5  # what Redis said before is out of date
        return (await self.vitals.ready()).reasons


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    clock = Clock()
    monkeypatch.setattr(vitals, "time", clock)
    monkeypatch.setattr("streams.redis_check.time", clock)
    monkeypatch.setattr("streams.metrics.time", clock)
    monkeypatch.setattr("streams.metered.time.perf_counter", clock.monotonic)
    return Worker(clock)


async def test_an_idle_worker_is_live_and_ready(worker: Worker) -> None:
    await worker.after(600)
    assert await worker.live() == []
    assert await worker.ready() == []
    assert (await worker.vitals.started()).reasons == []
    assert (await worker.vitals.ready()).facts == {"assigned": 1, "role": "active"}


async def test_lag_without_a_commit_is_not_live(worker: Worker) -> None:
    await worker.after(10)
    worker.consumer.lag = 7
    await worker.after(60)
    assert await worker.live() == []
    await worker.after(10)
    assert await worker.live() == ["gnomon.predictions[0]: nothing committed for more than 60 s, while Kafka and Redis answer"]
    assert 'gnomon_consumer_lag_records{partition="0",topic="predictions"} 7.0' in worker.metrics.text().decode()
    worker.consumer.offset += 1
    await worker.after(10)
    assert await worker.live() == []


@pytest.mark.parametrize("dep", ["kafka", "redis"])
async def test_a_dependency_that_is_away_is_no_reason_for_a_restart(worker: Worker, dep: str) -> None:
    await worker.after(10)
    worker.consumer.lag = 7
    worker.guard.error = StoreUnavailable("x") if dep == "redis" else KafkaException(KafkaError(KafkaError._TRANSPORT))
    with pytest.raises(type(worker.guard.error)):
        await worker.vitals.check(worker.guard)  # type: ignore[arg-type]
    worker.redis.error = redis.exceptions.ConnectionError("no route to db.internal") if dep == "redis" else None
    await worker.after(600)
    assert await worker.live() == []
    assert await worker.ready() == [f"{dep} is away"]
    assert (await worker.vitals.live()).facts["away"] == [dep]
    worker.guard.error = worker.redis.error = None
    await worker.vitals.check(worker.guard)  # type: ignore[arg-type]
    assert await worker.ready() == []
    await worker.after(50)
    assert await worker.live() == []  # it gets its time anew
    await worker.after(20)
    assert len(await worker.live()) == 1


async def test_a_rebalance_that_does_not_end_is_not_live(worker: Worker) -> None:
    await worker.after(10)
    worker.app.rebalancing = True
    worker.app.rebalancing_count += 1
    await worker.after(10)
    begun = worker.clock.now
    assert await worker.ready() == ["a rebalance is under way"]
    assert await worker.live() == []
    await worker.after(70)
    assert "a rebalance has lasted for more than 60 s" in await worker.live()
    assert "gnomon_rebalance_total 2.0" in worker.metrics.text().decode()
    assert "gnomon_rebalance_seconds_count 0.0" in worker.metrics.text().decode()
    worker.app.rebalancing = False
    await worker.after(10)
    assert await worker.live() == []
    assert f"gnomon_rebalance_seconds_sum {worker.clock.now - begun}\n" in worker.metrics.text().decode()


async def test_a_consumer_that_does_not_answer_is_not_live(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "ANSWER_S", 0.01)
    await worker.after(10)
    worker.consumer.hangs = True
    tasks = [asyncio.create_task(worker.vitals._every(0.001, worker.vitals._sample))]
    await asyncio.sleep(0.05)
    worker.clock.now += 61
    assert len(await worker.live()) == 1
    worker.consumer.hangs = False
    await asyncio.sleep(0.05)  # the sampler goes on
    assert await worker.live() == []
    tasks[0].cancel()


async def test_a_redis_that_evicts_makes_a_worker_unready(worker: Worker) -> None:
    worker.redis.policy = "allkeys-lru"
    (reason,) = await worker.ready()
    assert "noeviction" in reason
    assert await worker.live() == []


async def test_what_redis_said_is_good_for_a_second_and_a_slow_redis_is_asked_once(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "REDIS_S", 0.01)
    await worker.vitals.ready()
    asked = worker.redis.asked
    await worker.vitals.ready()
    assert worker.redis.asked == asked
    worker.redis.wait.clear()
    for _ in range(5):
        assert await worker.ready() == ["redis is away"]
    assert worker.redis.asked == asked + 1
    worker.redis.wait.set()
    await asyncio.sleep(0.01)
    assert await worker.ready() == []
    assert "gnomon_redis_memory_bytes 77.0" in worker.metrics.text().decode()


async def test_the_skew_of_the_clock_of_redis_is_told(worker: Worker) -> None:
    await worker.vitals.ready()
    assert 'gnomon_clock_skew_seconds{dep="redis"} 3.5' in worker.metrics.text().decode()


async def test_of_a_cluster_the_fullest_node_and_the_clock_that_is_furthest_off_are_told(worker: Worker) -> None:
    worker.vitals.uses(Cluster())
    assert await worker.ready() == []
    text = worker.metrics.text().decode()
    assert "gnomon_redis_memory_bytes 90.0" in text
    assert "gnomon_redis_maxmemory_bytes 100.0" in text
    assert 'gnomon_clock_skew_seconds{dep="redis"} -3.5' in text  # the clock of the test has gone on by a second and a half


async def test_a_cluster_that_is_not_well_makes_a_worker_unready_and_is_weather(worker: Worker) -> None:
    cluster = Cluster()
    worker.vitals.uses(cluster)
    cluster.state = "fail"
    assert await worker.ready() == ["redis is away"]
    await worker.after(1_000)
    assert await worker.live() == []
    cluster.state, cluster.policy = "ok", "allkeys-lru"
    (reason,) = await worker.ready()
    assert "noeviction" in reason


async def test_nodes_of_a_cluster_that_are_away_are_named_and_no_more_said(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    worker.vitals.uses(cluster)
    cluster.down = frozenset({0, 2})
    away = ["redis is away: host-0:6379, host-2:6379"]
    assert await worker.ready() == away
    assert worker.metrics.away == {"redis"}
    await worker.after(100)
    cluster.down = frozenset({1})
    assert await worker.ready() == ["redis is away: host-1:6379"]
    monkeypatch.setattr(vitals, "REDIS_S", 0.01)
    await worker.after(100)
    cluster.wait.clear()  # they are asked again, and one is silent for longer than a probe waits
    assert await worker.ready() == ["redis is away: host-1:6379"]
    cluster.down = frozenset()
    cluster.wait.set()
    await asyncio.sleep(0.01)
    assert await worker.ready() == []
    await worker.after(100)
    cluster.wait.clear()
    assert await worker.ready() == ["redis is away"]  # which is not known yet
    cluster.wait.set()


async def test_wrong_topics_make_a_worker_unready(worker: Worker) -> None:
    worker.guard.error = RefusedError("topic scored was made anew")
    with pytest.raises(RefusedError):
        await worker.vitals.check(worker.guard)  # type: ignore[arg-type]
    assert await worker.ready() == ["topics: topic scored was made anew"]


async def test_a_worker_that_drains_is_unready_and_live(worker: Worker) -> None:
    await worker.after(10)
    worker.consumer.lag = 7
    worker.app.should_stop = True
    await worker.after(600)
    worker.redis.error = RuntimeError("closed: not to be asked any more")
    assert await worker.ready() == ["told to stop: draining"]
    assert await worker.live() == []


async def test_before_state_is_loaded_a_worker_has_not_started(worker: Worker) -> None:
    fresh = Vitals(worker.app, Settings(), JoinMetrics(Settings()), 0)
    assert (await fresh.started()).reasons == (await fresh.ready()).reasons == ["state is not loaded yet"]
    assert (await fresh.ready()).facts == {"assigned": 0, "role": "standby"}
    assert (await fresh.live()).reasons == []


def test_port_0_serves_nothing(worker: Worker) -> None:
    assert worker.app.served == []
    Vitals(worker.app, Settings(), JoinMetrics(Settings()), 9)
    assert len(worker.app.served) == 1


async def test_what_runs_beside_an_app_is_its_first_child_and_so_stops_last(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    async def start() -> None:
        heard.append("start")

    async def stop() -> None:
        heard.append("stop")

    monkeypatch.setattr(faust.App, "on_init_dependencies", lambda app: ["consumer"])
    app = new_app("join", Settings())
    app.beside(start, stop)
    first, *others = app.on_init_dependencies()
    assert others == ["consumer"]
    await first.start()
    await first.stop()
    assert heard == ["start", "stop"]
