import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from schemas.codec import Fault, decode_records
from schemas.json_schemas import RECORDS, schemas, to_text
from schemas.outcome import Outcome
from schemas.prediction import Prediction

FOLDER = Path(__file__).parents[2] / "schemas" / "json"


def test_the_files_are_current():
    written = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert written == {name: to_text(schema) for name, schema in schemas().items()}, "write them again: gnomon schemas schemas/json"


@pytest.mark.parametrize("name", RECORDS)
def test_each_is_a_described_schema(name):
    schema = schemas()[f"{name}.schema.json"]
    Draft202012Validator.check_schema(schema)
    assert schema["title"]
    assert schema["description"]
    assert set(schema["properties"]) == set(RECORDS[name].__struct_encode_fields__)


def test_comments_become_descriptions():
    assert schemas()["prediction.schema.json"]["properties"]["unit"]["description"] == "who was alerted: ward, desk"
    assert schemas()["statistics.schema.json"]["properties"]["f1"]["description"] == "2 tp / (2 tp + fp + fn)"


@pytest.mark.parametrize(
    ("kind", "fields", "good"),
    [
        (Prediction, {}, True),
        (Prediction, {"row": None, "abstained": None, "amount": None, "new": 1}, True),
        (Prediction, {"score": 1.7}, False),
        (Prediction, {"score": True}, False),
        (Prediction, {"request_id": ""}, False),
        (Prediction, {"subgroups": {"a": [1]}}, False),
        (Prediction, {"timestamp": None}, False),
        (Outcome, {"checks": {"a": [1, 2]}}, True),
        (Outcome, {"checks": {"a": [1, 2, 3]}}, False),
        (Outcome, {"review_seconds": -1}, False),
        (Outcome, {"true_label": {}}, False),
    ],
)
def test_schema_and_reader_agree(kind, fields, good):
    base = {"request_id": "a", "timestamp": 0, "model_id": "m", "model_version": "1", "score": 0.5, "true_label": 1}
    record = base | fields
    validator = Draft202012Validator(schemas()[f"{kind.__name__.lower()}.schema.json"])
    [(_, read, _)] = decode_records(json.dumps(record).encode(), kind)
    assert validator.is_valid(record) is good
    assert (not isinstance(read, Fault)) is good
