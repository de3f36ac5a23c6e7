"""What the reference says of records and of the report, field by field from their JSON Schemas."""

from collections.abc import Iterator, Mapping
from typing import Any

PARTS = (  # of the report, as its page has them
    "JoinCounts",
    "ModelReport",
    "SegmentFigures",
    "AgedFigures",
    "Rung",
    "Bin",
    "Interval",
    "MonitorState",
    "Claim",
    "ErrorInterval",
    "RetrainState",
    "FeatureWatch",
    "RegressionFigures",
    "Comparison",
    "CheckFigures",
    "CheckWatch",
    "ProbeWatch",
    "ProbeBand",
    "AmountBand",
    "Confusion",
    "ClassFigures",
    "ClassPair",
    "LabelReport",
    "ScoreCoverage",
    "ActionCoverage",
    "StratumMaturity",
    "AgeShare",
    "Decay",
    "DecayWeek",
    "FatigueFigures",
    "AlertFigures",
    "AlarmFigures",
)
EXAMPLES: dict[str, dict[str, Any]] = {
    "prediction": {
        "request_id": "loan-8812",
        "model_id": "fraud",
        "model_version": "7",
        "timestamp": "2026-01-02T03:04:05Z",
        "score": 0.91,
        "predicted_label": 1,
        "subgroups": {"country": "NL", "channel": "web"},
        "amount": 1250.0,
        "alerted": True,
        "unit": "desk-3",
    },
    "outcome": {
        "request_id": "loan-8812",
        "timestamp": "2026-02-11T09:00:00Z",
        "true_label": 0,
        "action_taken": "dismissed",
        "review_seconds": 240,
    },
    "control": {"type": "ack", "incident_id": "fraud-7-1", "by": "ada", "at": "2026-02-11T10:00:00Z"},
}
INTRODUCTION = """\
JSON, one object or an array of them per Kafka message; in files one message per line. Unknown fields are ignored, and for optional fields
null is the same as absent. Times are RFC 3339 with a zone, or epoch milliseconds. A record that cannot be read becomes a dead letter with
its reason and the path of the fault, and is counted. The JSON Schemas are in `schemas/json`; `gnomon schemas DIR` writes them.

All topics, what stands on each, with its key, headers and examples, are described by an [AsyncAPI 3 document](asyncapi.json), from which
clients and other docs can be made. `gnomon schemas --asyncapi FILE` writes one with the names and brokers of your own settings."""
EVENTS = """\
Events are [CloudEvents 1.0](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md): on Kafka in binary mode (attributes as
headers `ce_*`), in files as JSON, one a line. `subject` is `model_id/model_version`, `time` the event time at which it was found. `id` is
deterministic: a finding that is repeated after a crash has the same id, so consumers can drop the second."""


def fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield of each field its name, its type, whether it is required, and what it is."""
    required = set(schema.get("required", ()))
    for name, part in schema["properties"].items():
        yield name, _type(part), "required" if name in required else "", part.get("description", "")


def beyond(schema: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with the fields that another has not."""
    return {"properties": {name: part for name, part in schema["properties"].items() if name not in base["properties"]}}


def _type(part: Mapping[str, Any]) -> str:
    """Return a field's type in a word or two."""
    if "$ref" in part:
        return str(part["$ref"].rsplit("/", 1)[1])
    if "anyOf" in part:
        kinds = [_type(choice) for choice in part["anyOf"] if choice.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if part.get("type") == "array":
        return f"array of {_type(part['items'])}" if isinstance(part.get("items"), Mapping) else "array"
    if "enum" in part or "const" in part:
        return ", ".join(str(value) for value in part.get("enum", [part.get("const")]))
    return str(part.get("type", "any"))
