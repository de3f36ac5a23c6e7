"""The join as a Faust app: ``gnomon worker --join``, or ``faust -A streams.join worker``.

Importing it connects to nothing. Any number of workers share the source partitions; any of them may read any partition.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from faust.types import TP

from detectors.joiner import Joiner
from detectors.pending import DictTable, PendingTable
from schemas.codec import Limits
from schemas.policy import Policy, parse_policy
from streams.agent import Agent, Turn
from streams.batches import Batch
from streams.engine import REFUSED, App, die, new_app
from streams.guard import DictMemory, Guard, Memory, RedisMemory, RefusedError
from streams.join_metrics import JoinMetrics
from streams.joining import Joining
from streams.metered import MeteredProducer, MeteredTable, redis_call
from streams.pending import RedisTable
from streams.policy_follow import MemoryPolicies, Policies, PolicyFollower, RedisPolicies
from streams.policy_start import put_in_force
from streams.producer import ScoredProducer
from streams.redis_check import check_redis
from streams.redis_client import connect
from streams.retrying import retry
from streams.settings import DAY_MS, Settings
from streams.topics import SCORED, SOURCES
from streams.vitals import Vitals

log = logging.getLogger(__name__)

GROUP = "join"
AHEAD = 3  # steps under way: while one waits for Redis and one for Kafka, the third computes
FRESH_MS = 2_000  # how old the broker's word may be that a partition has no more


class JoinWorker:
    """What lives in a join worker, wired to Faust."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app: App = new_app(GROUP, settings)
        self.agent = Agent(self.app, [settings.topic(name) for name in SOURCES], self._handle, load=self._load, ahead=AHEAD)
        self.redis: Any = None
        self.producer: ScoredProducer | None = None
        self.joining: Joining | None = None
        self.guard: Guard | None = None
        self.in_force = False  # the policy file
        self.metrics = JoinMetrics(settings)
        self.vitals = Vitals(self.app, settings, self.metrics, settings.join_http_port)
        self.app.task(self._ticker)
        self.app.task(self._guarding)
        self.app.on_before_shutdown.connect(self._close)

    async def _connect(self) -> Joining:
        settings = self.settings
        memory: Memory
        table: PendingTable
        policies: Policies
        if settings.in_memory:
            memory, table, policies = DictMemory(), DictTable(), MemoryPolicies()
        else:
            self.redis = connect(settings.redis, socket_timeout=5, socket_connect_timeout=5)
            memory, policies = RedisMemory(self.redis, settings.prefix), RedisPolicies(self.redis, settings.prefix)
            table = RedisTable(self.redis, settings.prefix, wait_replicas=settings.redis_wait_replicas)
            self.vitals.uses(self.redis)
            for finding in await retry("Redis", partial(redis_call, self.metrics, "check", partial(check_redis, self.redis))):
                if finding.fatal:
                    die(f"Redis: {finding}", REFUSED)
                log.warning("Redis: %s", finding)
        self.guard = Guard(settings, (*SOURCES, SCORED, "dead-letters"), memory, group=settings.topic(GROUP))
        self.producer = ScoredProducer(settings, die, self.metrics.kafka_weather)
        producer = MeteredProducer(self.producer, self.metrics)
        follower = PolicyFollower(policies, partial(new_joiner, settings))
        joining = Joining(settings, new_joiner(settings), MeteredTable(table, self.metrics), producer, self.agent.crash, policies=follower)
        self.metrics.event_times(joining.highs.now)
        return joining

    async def _load(self, partitions: set[TP], owned: Callable[[], bool]) -> dict[TP, int]:
        """Begin with the partitions that a rebalance gave; nothing is read meanwhile."""
        if self.joining is None:
            self.joining = await self._connect()
        guard = self.guard
        assert guard is not None  # noqa: S101  made with ``joining``
        try:
            facts = await retry("the record of topics", partial(self.vitals.check, guard))
            for loss in await guard.check_offsets():
                log.error("%s", loss)
        except RefusedError as error:
            die(str(error), REFUSED)
        if not self.in_force and owned():
            assert self.producer is not None  # noqa: S101  made with ``joining``
            group = self.settings.topic(GROUP)
            await retry("the policy", partial(put_in_force, self.redis, self.settings, facts, self.producer, group=group))
            self.in_force = True
        if owned():
            self.joining.own(facts, partitions)
            self.vitals.loaded()
        return {}  # from the committed offsets

    async def _handle(self, batches: list[Batch], turn: Turn) -> None:
        assert self.joining is not None  # noqa: S101  loaded before the first batch
        with self.metrics.step(sum(map(len, batches))):
            joined = await self.joining.step(batches, turn)
        self.metrics.joined(joined)

    async def _ticker(self) -> None:
        interval_s, idle_at = self.settings.tick_interval_ms / 1000, 0.0
        while True:
            await asyncio.sleep(interval_s)
            joining = self.joining
            if joining is None or self.app.rebalancing:
                continue
            if time.monotonic() >= idle_at:
                await self._look_for_ends(joining)
                idle_at = time.monotonic() + min(1.0, (self.settings.idle_timeout_ms or 0) / 4000)
            try:
                await joining.tick()
            except asyncio.CancelledError:
                raise
            except Exception:
                die("a tick could not be produced")

    async def _look_for_ends(self, joining: Joining) -> None:
        count, generation = self.app.rebalancing_count, self.app.consumer_generation_id
        ends = await self.app.consumer.read_to_end()
        if (count, generation) != (self.app.rebalancing_count, self.app.consumer_generation_id) or self.app.rebalancing:
            return
        # A worker that was frozen must not take its own old knowledge for the end of a partition that is another's by now.
        oldest = int(time.time() * 1000) - FRESH_MS
        joining.at_end((tp.topic, tp.partition) for tp, position in ends.items() if (position.fetched_at_ms or 0) >= oldest)

    async def _guarding(self) -> None:
        while True:
            await asyncio.sleep(self.settings.guard_interval_ms / 1000)
            if self.joining is None or self.guard is None or self.app.rebalancing:
                continue
            try:
                self.joining.grown(await self.vitals.check(self.guard))
            except RefusedError as error:
                die(str(error), REFUSED)
            except Exception as error:  # Kafka or Redis are away: those who need them say so
                log.warning("the topics could not be checked: %s", error)

    async def _close(self, *_: Any, **__: Any) -> None:
        if self.producer is not None:
            await asyncio.to_thread(self.producer.close)
        if self.redis is not None:
            await self.redis.aclose()


def new_joiner(settings: Settings, policy: Policy | None = None) -> Joiner:
    """Return the join as the settings say, or as they say with another policy than that of the file.

    Raises
    ------
    schemas.policy.PolicyError
        If the policy file has a fault.
    OSError
        If it cannot be read.

    """
    if policy is None:
        policy = parse_policy(settings.policy.read_text()) if settings.policy else Policy()
    return Joiner(
        policy,
        settings.secret_key.encode(),
        Limits(max_bytes=settings.max_message_bytes),
        max_skew_ms=settings.max_skew_ms,
        max_age_ms=int(settings.pending_max_age_days * DAY_MS),
        outage_ms=int(settings.outage_days * DAY_MS),
        keep_payload=settings.dead_letter_payload,
    )


worker = JoinWorker(Settings.from_env())
app = worker.app
