"""The AsyncAPI 3 document: every topic, what is on it, and who writes and reads it.

Payloads are the JSON Schemas of the records, topics and their settings those that ``gnomon provision`` makes, so nothing is said twice.
"""

import json
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from schemas.findings import DATA, JSON, SOURCE, EventType
from schemas.json_schemas import RECORDS, schemas
from streams.settings import Settings
from streams.topics import EVENT_TOPICS, SCORED, SOURCES, Topic, topics

Json = dict[str, Any]

BINDING = "0.5.0"  # of AsyncAPI's Kafka bindings
TITLES = {record.__name__: f"{name}.schema.json" for name, record in RECORDS.items()}
WRITERS = {"dead-letters": "join", SCORED: "join"}
_INFO = """\
Gnomon joins what models claim (`predictions`) with what turned out (`outcomes`) and publishes where the two part, as CloudEvents in the
binary mode of their Kafka binding: attributes in headers, data in the value. For optional fields of records null is the same as absent;
unknown fields are ignored. Actions are Gnomon's: what it receives is for others to send."""
_SCORED = """\
Internal, between join and watch: MessagePack, signed rows in columns with one message per model and batch, watermark ticks, and forwarded
control records. Its form may change with any version; nobody else should read it, and nobody else may write it."""


class On(NamedTuple):
    """What stands on a topic that carries records, not events."""

    record: str  # its name in ``schemas.json_schemas.RECORDS``
    key: str | None = None  # what the message's key is; None: it has none
    headers: tuple[str, ...] = ()


RECORDS_ON = {
    "predictions": On(
        "prediction", "Any or none: records are joined by request id, on whatever partition they are. The client sends that id."
    ),
    "outcomes": On("outcome", "Any or none, as for predictions."),
    "control": On("control"),
    "dead-letters": On("dead-letter", headers=("content-type",)),
    "audit": On("audit", "The model's id; empty: said to every model.", headers=("content-type",)),
}
MODEL_KEY = "The model's id."


def document(settings: Settings | None = None, examples: Mapping[str, Json] | None = None) -> Json:
    """Return the document for these settings, by default the built-in ones.

    Parameters
    ----------
    settings
        Prefix, brokers, partitions and retention of the topics.
    examples
        Example records by name: ``prediction.full.v1`` is one of ``Prediction``, ``event.drift.opened.v1`` one of that event, whole.

    >>> made = document(Settings(prefix="eu."))
    >>> made["channels"]["drift"]["address"], made["operations"]["receive-outcomes"]["action"]
    ('eu.drift', 'receive')

    """
    settings = settings or Settings()
    components = _Components(examples or {})
    channels = {name: _channel(settings, topic, components) for name, topic in topics(settings).items()}
    return {
        "asyncapi": "3.0.0",
        "id": "urn:gnomon",
        "info": {
            "title": "Gnomon",
            "version": version("gnomon"),
            "description": _one_line(_INFO),
            "license": {"name": "Apache-2.0"},
            "tags": [{"name": "drift"}, {"name": "model-monitoring"}],
        },
        "defaultContentType": JSON,
        "servers": {f"kafka-{number}": _server(settings, host) for number, host in enumerate(settings.kafka.split(","), start=1)},
        "channels": channels,
        "operations": _operations(settings, channels),
        "components": {"messages": components.messages, "schemas": dict(sorted(components.schemas.items()))},
    }


