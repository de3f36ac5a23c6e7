"""The topics: what each is for, how many partitions it has, how long it keeps what."""

from dataclasses import dataclass

from schemas.findings import EventType
from streams.producer import MAX_MESSAGE_BYTES
from streams.settings import DAY_MS, Settings

SOURCES = ("predictions", "outcomes", "control")  # what the join reads
TIMED = ("predictions", "outcomes")  # those whose event times the watch's clock follows
SCORED = "scored"
AUDIT = "audit"
FOREVER = -1
_KINDS = {"drift": "drift", "fatigue": "fatigue", "retrain": "retrain", "budget": "drift", "statistics": "statistics"}
EVENT_TOPICS = {event: _KINDS[event.value.split(".")[1]] for event in EventType}  # where each type of event goes


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic. ``name`` is the logical name; ``Settings.topic`` gives the one in Kafka."""

    name: str
    doc: str
    partitions: int
    retention_ms: int
    max_message_bytes: int = 1 << 20
    fixed: bool = False  # its partition count may never change
    append_time: bool = False  # records carry the broker's clock, which no producer can put forward
    replication: int = -1
    cleanup: str = "delete"

    def config(self) -> dict[str, str]:
        """Return the topic's settings in Kafka, all as text."""
        config = {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "LogAppendTime" if self.append_time else "CreateTime",
        }
        if self.replication >= 3:
            config["min.insync.replicas"] = str(self.replication - 1)
        return config


def topics(settings: Settings) -> dict[str, Topic]:
    """Return every topic by its logical name.

    >>> [topic.name for topic in topics(Settings()).values() if topic.fixed]
    ['control', 'scored']
    """
    sources, scored, events = (
        int(days * DAY_MS) for days in (settings.source_retention_days, settings.scored_retention_days, settings.event_retention_days)
    )
    message = settings.max_message_bytes + (64 << 10)  # room for headers: what is just too large must arrive, to be a dead letter
    made = [
        Topic(name="predictions", doc="what models claim", partitions=settings.source_partitions, retention_ms=sources, append_time=True),
        Topic(name="outcomes", doc="what turned out", partitions=settings.source_partitions, retention_ms=sources, append_time=True),
        # One partition: an acknowledgement comes after the policy it follows.
        Topic(name="control", doc="what people decide", partitions=1, retention_ms=events, fixed=True, append_time=True),
        Topic(
            name=SCORED,
            doc="signed rows by model, between join and watch",
            partitions=settings.scored_partitions,
            retention_ms=scored,
            max_message_bytes=MAX_MESSAGE_BYTES,
            fixed=True,
        ),
        Topic(name="drift", doc="drift events", partitions=1, retention_ms=events),
        Topic(name="fatigue", doc="alert-fatigue events", partitions=1, retention_ms=events),
        Topic(name="retrain", doc="retrain requests", partitions=1, retention_ms=events),
        Topic(name="statistics", doc="statistics for dashboards", partitions=settings.scored_partitions, retention_ms=events),
        Topic(name="dead-letters", doc="what could not be read, and why", partitions=1, retention_ms=events),
        Topic(name=AUDIT, doc="policies, baselines, alarms and decisions, kept for ever", partitions=1, retention_ms=FOREVER),
    ]
    # A payload grows by a third in base64; a line of the audit trail may hold a whole policy.
    sizes = dict.fromkeys(SOURCES, message) | {"dead-letters": 2 * message, AUDIT: 2 * message}
    return {
        topic.name: _with(topic, replication=settings.replication, max_message_bytes=sizes.get(topic.name, topic.max_message_bytes))
        for topic in made
    }


def _with(topic: Topic, *, replication: int, max_message_bytes: int) -> Topic:
    return Topic(**{**topic.__dict__, "replication": replication, "max_message_bytes": max_message_bytes})
