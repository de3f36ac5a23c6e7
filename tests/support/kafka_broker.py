"""A real Kafka broker for the tests: from Maven's jars where Java is installed, else by Docker Compose.

The jars are resolved once into ``.cache/kafka`` (or ``$GNOMON_CACHE/kafka``); a broker is then up in about four seconds. It can be
killed and started again on the same data and port, which no mock can.
"""

import atexit
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from support.ports import free_port

HERE = Path(__file__).parent / "kafka"
ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
JVM = [
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
]
HOW_TO = (
    "no Kafka broker for the integration tests: neither Java 17 with Maven nor a Docker engine answers. "
    "On Debian: apt-get install default-jre-headless maven (`make test` does it as root)."
)


class NoBrokerError(RuntimeError):
    """Nothing here can run a broker; the message says how to enable one."""


def cache_folder() -> Path:
    """Return the folder that keeps Kafka's jars between runs."""
    return Path(os.environ.get("GNOMON_CACHE", ROOT / ".cache")).resolve() / "kafka"


def resolve_jars() -> Path:
    """Return a folder with the jars of the broker, fetched with Maven where they are missing."""
    pom = (HERE / "pom.xml").read_bytes()
    folder = cache_folder() / hashlib.sha256(pom).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs side by side fetch once
        if not (folder / "complete").exists():
            command = [
                "mvn",
                "-q",
                "-B",
                "-f",
                str(HERE / "pom.xml"),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={folder / 'lib'}",
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                raise NoBrokerError(f"Maven could not resolve Kafka's jars:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            (folder / "complete").touch()
    return folder / "lib"


class Broker:
    """One broker that keeps its port and its data over ``kill`` and ``start``."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="gnomon-kafka-"))
        atexit.register(self.close)

    def start(self) -> None:
        """Start and wait until a topic can be created."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop in good order."""
        raise NotImplementedError

    def kill(self) -> None:
        """Stop at once, as a crash does."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop at once and remove the data; also called when the interpreter exits."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def admin(self) -> AdminClient:
        """Return an admin client of this broker."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def create_topics(self, topics: dict[str, int], config: dict[str, str] | None = None) -> None:
        """Create topics by name and partition count."""
        new = [NewTopic(name, num_partitions=count, replication_factor=1, config=config or {}) for name, count in topics.items()]
        admin = self.admin()  # kept: a client that is collected fails its requests
        for future in admin.create_topics(new, operation_timeout=30).values():
            future.result(30)

    def delete_topics(self, *names: str) -> None:
        """Delete topics and wait until the broker has forgotten them."""
        admin = self.admin()
        for future in admin.delete_topics(list(names), operation_timeout=30).values():
            future.result(30)
        deadline = time.monotonic() + 30
        while set(names) & set(admin.list_topics(timeout=10).topics):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still there: {names}")
            time.sleep(0.05)

    def _wait(self, check: Callable[[], None]) -> None:
        """Wait until a topic can be created; ``check`` raises when waiting is in vain."""
        deadline = time.monotonic() + START_TIMEOUT_S
        admin = self.admin()
        while True:
            check()
            probe = f"probe-{time.time_ns()}"  # a new one each time: one that was made too slowly would be there already
            try:
                admin.create_topics([NewTopic(probe, 1, 1)], request_timeout=2)[probe].result(3)
                admin.delete_topics([probe])[probe].result(10)
            except (KafkaException, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


class JarBroker(Broker):
    """A broker started from Maven's jars."""

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.classpath = f"{resolve_jars()}/*"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.folder / "broker.log"
        properties = (HERE / "server.properties").read_text()
        fields = {"PORT": str(self.port), "CONTROLLER_PORT": str(free_port()), "DATA": str(self.folder / "data")}
        for name, value in fields.items():
            properties = properties.replace(f"@{name}@", value)
        self.properties = self.folder / "server.properties"
        self.properties.write_text(properties)
        cluster_id = self._java("kafka.tools.StorageTool", "random-uuid").strip().splitlines()[-1]  # log lines come first
        self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self.properties), "--ignore-formatted")

    def start(self) -> None:
        command = [
            "java",
            *JVM,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            self.classpath,
            "kafka.Kafka",
            str(self.properties),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait(self._check_alive)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _check_alive(self) -> None:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"the broker exited at start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def _java(self, *arguments: str) -> str:
        command = ["java", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", self.classpath, *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout


class ComposeBroker(Broker):
    """The same broker as a container, where a Docker engine answers."""

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.project = f"gnomon-test-{self.port}"

    def start(self) -> None:
        self._compose("up", "-d", "kafka")
        self._wait(lambda: None)

    def stop(self) -> None:
        self._compose("stop", "kafka")

    def kill(self) -> None:
        self._compose("kill", "kafka")

    def close(self) -> None:
        self._compose("down", "--volumes")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _compose(self, *arguments: str) -> None:
        environment = {**os.environ, "GNOMON_TEST_KAFKA_PORT": str(self.port)}
        command = ["docker", "compose", "-p", self.project, "-f", str(HERE / "compose.yaml"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise NoBrokerError(f"docker compose {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")


def new_broker(port: int | None = None) -> Broker:
    """Return a broker that is not started yet, on a port that is free or the one that is asked for.

    Raises
    ------
    NoBrokerError
        Where neither Java with Maven nor a Docker engine is to be had.
    """
    jars = cache_folder()
    if shutil.which("java") and (shutil.which("mvn") or any(jars.glob("*/complete"))):
        return JarBroker(port)
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False).returncode == 0:
        return ComposeBroker(port)
    raise NoBrokerError(HOW_TO)