def to_text(made: Json) -> str:
    """Return the document as it stands in its file."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _server(settings: Settings, host: str) -> Json:
    return {"host": host.strip(), "protocol": "kafka-secure" if settings.kafka_protocol.endswith("SSL") else "kafka"}


def _channel(settings: Settings, topic: Topic, components: "_Components") -> Json:
    config = topic.config()
    binding = {
        "topic": settings.topic(topic.name),
        "partitions": topic.partitions,
        **({"replicas": topic.replication} if topic.replication > 0 else {}),
        "topicConfiguration": {
            "cleanup.policy": config["cleanup.policy"].split(","),
            "retention.ms": int(config["retention.ms"]),
            "max.message.bytes": int(config["max.message.bytes"]),
        },
        "bindingVersion": BINDING,
    }
    names = components.of_topic(topic.name)
    return {
        "address": settings.topic(topic.name),
        "title": topic.name,
        "description": f"{topic.doc[0].upper()}{topic.doc[1:]}." + ("" if names else " Nothing is written there yet."),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"kafka": binding},
    }


def _operations(settings: Settings, channels: Mapping[str, Json]) -> Json:
    """Return who of ours receives from and sends to each channel: one operation per stage and direction."""
    made: Json = {}

    def add(name: str, action: str, stage: str, channel: str) -> None:
        bindings = {"groupId": {"type": "string", "enum": [settings.topic(stage)]}} if action == "receive" else {}
        made[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "title": name.replace("-", " "),
            "summary": f"The {stage} {'reads' if action == 'receive' else 'writes'} {channel}.",
            "bindings": {"kafka": {**bindings, "bindingVersion": BINDING}},
        }

    for channel, made_of in channels.items():
        if channel in SOURCES:
            add(f"receive-{channel}", "receive", "join", channel)
        elif made_of["messages"]:
            add(f"send-{channel}", "send", WRITERS.get(channel, "watch"), channel)
    add(f"receive-{SCORED}", "receive", "watch", SCORED)
    return made


class _Components:
    """Messages and schemas, each once, filled as channels ask for them."""

    def __init__(self, examples: Mapping[str, Json]) -> None:
        self._examples = examples
        self._files = schemas()
        self.messages: Json = {}
        self.schemas: Json = {}

    def of_topic(self, topic: str) -> list[str]:
        """Return the names of the messages of a topic."""
        if topic in RECORDS_ON:
            return [self._record(RECORDS_ON[topic], many=topic in SOURCES)]
        if topic == SCORED:
            self.messages[SCORED] = {
                "name": SCORED,
                "title": "scored rows, ticks and forwarded control records",
                "contentType": "application/msgpack",
                "summary": _one_line(_SCORED),
                "payload": {"description": "MessagePack; not for others"},
                "bindings": _bindings(f"{MODEL_KEY} None for ticks."),
            }
            return [SCORED]
        return [self._event(event) for event in EventType if EVENT_TOPICS[event] == topic]

    def _record(self, on: On, *, many: bool) -> str:
        name, title = on.record, RECORDS[on.record].__name__
        one = self._schema(title)
        headers = {header: {"type": "string", "const": JSON} for header in on.headers}
        self.messages[name] = {
            "name": name,
            "title": title,
            "summary": self._files[TITLES[title]]["description"] + (" Or an array of them, in one message." if many else ""),
            "contentType": JSON,
            **({"headers": {"type": "object", "properties": headers}} if headers else {}),
            "payload": {"oneOf": [one, {"type": "array", "items": one}]} if many else one,
            "bindings": _bindings(on.key),
            "examples": [{"name": found, "payload": example} for found, example in self._named(name)],
        }
        return name

    def _event(self, event: EventType) -> str:
        name = event.value
        title = DATA[event].__name__
        self.messages[name] = {
            "name": name,
            "title": name,
            "summary": self._files[TITLES[title]]["description"],
            "contentType": JSON,
            "headers": _event_headers(event),
            "payload": self._schema(title),
            "bindings": _bindings(MODEL_KEY),
            "examples": [
                {
                    "name": found,
                    "headers": {f"ce_{key}": value for key, value in example.items() if key not in ("data", "datacontenttype")}
                    | {"content-type": example["datacontenttype"]},
                    "payload": example["data"],
                }
                for found, example in self._named(f"event.{name.removeprefix('gnomon.')}")
            ],
        }
        return name

    def _named(self, prefix: str) -> Iterable[tuple[str, Json]]:
        return ((name, self._examples[name]) for name in sorted(self._examples) if name.startswith(f"{prefix}."))

    def _schema(self, title: str) -> Json:
        """Return a reference to a record's schema, which is put in with all that it refers to."""
        if title not in self.schemas:
            schema = self._files[TITLES[title]]
            for name, part in {title: schema, **schema.get("$defs", {})}.items():
                own = _as_draft_07({key: value for key, value in part.items() if key not in ("$schema", "$id", "$defs")})
                if self.schemas.setdefault(name, own) != own:
                    raise ValueError(f"two schemas are named {name}: rename one of the structs")
        return {"$ref": f"#/components/schemas/{title}"}


def _bindings(key: str | None) -> Json:
    return {"kafka": {**({"key": {"type": "string", "description": key}} if key else {}), "bindingVersion": BINDING}}


def _event_headers(event: EventType) -> Json:
    texts = {
        "id": "the same for a finding that is repeated",
        "subject": "model_id/model_version",
        "time": "the event time at which it was found",
    }
    properties: Json = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_type": {"type": "string", "const": event.value},
        "ce_source": {"type": "string", "examples": [SOURCE]},
        **{f"ce_{name}": {"type": "string", "description": text, "minLength": 1} for name, text in texts.items()},
        "content-type": {"type": "string", "const": JSON},
    }
    properties["ce_time"]["format"] = "date-time"
    return {"type": "object", "required": sorted(properties), "properties": properties}


def _as_draft_07(value: Any) -> Any:
    """Return a schema of draft 2020-12 in AsyncAPI's own dialect, a superset of draft 07.

    >>> _as_draft_07({"prefixItems": [{"type": "integer"}], "items": False})
    {'additionalItems': False, 'items': [{'type': 'integer'}]}
    >>> _as_draft_07({"$ref": "#/$defs/Window", "description": "when"})
    {'allOf': [{'$ref': '#/components/schemas/Window'}], 'description': 'when'}
    """
    if isinstance(value, list):
        return [_as_draft_07(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _as_draft_07(each) for key, each in value.items()}
    if "prefixItems" in made:
        if "items" in made:
            made["additionalItems"] = made.pop("items")
        made["items"] = made.pop("prefixItems")
    if isinstance(made.get("$ref"), str):
        reference = {"$ref": re.sub(r"^#/\$defs/", "#/components/schemas/", made.pop("$ref"))}
        return {"allOf": [reference], **made} if made else reference  # beside a reference nothing else is read
    return made


def _one_line(text: str) -> str:
    return " ".join(text.split())
