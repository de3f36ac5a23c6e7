"""What a worker knows of its own health: a sample every second, and what probes are told.

``/livez`` fails only where a restart helps: Kafka and Redis answer, and yet something that is there to be read has not been committed for
``GNOMON_STALL_TIMEOUT_MS``. A dependency that is away is weather: the worker waits, and is not ready.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from streams.engine import REFUSED, App, die
from streams.errors import StoreError
from streams.guard import REDIS_ERRORS, Facts, Guard, RefusedError
from streams.health import Answer, HealthServer
from streams.metered import redis_call
from streams.metrics import Metrics, Values
from streams.progress import Progress, Seen
from streams.redis_check import check_redis, clock_ahead_s, servers, silent
from streams.settings import Settings

log = logging.getLogger(__name__)

SAMPLE_S = 1.0
LOOP_S = 0.1
ANSWER_S = 5.0  # how long a sample may take
REMEMBER_S = 1.0  # for how long an answer of Redis about itself is good
REDIS_S = 2.0  # how long a probe waits for it
ASK_REDIS_S = 10.0  # between two questions where no probe asks
REDIS = "redis"
REDIS_AWAY = "redis is away"


class Vitals:
    """The health of one worker.

    Parameters
    ----------
    app
        The worker's Faust app; the server starts before its consumer and stops after it has drained.
    settings
        Where to listen, and how long a stall is borne.
    metrics
        Where samples go; served at ``/metrics``.
    port
        Where to listen; 0: nowhere.

    """

    def __init__(self, app: App, settings: Settings, metrics: Metrics, port: int) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._progress = Progress()
        self._rebalancing_since_s: float | None = None
        self._rebalances = 0
        self._loaded = False
        self._topics_wrong: str | None = None
        self._redis: Any = None
        self._asking: asyncio.Task[list[str]] | None = None
        self._asked: tuple[float, list[str]] = (float("-inf"), [])
        self._info: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._server = HealthServer(self, settings.http_host, port)
        metrics.lag.values = lambda: self._by_place(self._progress.lags)
        metrics.lag_seconds.values = lambda: self._by_place(self._progress.waits_s(time.monotonic()))
        metrics.commit_age.values = lambda: {(): self._progress.age_s(time.monotonic())}
        metrics.redis_memory.values = lambda: self._of_redis("used_memory")
        metrics.redis_maxmemory.values = lambda: self._of_redis("maxmemory")
        metrics.clock_skew.values = lambda: {(REDIS, *none): value for none, value in self._of_redis("skew").items()}
        if port:
            app.beside(self._start, self._stop)

    def uses(self, redis: Any) -> None:
        """Ask this Redis client from now on."""
        self._redis = redis

    def loaded(self) -> None:
        """Take note that state has been loaded: the worker has begun."""
        self._loaded = True

    async def check(self, guard: Guard) -> dict[str, Facts]:
        """Check the topics, and take note of what came of it; raises what ``Guard.check`` does."""
        try:
            facts = await guard.check()
        except RefusedError as error:
            self._topics_wrong = str(error)
            raise
        except StoreError:
            self._metrics.heard("redis", good=False)
            raise
        except Exception:
            self._metrics.heard("kafka", good=False)
            raise
        self._topics_wrong = None
        self._metrics.heard("kafka", good=True)
        return facts

    async def live(self) -> Answer:
        """Tell whether a restart would help."""
        now_s, longest_s = time.monotonic(), self._settings.stall_timeout_ms / 1000
        facts: dict[str, object] = {"commit_age_seconds": round(self._progress.age_s(now_s), 3), "away": sorted(self._metrics.away)}
        if self._metrics.away or self._draining():
            return Answer([], facts)
        since_s = self._metrics.all_well_since_s
        stalled = self._progress.stalled(now_s, longest_s=longest_s, since_s=since_s)
        reasons = [
            f"{topic}[{partition}]: nothing committed for more than {longest_s:g} s, while Kafka and Redis answer"
            for topic, partition in stalled
        ]
        rebalancing = self._rebalancing_since_s
        if rebalancing is not None and now_s - max(rebalancing, since_s) > longest_s:
            reasons.append(f"a rebalance has lasted for more than {longest_s:g} s")
        return Answer(reasons, facts)

    async def ready(self) -> Answer:
        """Tell whether the worker can do its work just now."""
        assigned = len(self._progress.lags)
        facts: dict[str, object] = {"assigned": assigned, "role": "active" if assigned else "standby"}
        if self._draining():
            return Answer(["told to stop: draining"], facts)
        reasons = [] if self._loaded else ["state is not loaded yet"]
        if self._app.rebalancing:
            reasons.append("a rebalance is under way")
        if self._topics_wrong is not None:
            reasons.append(f"topics: {self._topics_wrong}")
        reasons += await self._redis_reasons()
        away = [f"{dep} is away" for dep in sorted(self._metrics.away)]
        reasons += [text for text in away if not any(reason.startswith(text) for reason in reasons)]
        return Answer(reasons, facts)

    async def started(self) -> Answer:
        """Tell whether the worker has begun: settings and policy are valid, or it would not run, and its state could be read."""
        return Answer([] if self._loaded else ["state is not loaded yet"], {})

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return self._metrics.text()

    async def _redis_reasons(self) -> list[str]:
        if self._redis is None:
            return []
        at_s, reasons = self._asked
        if time.monotonic() - at_s <= REMEMBER_S:
            return reasons
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_redis())
        # Waited for, and never cancelled: half a conversation would leave a connection of the pool one answer off.
        await asyncio.wait({self._asking}, timeout=REDIS_S)
        if self._asking.done():
            return self._asking.result()
        return [reason for reason in reasons if reason.startswith(REDIS_AWAY)] or [REDIS_AWAY]  # silent nodes stay named

    async def _ask_redis(self) -> list[str]:
        async def ask() -> list[str]:
            findings = await check_redis(self._redis)
            found = await servers(self._redis)
            memories = [await self._redis.info("memory", **server.where) for server in found]
            skews = [await clock_ahead_s(self._redis, server) for server in found]
            fullest: dict[str, float] = max(memories, key=_full)  # of a cluster: writes are refused there first
            self._info = fullest | {"skew": max(skews, key=abs)}
            return [finding.text for finding in findings if finding.fatal]

        try:
            reasons = await redis_call(self._metrics, "check", ask)
        except (StoreError, *REDIS_ERRORS):  # what exactly is in the log; here no more than which nodes of a cluster
            names = await silent(self._redis)
            reasons = [f"{REDIS_AWAY}: {', '.join(names)}" if names else REDIS_AWAY]
        self._asked = time.monotonic(), reasons
        return reasons

    def _of_redis(self, name: str) -> Values:
        return {(): float(self._info[name])} if name in self._info else {}

    def _by_place(self, values: Mapping[tuple[str, int], float]) -> Values:
        strip = len(self._settings.prefix)
        return {(topic[strip:], str(partition)): value for (topic, partition), value in list(values.items())}

    def _draining(self) -> bool:
        return bool(self._app.should_stop)

    async def _start(self) -> None:
        try:
            await self._server.start()
        except OSError as error:
            address = f"{self._settings.http_host}:{self._server.port}"
            die(f"metrics and health: cannot listen on {address}: {error.strerror}; set GNOMON_HTTP_HOST and the worker's port", REFUSED)
        self._tasks = [
            asyncio.create_task(each)
            for each in (self._every(SAMPLE_S, self._sample), self._every(ASK_REDIS_S, self._redis_reasons), self._ticking())
        ]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.stop()

    async def _ticking(self) -> None:
        while True:
            due_s = time.monotonic() + LOOP_S
            await asyncio.sleep(LOOP_S)
            self._metrics.loop_lag.set(max(0.0, time.monotonic() - due_s))

    @staticmethod
    async def _every(seconds: float, call: Callable[[], Any]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                async with asyncio.timeout(ANSWER_S):
                    await call()
            except Exception as error:  # no sample: what it would have shown grows old, and that shows
                log.debug("no sample: %r", error)

    async def _sample(self) -> None:
        app, now_s = self._app, time.monotonic()
        self._metrics.rebalances.inc(app.rebalancing_count - self._rebalances)
        self._rebalances = app.rebalancing_count
        if self._rebalancing_since_s is not None and not app.rebalancing:
            self._metrics.rebalance_seconds.observe(now_s - self._rebalancing_since_s)
        self._rebalancing_since_s = (self._rebalancing_since_s or now_s) if app.rebalancing else None
        if app.rebalancing:
            return
        consumer = app.consumer
        ended = set(await consumer.read_to_end())
        _, positions = await consumer.positions()
        committed = consumer.committed()
        seen = {tp: Seen(p.position, p.end, p.fetched_at_ms, committed.get(tp)) for tp, p in positions.items()}
        self._progress.sample(seen, ended, now_s=time.monotonic(), now_ms=int(time.time() * 1000))
        self._metrics.assigned.set(len(seen))


def _full(memory: Mapping[str, float]) -> tuple[float, float]:
    used, limit = memory.get("used_memory", 0), memory.get("maxmemory", 0)
    return used / limit if limit else 0.0, used
