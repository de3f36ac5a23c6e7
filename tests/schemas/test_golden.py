"""What was ever written must be read for ever: one file per record and version. Add files; never change one."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from schemas import findings, scored
from schemas.audit import AuditLine
from schemas.codec import Fault, decode_records, encode
from schemas.control import Control, ControlType
from schemas.dead_letter import DeadLetter
from schemas.json_schemas import schemas
from schemas.outcome import Outcome
from schemas.policy import parse_policy
from schemas.policy_tables import MODEL
from schemas.prediction import Prediction
from schemas.report import Report

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDS = {
    "prediction": Prediction,
    "outcome": Outcome,
    "control": Control,
    "dead-letter": DeadLetter,
    "report": Report,
    "audit": AuditLine,
}


def golden(prefix):
    paths = sorted(GOLDEN.glob(f"{prefix}.*json"))
    assert paths, f"no golden file of {prefix}"
    return [pytest.param(path, id=path.name) for path in paths]


def kept(old, new, path="$"):
    """Every value of the old record stands in the new one; new fields may stand beside."""
    if isinstance(old, dict):
        for key, value in old.items():
            assert key in new, f"{path}.{key} is lost"
            kept(value, new[key], f"{path}.{key}")
    elif isinstance(old, list):
        assert len(old) == len(new), path
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            kept(a, b, f"{path}[{index}]")
    else:
        assert old == new, path
        assert isinstance(old, bool) == isinstance(new, bool), path


def is_valid(instance, schema_name):
    schema = schemas()[f"{schema_name}.schema.json"]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(instance)


@pytest.mark.parametrize("path", [param for record in RECORDS for param in golden(record)])
def test_records_are_read_and_lose_nothing(path):
    name = path.name.split(".")[0]
    data = path.read_bytes()
    [(_, record, _)] = decode_records(data, RECORDS[name])
    assert not isinstance(record, Fault), record
    kept(json.loads(data), json.loads(encode(record)))
    is_valid(json.loads(data), name)


@pytest.mark.parametrize("path", golden("event"))
def test_events_are_read_and_written_as_they_were(path):
    data = path.read_bytes()
    event = findings.from_json(data)
    kept(json.loads(data), json.loads(findings.to_json(event)))
    assert findings.from_binary(*findings.to_binary(event)) == event
    name = event.type.removeprefix("gnomon.")
    is_valid(json.loads(data)["data"], name.split(".")[0] if name.startswith(("drift", "fatigue")) else name)


@pytest.mark.parametrize("path", golden("scored"))
def test_scored_records_are_read(path):
    data = bytes.fromhex(json.loads(path.read_text())["msgpack"])
    record = scored.decode(data)
    assert scored.decode(scored.encode(record)) == record
    origin = scored.Origin("gnomon.predictions", "AbC", 3)
    match record:
        case scored.Rows():
            assert (record.model_id, record.origins, record.versions) == ("fraud", [origin], ["7"])
            assert record.column("sign").tolist() == [1, -1]
            assert record.column("score").tolist()[0] == 0.5
            assert record.dimension("country").tolist() == [1, 0]
        case scored.Tick():
            assert (record.partitions, record.highs) == ({"gnomon.predictions": 4}, [(origin, 1_767_323_045_000)])
            assert record.done == ([] if ".v1." in path.name else [(origin, 7)])
        case scored.Forwarded():
            assert (record.origin, record.offset, record.index) == (origin, 7, 1)
            assert isinstance(decode_records(record.record, Control)[0][1], Control)


def test_policies_are_read():
    for path in GOLDEN.glob("policy.*.toml"):
        parse_policy(path.read_text())
    policy = parse_policy((GOLDEN / "policy.v1.toml").read_text()).for_model("fraud")
    assert policy.horizon_ms == 60 * 86_400_000
    assert policy.cost.tp == (0.0, 0.3)
    checks = parse_policy((GOLDEN / "policy.v2.toml").read_text()).for_model("legal").checks
    assert checks["citation_accuracy"].zero_tolerance


def test_there_is_a_golden_file_of_everything():
    names = {path.name for path in GOLDEN.glob("*.json")}
    assert {f"event.{event_type.removeprefix('gnomon.')}.v1.json" for event_type in findings.EventType} <= names
    assert {f"control.{kind}.v1.json" for kind in ControlType} <= names
    whole = {"prediction": Prediction, "outcome": Outcome, "dead-letter": DeadLetter, "report": Report, "audit": AuditLine}
    for name, record in whole.items():
        fields = [set(json.loads(path.read_text())) for path in GOLDEN.glob(f"{name}.*json")]
        assert set().union(*fields) == set(record.__struct_fields__)
    text = "\n".join(path.read_text() for path in GOLDEN.glob("policy.*.toml"))
    assert all(key in text for key in MODEL)
