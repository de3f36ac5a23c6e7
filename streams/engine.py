"""The one seam to Faust: its settings, its traps and how each is kept from biting.

Faust brings consumer groups, rebalancing and commits. What it does not bring, or does wrong for a service that may lose nothing, is
worked around here, in ``streams.agent`` and in ``streams.batches``; each workaround says why, and ``tests/integration/test_engine.py``
shows it on a real broker.
"""

import gc
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, NoReturn

import faust
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from faust.auth import SASLCredentials, SSLCredentials

from streams.beside import Beside
from streams.heap import keep_trimmed, one_heap
from streams.settings import Settings

log = logging.getLogger(__name__)

TESTED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "mode-streaming": "0.7.1"}
FATAL = 70  # exit code: stopped with nothing acknowledged; start it again
REFUSED = 78  # exit code: something must be put right first; the log says what
ANSWER_S = 10.0  # how long a broker may take to answer at the start
YOUNG = 250_000  # objects made before the collector looks for cycles among them
QUEUE_BATCHES = 32  # batches waiting in a worker, beyond those being handled


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

    async def on_started(self) -> None:
        """Begin the work: by now all modules are loaded."""
        await super().on_started()
        spare_collector()
        self.add_future(keep_trimmed())

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
    one_heap()
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


def spare_collector() -> None:
    """Let Python's collector of cycles leave alone what stands by now, and look less often.

    A batch is made of thousands of small objects that live as long as it does. Left alone the collector takes them for a heap that grows,
    and walks through all that was ever loaded every few batches: 2.3 of the 2.6 µs that reading a Kafka record took.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 10, 10)


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
