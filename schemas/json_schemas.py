"""JSON Schemas (2020-12) of every public record, for those who do not read Python.

The files in ``schemas/json`` are these, written out; a test holds one against the other. A field's description is the comment beside it.
"""

import inspect
import re
from typing import Any

import msgspec

from schemas.audit import AuditLine
from schemas.control import Control
from schemas.dead_letter import DeadLetter
from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.fields import Record
from schemas.figures import StatisticsData
from schemas.outcome import Outcome
from schemas.prediction import Prediction
from schemas.report import Report
from schemas.retrain import BudgetBreached, RetrainCancelled, RetrainRequested

DRAFT = "https://json-schema.org/draft/2020-12/schema"

RECORDS: dict[str, type[msgspec.Struct]] = {
    "prediction": Prediction,
    "outcome": Outcome,
    "control": Control,
    "dead-letter": DeadLetter,
    "audit": AuditLine,
    "report": Report,
    "drift": DriftData,
    "fatigue": FatigueData,
    "retrain.requested": RetrainRequested,
    "retrain.cancelled": RetrainCancelled,
    "budget.breached": BudgetBreached,
    "statistics": StatisticsData,
}

_COMMENT = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each public record by file name.

    >>> schemas()["outcome.schema.json"]["required"]
    ['request_id', 'timestamp']
    """
    return {f"{name}.schema.json": _plain(_schema(name, record)) for name, record in RECORDS.items()}


def to_text(schema: dict[str, Any]) -> str:
    """Return a schema as it stands in its file."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def _schema(name: str, record: type[msgspec.Struct]) -> dict[str, Any]:
    (reference,), components = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    kinds = {kind.__name__: kind for kind in _kinds(record)}
    definitions = {key: _described(value, kinds.get(key)) for key, value in components.items()}
    own = definitions.pop(record.__name__)
    assert reference["$ref"].endswith(record.__name__)  # noqa: S101  # structs are always referred to
    if issubclass(record, Record):  # for optional fields null is the same as absent
        own["properties"] = {key: value if key in own["required"] else _nullable(value) for key, value in own["properties"].items()}
    head = {"$schema": DRAFT, "$id": f"urn:gnomon:schema:{name}", "title": own.pop("title")}
    return head | own | ({"$defs": definitions} if definitions else {})


def _plain(value: Any) -> Any:
    """Return a schema with whole numbers written as such.

    Python takes ``Meta(ge=0)`` and ``Meta(ge=0.0)`` for the same annotation and keeps the one that was imported first.
    """
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    notes = {key: value for key, value in schema.items() if key in ("default", "description")}
    return {"anyOf": [{key: value for key, value in schema.items() if key not in notes}, {"type": "null"}], **notes}


def _described(schema: dict[str, Any], kind: type | None) -> dict[str, Any]:
    """Return a definition with the first paragraph of its docstring, and its fields' comments, as descriptions."""
    described = dict(schema)
    if "description" in described:
        described["description"] = " ".join(described["description"].split("\n\n")[0].split())
    if kind is not None and "properties" in described:
        comments = _comments(kind)
        rename = {"from": "from_"}
        described["properties"] = {
            name: value | ({"description": comments[field]} if (field := rename.get(name, name)) in comments else {})
            for name, value in described["properties"].items()
        }
    return described


def _comments(kind: type) -> dict[str, str]:
    comments: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            comments |= dict(_COMMENT.findall(inspect.getsource(base)))
    return comments


def _kinds(record: type) -> list[type]:
    """Return a struct and every struct that it holds."""
    found: list[type] = []
    queue: list[Any] = [msgspec.inspect.type_info(record)]
    while queue:
        info = queue.pop()
        if isinstance(info, msgspec.inspect.StructType) and info.cls not in found:
            found.append(info.cls)
            queue.extend(field.type for field in info.fields)
        elif isinstance(info, msgspec.inspect.UnionType):
            queue.extend(info.types)
        else:
            queue.extend(part for name in ("item_type", "key_type", "value_type") if (part := getattr(info, name, None)) is not None)
            queue.extend(getattr(info, "item_types", ()))
    return found
