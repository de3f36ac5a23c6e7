"""The watch as a Faust app: ``gnomon worker --watch``, or ``faust -A streams.watch worker``.

Importing it connects to nothing. Each scored partition has one owner, which folds it in order; workers share the partitions out.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from faust.types import TP

from streams.agent import Agent, Turn
from streams.batches import Batch
from streams.checkpoint import Checkpoints, DictCheckpoints, FencedError, RedisCheckpoints
from streams.checkpoint_pack import CheckpointError
from streams.engine import REFUSED, App, die, new_app
from streams.guard import DictMemory, Guard, Memory, RedisMemory, RefusedError
from streams.metered import MeteredCheckpoints, MeteredProducer, redis_call
from streams.producer import ScoredProducer
from streams.redis_check import check_redis
from streams.redis_client import connect
from streams.retrying import retry
from streams.settings import Settings
from streams.topics import AUDIT, SCORED
from streams.vitals import Vitals
from streams.watch_metrics import WatchMetrics
from streams.watching import Taken, Watching

log = logging.getLogger(__name__)

GROUP = "watch"
WRITES = ("drift", "fatigue", "retrain", "statistics", AUDIT)


class WatchWorker:
    """What lives in a watch worker, wired to Faust."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app: App = new_app(GROUP, settings)
        self.agent = Agent(self.app, [settings.topic(SCORED)], self._handle, load=self._load, flush=self._flush)
        self.redis: Any = None
        self.producer: ScoredProducer | None = None
        self.watching: Watching | None = None
        self.guard: Guard | None = None
        self.metrics = WatchMetrics(settings)
        self.vitals = Vitals(self.app, settings, self.metrics, settings.watch_http_port)
        self.app.task(self._guarding)
        self.app.on_before_shutdown.connect(self._close)

    async def _connect(self) -> Watching:
        settings = self.settings
        memory: Memory
        checkpoints: Checkpoints
        if settings.in_memory:
            memory, checkpoints = DictMemory(), DictCheckpoints()
        else:
            self.redis = connect(settings.redis, socket_timeout=30, socket_connect_timeout=5)  # a checkpoint may be large
            memory = RedisMemory(self.redis, settings.prefix)
            checkpoints = RedisCheckpoints(self.redis, settings.prefix, wait_replicas=settings.redis_wait_replicas)
            self.vitals.uses(self.redis)
            for finding in await retry("Redis", partial(redis_call, self.metrics, "check", partial(check_redis, self.redis))):
                if finding.fatal:
                    die(f"Redis: {finding}", REFUSED)
                log.warning("Redis: %s", finding)
        self.guard = Guard(settings, (SCORED, *WRITES), memory, group=settings.topic(GROUP))
        self.producer = ScoredProducer(settings, die, self.metrics.kafka_weather)
        metered, producer = MeteredCheckpoints(checkpoints, self.metrics), MeteredProducer(self.producer, self.metrics)
        watching = Watching(settings, metered, producer, self.agent.crash, found=self.metrics.found, folded=self.metrics.folded)
        self.metrics.folds(lambda: {partition: held.watch for partition, held in watching.held.items()}, metered.size)
        return watching

    async def _load(self, partitions: set[TP], owned: Callable[[], bool]) -> dict[TP, int]:
        """Take over the partitions that a rebalance gave, and begin where their checkpoints are; nothing is read meanwhile."""
        if self.watching is None:
            self.watching = await self._connect()
        watching, guard = self.watching, self.guard
        assert guard is not None  # noqa: S101  made with ``watching``
        try:
            facts = await retry("the record of topics", partial(self.vitals.check, guard))
            if not owned():
                return {}
            taken = await watching.take(facts[SCORED], (tp.partition for tp in partitions))
            await self._look_at_offsets(guard, taken)
        except (RefusedError, CheckpointError) as error:
            die(str(error), REFUSED)
        if not owned():
            return {}  # the next rebalance loads again
        watching.own(taken)
        self.vitals.loaded()
        for partition, held in sorted(taken.items()):
            log.info("scored partition %d from offset %d, epoch %d", partition, held.next, held.epoch)
        # All of them, down to 0 where there is no checkpoint: what Kafka has committed says nothing without the state that goes with it.
        return {tp: taken[tp.partition].next for tp in partitions}

    @staticmethod
    async def _look_at_offsets(guard: Guard, taken: Taken) -> None:
        """Refuse partitions that end below their checkpoint, and those without one that cannot be folded from the beginning."""
        for loss in await guard.check_offsets({(SCORED, p): held.next for p, held in taken.items() if held.saved is not None}):
            log.error("%s", loss)
        gone = await guard.check_offsets({(SCORED, p): 0 for p, held in taken.items() if held.saved is None})
        if gone:
            raise RefusedError(f"no checkpoint, and no way to make one anew: {'; '.join(gone)}; restore Redis, or start under a new prefix")

    async def _handle(self, batches: list[Batch], _: Turn) -> None:
        assert self.watching is not None  # noqa: S101  loaded before the first batch
        try:
            with self.metrics.step(sum(map(len, batches))):
                await self.watching.step(batches)
        except RefusedError as error:
            die(str(error), REFUSED)

    async def _flush(self) -> None:
        assert self.watching is not None  # noqa: S101  loaded before the first batch
        try:
            await self.watching.flush()
        except FencedError as error:
            die(str(error))

    async def _guarding(self) -> None:
        while True:
            await asyncio.sleep(self.settings.guard_interval_ms / 1000)
            if self.watching is None or self.guard is None or self.app.rebalancing:
                continue
            try:
                await self.vitals.check(self.guard)
            except RefusedError as error:
                die(str(error), REFUSED)
            except Exception as error:  # Kafka or Redis are away: those who need them say so
                log.warning("the topics could not be checked: %s", error)

    async def _close(self, *_: Any, **__: Any) -> None:
        if self.producer is not None:
            await asyncio.to_thread(self.producer.close)
        if self.redis is not None:
            await self.redis.aclose()


worker = WatchWorker(Settings.from_env())
app = worker.app
