"""Published schemas of other systems, out of the packages that carry them, closed: a field that they do not name is a fault."""

import importlib.metadata
from functools import cache
from typing import Any

import yaml
from hera.events.models import EventSource, Sensor
from hera.workflows.models import Workflow, WorkflowTemplate
from jsonschema import Draft202012Validator

ARGO = {model.__name__: model for model in (EventSource, Sensor, Workflow, WorkflowTemplate)}

# In that document these are what Go holds; in a manifest they are written so:
WRITTEN = {"K8SResource": {"type": "object"}, "Int64OrString": {"type": ["integer", "string"]}, "Amount": {"type": "number"}}


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        schema.setdefault("additionalProperties", False)
    return schema


@cache
def argo(kind: str) -> Draft202012Validator:
    """Return what validates a manifest, its apiVersion and kind apart: the models that Hera has from Argo's OpenAPI document."""
    schema = _closed(ARGO[kind].model_json_schema())
    schema["$defs"] |= {name: WRITTEN[name] for name in WRITTEN if name in schema["$defs"]}
    return Draft202012Validator(schema)


def check_argo(document: dict[str, Any]) -> None:
    """Raise a ``jsonschema.ValidationError`` if a manifest is none, an ``AssertionError`` if it is of another API."""
    assert document["apiVersion"] == "argoproj.io/v1alpha1"
    argo(document["kind"]).validate({name: value for name, value in document.items() if name not in {"apiVersion", "kind"}})


def _nullable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _nullable(value) for name, value in schema.items()}
    return {"anyOf": [{"type": "null"}, schema]} if schema.pop("nullable", False) else schema


@cache
def airflow() -> dict[str, Any]:
    """Return the OpenAPI document of Airflow's stable REST API, as its client carries it."""
    [found] = [file for file in importlib.metadata.files("apache-airflow-client") or () if file.name == "v2.yaml"]
    return dict(yaml.load(found.read_text(), yaml.CSafeLoader))


def airflow_body(path: str) -> Draft202012Validator:
    """Return what validates the body of a POST."""
    asked = airflow()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    return Draft202012Validator(_nullable(airflow()["components"]["schemas"][asked.rpartition("/")[2]]))
