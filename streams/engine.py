"""The one seam to Faust: its settings, its traps and how each is kept from biting.

Faust brings consumer groups, rebalancing and commits. What it does not bring, or does wrong for a service that may lose nothing, is
worked around here and in ``streams.batches``; each workaround says why, and ``tests/integration/test_engine.py`` shows it on a real broker.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import faust
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from faust.auth import SASLCredentials, SSLCredentials
from faust.types import TP

from streams.batches import Batch, Schema
from streams.beside import Beside
from streams.crashpoint import CrashPoints
from streams.settings import Settings

log = logging.getLogger(__name__)

TESTED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}
FATAL = 70  # exit code: stopped with nothing acknowledged; start it again
REFUSED = 78  # exit code: something must be put right first; the log says what
ANSWER_S = 10.0  # how long a broker may take to answer at the start
STEP_BYTES = 4 << 20  # payload that one step handles at most, but for its last batch
LONGEST_PAUSE_S = 5.0  # between two flushes, however long they take
QUEUE_BATCHES = 32  # batches waiting in a worker, beyond those being handled
T = TypeVar("T")

Turn = Callable[[], Awaitable[None]]
Handle = Callable[[list[Batch], Turn], Awaitable[None]]
Load = Callable[[set[TP], Callable[[], bool]], Awaitable[dict[TP, int]]]
Flush = Callable[[], Awaitable[None]]


class NoWeb(faust.App.BootStrategy):  # type: ignore[misc]  # Faust is untyped here
    """Never starts Faust's web server: it listens on 0.0.0.0, shows tables and asks for no password.

    The setting alone does not keep it away, since ``faust worker`` turns it on again unless told ``--without-web``.
    """

    enable_web = False


class App(faust.App):  # type: ignore[misc]  # Faust is untyped here
    """A Faust app that exits within its drain timeout when told to stop, drained or not."""

    BootStrategy = NoWeb
    gnomon: Settings
    _beside: tuple[Beside, ...] = ()

    def beside(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        """Have something started before the consumer, and stopped after it has drained."""
        self._beside += (Beside(start, stop, loop=self.loop, beacon=self.beacon),)

    def on_init_dependencies(self) -> list[Any]:
        """Return what is started with the app, in order; it stops in reverse."""
        return [*self._beside, *super().on_init_dependencies()]

    def _create_directories(self) -> None:
        self.conf.datadir.parent.mkdir(parents=True, exist_ok=True)
        super()._create_directories()

    async def stop(self) -> None:
        """Stop; a thread ends the process if Faust hangs, as it does while anything stays unacknowledged."""
        seconds = self.gnomon.drain_timeout_ms / 1000
        deadline = threading.Timer(seconds, die, [f"not drained within {seconds:g} s"])
        deadline.daemon = True
        deadline.start()
        await super().stop()


def new_app(name: str, settings: Settings) -> App:
    """Return a Faust app of the consumer group ``name``; nothing is connected yet.

    Raises
    ------
    RuntimeError
        If Faust or aiokafka are not the versions whose insides the seam relies on.

    """
    check_versions()
    app = App(
        settings.topic(name),
        env={},  # Faust's own variables (BROKER_URL, WEB_BIND, ...) must not reach it: ``streams.settings`` alone reads the environment
        broker=[f"gnomon://{server.strip()}" for server in settings.kafka.split(",")],
        broker_credentials=_credentials(settings),
        datadir=str(settings.data_dir / name),  # else `<name>-data` in the working directory
        autodiscover=False,  # it turns an agent that cannot be imported into a warning
        processing_guarantee="at_least_once",  # Faust's exactly-once is broken, and could not cover Redis
        # With no standby replicas and no tables Faust changes its assignor, and workers of two assignors cannot share a group.
        table_standby_replicas=1,
        topic_allow_declare=False,  # `gnomon provision` makes topics, with the partitions and retention they need
        topic_disable_leader=True,  # an internal topic that nobody reads
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.instance_id or None,
        consumer_max_fetch_size=1 << 20,
        broker_max_poll_records=settings.batch_records,
        stream_buffer_maxsize=QUEUE_BATCHES,
        stream_recovery_delay=0.1,
        stream_wait_empty=True,  # without it a rebalance acknowledges what it cancels
        broker_commit_interval=settings.commit_interval_ms / 1000,
        broker_commit_every=1_000_000,  # by time only: a commit by count would come in the middle of a drained queue
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.session_timeout_ms / 4000,
        broker_rebalance_timeout=60.0,
        broker_request_timeout=max(30.0, settings.session_timeout_ms / 1000),
        producer_request_timeout=30.0,
        web_enabled=False,  # see NoWeb
        worker_redirect_stdouts=False,
    )
    app.gnomon = settings
    return app


def check_versions() -> None:
    """Raise ``RuntimeError`` unless Faust, aiokafka and mode are the versions the seam was tested with."""
    found = {name: version(name) for name in TESTED}
    if found != TESTED:
        raise RuntimeError(
            f"the Faust seam was tested with {TESTED}, found {found}: install those, or run the integration tests and amend TESTED"
        )


def _credentials(settings: Settings) -> Any:
    context = settings.ssl_context()
    if settings.kafka_protocol.startswith("SASL"):
        return SASLCredentials(
            username=settings.kafka_username, password=settings.kafka_password, mechanism=settings.kafka_sasl_mechanism, ssl_context=context
        )
    return SSLCredentials(context) if context else None


def die(reason: str, code: int = FATAL) -> NoReturn:
    """Log and end the process at once: no tidying up could acknowledge what was not finished."""
    log.critical("stopping: %s", reason, exc_info=True)
    logging.shutdown()
    os._exit(code)


async def retry(what: str, call: Callable[[], Awaitable[T]], *, first_s: float = 0.05, longest_s: float = 5.0) -> T:
    """Await ``call()`` until it succeeds; an error that says ``retriable`` is weather, any other is raised.

    The agent waits meanwhile: Kafka is not read, so nothing piles up.
    """
    delay, since, logged = first_s, time.monotonic(), 0.0
    while True:
        try:
            result = await call()
        except Exception as error:
            if not getattr(error, "retriable", False):
                raise
            now = time.monotonic()
            if now - logged > longest_s:
                log.warning("%s: %s; tried for %.1f s, trying on", what, error, now - since)
                logged = now
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest_s)
        else:
            if logged:
                log.warning("%s: back after %.1f s", what, time.monotonic() - since)
            return result


async def _done(step: "asyncio.Task[None] | None") -> None:
    """Wait for a step; raises what it raised, so that nothing overtakes a step that has failed."""
    if step is not None:
        await asyncio.shield(step)


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


def run(app: App, *, loglevel: str = "INFO") -> NoReturn:
    """Run an app as a worker until it is told to stop; ends the process, at once where no broker answers."""
    try:  # Faust would end too, with a page of its own insides
        AdminClient({**app.gnomon.librdkafka(), "log_level": 0}).list_topics(timeout=ANSWER_S)
    except KafkaException as error:
        where = f"Kafka at {app.gnomon.kafka}: {error.args[0]}"
        print(f"gnomon: {where}; is GNOMON_KAFKA right, and does the broker run? Try: gnomon doctor", file=sys.stderr)
        raise SystemExit(FATAL) from None
    faust.Worker(app, loglevel=loglevel, quiet=True).execute_from_commandline()
    raise SystemExit(0)
