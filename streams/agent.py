"""The one agent of an app: steps in order, several under way at once; acknowledged when they are durable, and never before."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from faust.types import TP

from streams.batches import Batch, Schema
from streams.crashpoint import CrashPoints
from streams.engine import App, die

STEP_BYTES = 4 << 20  # payload that one step handles at most, but for its last batch
LONGEST_PAUSE_S = 5.0  # between two flushes, however long they take

Turn = Callable[[], Awaitable[None]]
Handle = Callable[[list[Batch], Turn], Awaitable[None]]
Load = Callable[[set[TP], Callable[[], bool]], Awaitable[dict[TP, int]]]
Flush = Callable[[], Awaitable[None]]


class Agent:
    """One agent over all of an app's source topics.

    Parameters
    ----------
    handle
        Awaited with what waits in the queue, in order within each partition, and a turn to await before anything is produced: it comes
        when the step before is done. When it returns, the batches are acknowledged in order: at once, or after the next ``flush``.
        Anything it raises ends the process with nothing acknowledged.
    load
        Awaited after each rebalance, before the first batch, with every partition owned and a function that tells whether they
        still are; returns the offsets to read from (a partition left out is read from its committed offset). It must build its new
        state aside, and take it into use only while the function says True.
    flush
        Awaited every flush interval, never while ``handle`` runs: makes durable what was handled so far.
    ahead
        How many steps may be under way at once, so that one waits for its round trips while others compute.

    """

    def __init__(
        self, app: App, topics: list[str], handle: Handle, *, load: Load | None = None, flush: Flush | None = None, ahead: int = 1
    ) -> None:
        self.app = app
        self.ahead = ahead
        self.crash = CrashPoints(app.gnomon.crash_at)
        self.step = asyncio.Lock()  # a flush sees the state between two steps
        self._handle, self._load, self._flush = handle, load, flush
        self._handled: list[Any] = []  # events handled, and not acknowledged yet
        app.agent(app.topic(*topics, schema=Schema(), allow_empty=True), name="batches")(self._run)
        if load is not None:
            app.on_rebalance_complete.connect(self._on_rebalance_complete, weak=False)
        if flush is not None:
            app.task(self._flusher)

    async def _run(self, stream: Any) -> None:
        # The queue is read directly: Faust's iterators acknowledge a batch when the body raises or is cancelled, and with one
        # message at a time a slow handler would pay a round trip to Redis for each.
        queue = stream.channel.queue
        while True:
            try:
                event = await queue.get()
            except StopAsyncIteration:  # how Faust tells a stream to end
                return
            async with self.step:
                await self._work_off(queue, event)

    async def _work_off(self, queue: Any, event: Any) -> None:
        """Handle what waits, several steps at once, until there is nothing left; in order, they are acknowledged."""
        steps: deque[tuple[list[Any], asyncio.Task[None]]] = deque()
        try:
            while True:
                events = [] if event is None else self._drain(queue, event)
                if events:
                    turn = partial(_done, steps[-1][1] if steps else None)
                    steps.append((events, asyncio.ensure_future(self._handle([event.value for event in events], turn))))
                if steps and (len(steps) >= self.ahead or queue.empty()):
                    await steps[0][1]
                    self._handled += steps.popleft()[0]
                    if self._flush is None:
                        self._acknowledge()
                if not steps and (queue.empty() or self._flush is not None):  # a flush comes in between two steps
                    return
                event = None if queue.empty() else queue.get_nowait()
        except asyncio.CancelledError:
            raise
        except BaseException:
            # Faust would restart the agent and go on with the next batch: this one would be lost.
            die("a batch could not be handled")
        finally:
            for _, task in steps:
                task.cancel()

    def _drain(self, queue: Any, event: Any) -> list[Any]:
        events, records, size = [], 0, 0
        while True:
            message = event.message
            if message.generation_id == self.app.consumer_generation_id and self.app.flow_control.is_active():
                message.tracked = True
                self.app.consumer.track_message(message)  # a rebalance waits for it
                events.append(event)
                records += len(event.value)
                size += event.value.size
            if records >= self.app.gnomon.batch_records or size >= STEP_BYTES or queue.empty():
                return events
            event = queue.get_nowait()

    def _acknowledge(self) -> None:
        for event in self._handled:
            event.message.ack(self.app.consumer)
        self._handled.clear()

    async def _flusher(self) -> None:
        # Waiting for a later checkpoint would hang a rebalance or a stop: both wait until everything is acknowledged.
        interval_s = self.app.gnomon.flush_interval_ms / 1000
        pause_s = interval_s
        while True:
            await asyncio.sleep(pause_s)
            async with self.step:
                begun = time.monotonic()
                await self.flush()
                # Large states are written less often: no more than a fifth of the time goes into it.
                pause_s = max(interval_s, min(4 * (time.monotonic() - begun), LONGEST_PAUSE_S))

    async def flush(self) -> None:
        """Flush and acknowledge; the caller holds ``step``."""
        if self._flush is None or not self._handled:
            return
        try:
            await self._flush()
        except asyncio.CancelledError:
            raise
        except BaseException:
            die("a checkpoint could not be written")
        self._acknowledge()

    async def _on_rebalance_complete(self, *_: Any, **__: Any) -> None:
        # Awaited after the assignment and before Faust seeks to the committed offsets, with nothing being read: the one place where
        # ownership is settled. A second rebalance can begin while it runs.
        assert self._load is not None  # noqa: S101  connected only then
        count, generation = self.app.rebalancing_count, self.app.consumer_generation_id

        def owned() -> bool:
            return (count, generation) == (self.app.rebalancing_count, self.app.consumer_generation_id)

        try:
            consumer = self.app.consumer
            async with self.step:
                # Faust has waited until all was acknowledged; what it gave up on is read again, and must not be acknowledged now.
                self._handled = [event for event in self._handled if event.message.generation_id == generation]
                offsets = await self._load(set(consumer.assignment()), owned)
            offsets = {tp: offset for tp, offset in offsets.items() if tp in consumer.assignment()}
            if offsets and owned():
                # Straight to the driver: ``commit`` refuses to go back. Faust then seeks here, up or down.
                await consumer._commit(offsets)
        except asyncio.CancelledError:
            raise
        except BaseException:
            die("state could not be loaded")


async def _done(step: "asyncio.Task[None] | None") -> None:
    """Wait for a step; raises what it raised, so that nothing overtakes a step that has failed."""
    if step is not None:
        await asyncio.shield(step)
