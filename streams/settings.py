"""Every setting, once: its name in the environment, what it does, its default. Nothing else reads the environment."""
# ruff: noqa: RUF009  ``setting`` is dataclasses.field with metadata; it makes no value that instances would share

import difflib
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from streams import redis_url
from streams.setting_text import SettingsError, parse, show, text_of

MASK = "***"
DAY_MS = 86_400_000


class Row(NamedTuple):
    """One line of the table of settings."""

    name: str
    env: str
    default: str
    secret: bool
    doc: str


def setting(env: str, doc: str, default: Any = MISSING, *, secret: bool = False, choices: tuple[str, ...] = ()) -> Any:
    """Declare a field of ``Settings``."""
    return field(default=default, repr=not secret, metadata={"env": env, "doc": doc, "secret": secret, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a worker needs to know of its surroundings. How models are watched is policy, not a setting.

    Secrets do not show in ``repr``. Each may be given by value, by ``<NAME>_FILE``, or as a file of its field's name in the secrets folder.

    >>> Settings.from_env({"GNOMON_KAFKA": "broker:9092", "GNOMON_IDLE_TIMEOUT_MS": "never"}).idle_timeout_ms is None
    True
    >>> Settings.from_env({"GNOMON_SCORED_PARTITIONS": "many"})
    Traceback (most recent call last):
    streams.setting_text.SettingsError: GNOMON_SCORED_PARTITIONS: expected a whole number, got 'many'
    """

    kafka: str = setting("GNOMON_KAFKA", "Kafka's bootstrap servers, host:port with commas between", "localhost:9092")
    kafka_protocol: str = setting(
        "GNOMON_KAFKA_PROTOCOL",
        "how brokers are spoken to",
        "PLAINTEXT",
        choices=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    )
    kafka_sasl_mechanism: str = setting(
        "GNOMON_KAFKA_SASL_MECHANISM", "how SASL proves who we are", "SCRAM-SHA-512", choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    )
    kafka_username: str = setting("GNOMON_KAFKA_USERNAME", "SASL user", "")
    kafka_password: str = setting("GNOMON_KAFKA_PASSWORD", "SASL password", "", secret=True)
    kafka_ca_file: Path | None = setting("GNOMON_KAFKA_CA_FILE", "certificates that sign the brokers' (PEM); default: the system's", None)
    kafka_cert_file: Path | None = setting("GNOMON_KAFKA_CERT_FILE", "our certificate, for mutual TLS (PEM)", None)
    kafka_key_file: Path | None = setting("GNOMON_KAFKA_KEY_FILE", "the key of our certificate (PEM)", None)
    kafka_key_password: str = setting("GNOMON_KAFKA_KEY_PASSWORD", "password of that key", "", secret=True)
    redis: str = setting(
        "GNOMON_REDIS",
        "Redis URL: redis://, rediss:// (TLS), unix://; redis+cluster:// and rediss+cluster:// with any nodes of a cluster, "
        "host:port with commas between; memory:// keeps all in one worker's memory, for a look",
        "redis://localhost:6379/0",
        secret=True,
    )
    redis_wait_replicas: int = setting(
        "GNOMON_REDIS_WAIT_REPLICAS", "replicas that must have a write before it counts as durable; not with a cluster", 0
    )
    policy: Path | None = setting("GNOMON_POLICY", "the policy file (TOML); default: built-in policy for every model", None)
    prefix: str = setting("GNOMON_PREFIX", "what the names of topics, groups and keys begin with", "gnomon.")
    secrets_dir: Path | None = setting("GNOMON_SECRETS_DIR", "a folder with one file per secret, named as its field here", None)
    secret_key: str = setting(
        "GNOMON_SECRET_KEY",
        "key of the hash that hides request ids in Redis; the same for all workers, for the life of the state",
        "",
        secret=True,
    )
    instance_id: str = setting(
        "GNOMON_INSTANCE_ID",
        "a name of this worker that outlives its restarts and no other has: a restart within the session timeout moves no partition",
        "",
    )
    source_partitions: int = setting("GNOMON_SOURCE_PARTITIONS", "partitions of the topics that `provision` makes", 8)
    scored_partitions: int = setting("GNOMON_SCORED_PARTITIONS", "partitions of the scored topic; fixed for the life of the state", 8)
    replication: int = setting("GNOMON_REPLICATION", "replicas of a new topic; -1: the broker's default", -1)
    source_retention_days: float = setting("GNOMON_SOURCE_RETENTION_DAYS", "how long predictions, outcomes and control are kept", 7.0)
    scored_retention_days: float = setting(
        "GNOMON_SCORED_RETENTION_DAYS", "how long scored records are kept: what `explain` can replay", 30.0
    )
    event_retention_days: float = setting(
        "GNOMON_EVENT_RETENTION_DAYS", "how long findings, statistics and dead letters are kept; the audit trail is kept for ever", 90.0
    )
    max_message_bytes: int = setting(
        "GNOMON_MAX_MESSAGE_BYTES", "the largest source message that is decoded; beyond: a dead letter", 1 << 20
    )
    dead_letter_payload: bool = setting(
        "GNOMON_DEAD_LETTER_PAYLOAD", "put the payload of a dead letter beside its hash and reason; payloads may be personal data", False
    )
    max_skew_ms: int = setting("GNOMON_MAX_SKEW_MS", "how far an event time may lie after its Kafka record's own timestamp", DAY_MS)
    pending_max_age_days: float = setting(
        "GNOMON_PENDING_MAX_AGE_DAYS", "how long a prediction waits for outcomes where the policy sets no horizon", 60.0
    )
    outage_days: float = setting("GNOMON_OUTAGE_DAYS", "the longest outage to survive: added to what Redis keeps", 7.0)
    idle_timeout_ms: int | None = setting(
        "GNOMON_IDLE_TIMEOUT_MS", "how long a partition is read to its end before its clock follows the worker's; or `never`", 30_000
    )
    tick_interval_ms: int = setting("GNOMON_TICK_INTERVAL_MS", "how often a join worker says how far event time has come", 250)
    flush_interval_ms: int = setting("GNOMON_FLUSH_INTERVAL_MS", "how often a watch worker writes its checkpoint", 1_000)
    commit_interval_ms: int = setting("GNOMON_COMMIT_INTERVAL_MS", "how often Kafka offsets are committed", 1_000)
    session_timeout_ms: int = setting("GNOMON_SESSION_TIMEOUT_MS", "a worker silent for this long loses its partitions", 10_000)
    drain_timeout_ms: int = setting(
        "GNOMON_DRAIN_TIMEOUT_MS", "a worker that is told to stop exits within this time, drained or not", 20_000
    )
    guard_interval_ms: int = setting("GNOMON_GUARD_INTERVAL_MS", "how often topics are checked for re-creation", 10_000)
    http_host: str = setting(
        "GNOMON_HTTP_HOST", "where workers serve metrics and health, to anyone who can reach it: without password or TLS", "127.0.0.1"
    )
    join_http_port: int = setting("GNOMON_JOIN_HTTP_PORT", "port of the join worker's metrics and health; 0: none", 0)
    watch_http_port: int = setting("GNOMON_WATCH_HTTP_PORT", "port of the watch worker's metrics and health; 0: none", 0)
    forward_url: str = setting(
        "GNOMON_FORWARD_URL",
        "the URL that `forward` sends to, where it is a secret or is not to stand on the command line",
        "",
        secret=True,
    )
    forward_token: str = setting("GNOMON_FORWARD_TOKEN", "bearer token that `forward` shows to its target", "", secret=True)
    forward_username: str = setting("GNOMON_FORWARD_USERNAME", "user of basic authentication with the target of `forward`", "")
    forward_password: str = setting("GNOMON_FORWARD_PASSWORD", "its password", "", secret=True)
    forward_signing_key: str = setting(
        "GNOMON_FORWARD_SIGNING_KEY", "key that `forward webhook` signs with: whsec_ and base64 of 24 to 64 random bytes", "", secret=True
    )
    forward_ca_file: Path | None = setting(
        "GNOMON_FORWARD_CA_FILE", "certificates that sign the target's (PEM); default: the system's", None
    )
    forward_http_port: int = setting("GNOMON_FORWARD_HTTP_PORT", "port of the metrics and health of `forward`; 0: none", 0)
    stall_timeout_ms: int = setting(
        "GNOMON_STALL_TIMEOUT_MS", "a worker that commits nothing for this long, while it could, is not live; a minute or more", 120_000
    )
    batch_records: int = setting("GNOMON_BATCH_RECORDS", "records that one step handles at most", 16_000)
    data_dir: Path = setting("GNOMON_DATA_DIR", "a folder that a worker may write to", Path(tempfile.gettempdir()) / "gnomon")
    mock: bool = setting("GNOMON_MOCK", "the broker is librdkafka's mock: topics cannot be described there", False)
    crash_at: str = setting("CRASH_AT", "tests only: exit at the n-th passing of a crash point, `name:n`", "")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings from an environment, by default the process's own.

        Raises
        ------
        SettingsError
            If a value is not of its type or not allowed, or a secret's file cannot be read.

        """
        environ = os.environ if environ is None else environ
        secrets = environ.get("GNOMON_SECRETS_DIR")
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = text_of(item.name, item.metadata, environ, Path(secrets) if secrets else None)
            if text is not None:
                values[item.name] = parse(item.metadata["env"], text, item.type, item.metadata["choices"])
        settings = cls(**values)
        settings.check()
        return settings

    def check(self) -> None:
        """Raise ``SettingsError`` where settings contradict each other."""
        if self.kafka_protocol.startswith("SASL") and not (self.kafka_username and self.kafka_password):
            raise SettingsError(f"GNOMON_KAFKA_PROTOCOL is {self.kafka_protocol}: set GNOMON_KAFKA_USERNAME and GNOMON_KAFKA_PASSWORD")
        self._check_redis()
        positive = (
            "source_partitions",
            "scored_partitions",
            "max_message_bytes",
            "batch_records",
            "tick_interval_ms",
            "session_timeout_ms",
        )
        for name in (*positive, "stall_timeout_ms"):
            if getattr(self, name) < 1:
                raise SettingsError(f"GNOMON_{name.upper()}: expected 1 or more, got {getattr(self, name)}")

        for name in ("join_http_port", "watch_http_port", "forward_http_port"):
            if not 0 <= getattr(self, name) < 1 << 16:
                raise SettingsError(f"GNOMON_{name.upper()}: expected a port, 0 to 65535, got {getattr(self, name)}")
        if 0 != self.join_http_port == self.watch_http_port:
            raise SettingsError(
                f"GNOMON_JOIN_HTTP_PORT and GNOMON_WATCH_HTTP_PORT are both {self.join_http_port}: each worker needs its own"
            )

    def _check_redis(self) -> None:
        try:
            place = redis_url.read(self.redis)
        except ValueError as error:
            raise SettingsError(f"GNOMON_REDIS: {error}") from None
        if place.nodes and self.redis_wait_replicas:
            raise SettingsError("GNOMON_REDIS_WAIT_REPLICAS is for one server: GNOMON_REDIS names a cluster; leave one of them out")

    @property
    def in_memory(self) -> bool:
        """Whether there is no Redis: nothing outlives the worker, and there can be one worker only."""
        return self.redis.startswith("memory:")

    def topic(self, name: str) -> str:
        """Return the name in Kafka of a topic, or of a consumer group.

        >>> Settings(prefix="eu.").topic("scored")
        'eu.scored'
        """
        return self.prefix + name

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context of Faust's consumer; None where brokers are spoken to without TLS."""
        if not self.kafka_protocol.endswith("SSL"):
            return None
        context = ssl.create_default_context(cafile=str(self.kafka_ca_file) if self.kafka_ca_file else None)
        if self.kafka_cert_file:
            context.load_cert_chain(self.kafka_cert_file, self.kafka_key_file, self.kafka_key_password or None)
        return context

    def librdkafka(self) -> dict[str, str | int | float | bool]:
        """Return the connection settings of confluent-kafka's clients."""
        config: dict[str, str | int | float | bool] = {"bootstrap.servers": self.kafka, "security.protocol": self.kafka_protocol}
        if self.kafka_protocol.startswith("SASL"):
            config["sasl.mechanism"] = self.kafka_sasl_mechanism
            config["sasl.username"] = self.kafka_username
            config["sasl.password"] = self.kafka_password
        files = {
            "ssl.ca.location": self.kafka_ca_file,
            "ssl.certificate.location": self.kafka_cert_file,
            "ssl.key.location": self.kafka_key_file,
        }
        config.update({name: str(path) for name, path in files.items() if path})
        if self.kafka_key_password:
            config["ssl.key.password"] = self.kafka_key_password
        return config

    def shown(self) -> dict[str, str]:
        """Return every setting as text, secrets masked."""
        return {
            item.name: MASK if item.metadata["secret"] and getattr(self, item.name) else show(getattr(self, item.name))
            for item in fields(self)
        }


def describe() -> list[Row]:
    """Return the table of settings, for the docs and the command line.

    >>> describe()[0].env, describe()[0].default
    ('GNOMON_KAFKA', 'localhost:9092')
    """
    return [
        Row(item.name, item.metadata["env"], show(item.default), item.metadata["secret"], item.metadata["doc"]) for item in fields(Settings)
    ]


def child_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process: ours without our settings, and these instead.

    >>> sorted(name for name in child_environment({"GNOMON_MOCK": "true"}) if name.startswith("GNOMON_"))
    ['GNOMON_MOCK']
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("GNOMON_")} | dict(values)


def unknown(environ: Mapping[str, str] | None = None, known: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the variables that look like settings and are none, each with the nearest one that is (or an empty string).

    By default those of the process's own environment.

    >>> unknown({"GNOMON_KAFAK": "x", "HOME": "/"})
    {'GNOMON_KAFAK': 'GNOMON_KAFKA'}
    """
    environ = os.environ if environ is None else environ
    names = {row.env for row in describe()} | {f"{row.env}_FILE" for row in describe() if row.secret} | set(known)
    strangers = sorted(name for name in environ if name.startswith("GNOMON_") and name not in names)
    return {name: next(iter(difflib.get_close_matches(name, sorted(names), 1)), "") for name in strangers}
