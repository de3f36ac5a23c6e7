import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Fault, Reason, decode_records, encode
from schemas.control import Control, ControlType
from schemas.dead_letter import dead_letter
from schemas.fields import FIRST_MS, LAST_MS, epoch_ms, label_value, rfc3339, segment, text
from schemas.outcome import Outcome
from schemas.prediction import Prediction, PredictionInterval

PREDICTION = {"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 0, "score": 0.5}
NUMBER = {"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 0, "predicted_value": 2.5}
OUTCOME = {"request_id": "a", "timestamp": 0, "true_label": 1}


def decode(kind, base, **fields):
    [(_, record, _)] = decode_records(json.dumps(base | fields).encode(), kind)
    return record


def accepted(kind, base, **fields):
    return not isinstance(decode(kind, base, **fields), Fault)


@pytest.mark.parametrize(
    ("field", "most", "beyond"),
    [
        ("request_id", "é" * 256, "é" * 257),
        ("model_version", "x" * 256, "x" * 257),
        ("row", 2**31 - 1, 2**31),
        ("score", 1, 1.0000001),
        ("score", 0, -0.0000001),
        ("amount", 1e10, 1.1e10),
        ("amount", -1e10, -1.1e10),
        ("scores", {str(i): 0.001 for i in range(1000)}, {str(i): 0.0 for i in range(1001)}),
        ("scores", {"a": 1}, {"a": 1.5}),
        ("subgroups", {str(i): i for i in range(32)}, {str(i): i for i in range(33)}),
        ("subgroups", {"a": "x" * 256}, {"a": "x" * 257}),
        ("subgroups", {"a": None}, {"": "x"}),
        ("features", dict.fromkeys(map(str, range(2000))), dict.fromkeys(map(str, range(2001)))),
        ("predicted_label", 2.0, 2.5),
        ("predicted_label", "x" * 256, "x" * 257),
        ("unit", "", "x" * 257),
        ("timestamp", FIRST_MS, FIRST_MS - 1),
        ("timestamp", LAST_MS, LAST_MS + 1),
    ],
)
def test_prediction_takes_the_limit_and_nothing_beyond(field, most, beyond):
    assert accepted(Prediction, PREDICTION, **{field: most})
    assert decode(Prediction, PREDICTION, **{field: beyond}).reason == Reason.OUT_OF_RANGE


def interval(lower=1, upper=3, level=0.9):
    return {"lower": lower, "upper": upper, "level": level}


@pytest.mark.parametrize(
    ("field", "most", "beyond"),
    [
        ("predicted_value", -1e12, -1.1e12),
        ("predicted_value", 1e12, 1e400),
        ("interval", interval(2, 2), interval(2, 1.999)),
        ("interval", interval(-1e12, 1e12), interval(-1e12, 2e12)),
        ("interval", interval(level=0.999), interval(level=1)),
        ("interval", interval(level=1e-9), interval(level=0)),
    ],
)
def test_a_number_takes_the_limit_and_nothing_beyond(field, most, beyond):
    assert accepted(Prediction, NUMBER, **{field: most})
    text = json.dumps(NUMBER | {field: beyond}).replace("Infinity", "1e400")
    [(_, fault, _)] = decode_records(text.encode(), Prediction)
    assert fault.reason == Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"interval": {"lower": 1, "upper": 2}}, Reason.MISSING_FIELD, "Object missing required field `level` - at `$.interval`"),
        ({"interval": [1, 2, 0.9]}, Reason.WRONG_TYPE, "Expected `object | null`, got `array` - at `$.interval`"),
        ({"interval": interval(3, 2)}, Reason.OUT_OF_RANGE, "Expected lower <= upper - at `$.interval`"),
        ({"score": 0.5}, Reason.WRONG_TYPE, "Expected no `score`, `scores` or `predicted_label` beside it - at `$.predicted_value`"),
        (
            {"predicted_label": 1},
            Reason.WRONG_TYPE,
            "Expected no `score`, `scores` or `predicted_label` beside it - at `$.predicted_value`",
        ),
        (
            {"predicted_value": None, "score": 0.5, "interval": interval()},
            Reason.MISSING_FIELD,
            "Object missing required field `predicted_value` (of the `interval`)",
        ),
        ({"predicted_value": "2"}, Reason.WRONG_TYPE, "Expected `float | null`, got `str` - at `$.predicted_value`"),
    ],
)
def test_what_a_predicted_number_may_not_be(fields, reason, detail):
    fault = decode(Prediction, NUMBER, **fields)
    assert (fault.reason, fault.detail) == (reason, detail)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_is_finite(number):
    for data, kind in ((NUMBER, Prediction), (OUTCOME | {"true_value": 2.5}, Outcome)):
        text = json.dumps(data).replace("2.5", number)
        assert decode_records(text.encode(), kind)[0][1].reason == Reason.MALFORMED


@pytest.mark.parametrize(
    ("field", "most", "beyond"),
    [
        ("true_value", 1e12, 1.1e12),
        ("true_value", -1e12, -1.1e12),
        ("review_seconds", 1e7, 1.1e7),
        ("review_seconds", 0, -1),
        ("cost", -1e10, -1.1e10),
        ("version", 2**63 - 1, 2**63),
        ("checks", {"a": [2, 2]}, {"a": [3, 2]}),
        ("checks", {"a": [0, 0]}, {"a": [-1, 2]}),
        ("checks", {str(i): [0, 1] for i in range(100)}, {str(i): [0, 1] for i in range(101)}),
        ("checks", {"a": [0, 1]}, {"a": [0]}),
        ("true_label", 1.0, 0.5),
        ("true_label", -(2**63), -(2**63) - 1),
    ],
)
def test_outcome_takes_the_limit_and_nothing_beyond(field, most, beyond):
    assert accepted(Outcome, OUTCOME, **{field: most})
    assert decode(Outcome, OUTCOME, **{field: beyond}).reason == Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    "claim",
    [
        {"score": 0.5},
        {"scores": {"a": 0.5}},
        {"predicted_label": 0},
        {"predicted_label": False},
        {"abstained": True},
        {"predicted_value": 0},
        {"predicted_value": 2.5, "interval": interval()},
    ],
)
def test_a_prediction_claims_something(claim):
    nothing = {**PREDICTION, "score": None}
    assert accepted(Prediction, nothing, **claim)
    assert decode(Prediction, nothing).reason == Reason.MISSING_FIELD
    assert decode(Prediction, nothing, scores={}, abstained=False).reason == Reason.MISSING_FIELD


@pytest.mark.parametrize(
    "part",
    [
        {"true_label": 0},
        {"true_value": 0},
        {"action_taken": ""},
        {"review_seconds": 0},
        {"value": 0},
        {"cost": 0},
        {"checks": {"a": [0, 0]}},
    ],
)
def test_an_outcome_has_a_part(part):
    nothing = {**OUTCOME, "true_label": None}
    assert accepted(Outcome, nothing, **part)
    assert decode(Outcome, nothing, version=1, model_id="m").reason == Reason.MISSING_FIELD


@pytest.mark.parametrize("missing", ["request_id", "model_id", "model_version", "timestamp"])
def test_required_fields_of_a_prediction(missing):
    given = {name: value for name, value in PREDICTION.items() if name != missing}
    assert decode(Prediction, given).detail == f"Object missing required field `{missing}`"


def test_control_says_what_it_is_about():
    base = {"by": "ada", "at": "2026-01-01T00:00:00Z"}
    assert accepted(Control, base, type="ack", incident_id="i")
    assert decode(Control, base, type="ack").reason == Reason.MISSING_FIELD
    assert accepted(Control, base, type="policy", body={"toml": ""})
    assert decode(Control, base, type="policy", body={}).reason == Reason.MISSING_FIELD
    assert decode(Control, base, type="verdict", incident_id="i", body=[]).reason == Reason.WRONG_TYPE
    assert decode(Control, {"type": "baseline", "at": 0}).reason == Reason.MISSING_FIELD


@pytest.mark.parametrize(
    ("fields", "reason", "where"),
    [
        ({"type": "verdict", "incident_id": "i", "body": {"verdict": "True"}}, Reason.INVALID_VALUE, "`$.body.verdict`"),
        ({"type": "verdict", "incident_id": "i"}, Reason.INVALID_VALUE, "`$.body.verdict`"),
        ({"type": "snooze", "incident_id": "i", "body": {"until": "soon"}}, Reason.OUT_OF_RANGE, "`$.body.until`"),
        ({"type": "snooze", "incident_id": "i"}, Reason.WRONG_TYPE, "`$.body.until`"),
        ({"type": "snooze", "body": {"until": 5}}, Reason.MISSING_FIELD, "`incident_id`"),
        ({"type": "baseline"}, Reason.INVALID_VALUE, "`$.body.decision`"),
        ({"type": "retrain", "body": {"decision": "later"}}, Reason.INVALID_VALUE, "`$.body.decision`"),
        ({"type": "baseline", "incident_id": "i", "body": {"decision": "reset"}}, Reason.WRONG_TYPE, "`$.incident_id`"),
        ({"type": "policy", "model_id": "m", "body": {"toml": ""}}, Reason.WRONG_TYPE, "`$.model_id`"),
    ],
)
def test_a_decision_that_would_change_nothing_is_refused(fields, reason, where):
    fault = decode(Control, {"by": "ada", "at": 0}, **fields)
    assert (fault.reason, where in fault.detail) == (reason, True), fault.detail


@pytest.mark.parametrize(
    ("timestamp", "ms"),
    [
        (1_767_225_600_123, 1_767_225_600_123),
        ("2026-01-01T00:00:00.123Z", 1_767_225_600_123),
        ("2026-01-01T01:00:00.123+01:00", 1_767_225_600_123),
        ("2026-01-01t00:00:00.123999z", 1_767_225_600_123),
        ("2026-01-01 00:00:00.123-00:00", 1_767_225_600_123),
        ("1989-01-01T00:00:00Z", 599_616_000_000),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:59.9999Z", -1),
        (-1, -1),
        ("0001-01-01T00:00:00Z", FIRST_MS),
        ("0001-01-01T00:00:00+23:00", FIRST_MS - 23 * 3_600_000),
        ("9999-12-31T23:59:59.999Z", LAST_MS),
    ],
)
def test_timestamps_are_read_exactly(timestamp, ms):
    assert epoch_ms(decode(Prediction, PREDICTION, timestamp=timestamp).timestamp) == ms


@given(st.integers(FIRST_MS, LAST_MS))
def test_times_survive_being_written(ms):
    written = rfc3339(ms)
    assert len(written) == 24
    assert epoch_ms(decode(Prediction, PREDICTION, timestamp=written).timestamp) == ms


@given(st.integers(FIRST_MS, LAST_MS), st.integers(FIRST_MS, LAST_MS))
def test_times_sort_as_text(a, b):
    assert (rfc3339(a) < rfc3339(b)) == (a < b)


def test_times_beyond_what_can_be_written_become_the_nearest():
    assert rfc3339(FIRST_MS - 5) == "0001-01-01T00:00:00.000Z"
    assert rfc3339(LAST_MS + 5) == "9999-12-31T23:59:59.999Z"


def test_labels_that_are_equal_are_the_same_label():
    assert [label_value(label) for label in (True, 1, 1.0)] == [1, 1, 1]
    assert all(type(label_value(label)) is int for label in (True, 1, 1.0))
    assert label_value("1") == "1"


def test_subgroups_are_text():
    given = {"b": True, "a": 3.0, "c": 3, "d": None, "e": "", "f": 0.5, "g": "x", "h": 1e300}
    assert segment(given) == {"a": "3", "b": "true", "c": "3", "f": "0.5", "g": "x", "h": "1e+300"}
    assert list(segment(given)) == sorted(segment(given))
    assert segment(None) == segment({}) == {}
    assert text(2**53) == text(2.0**53)


def test_a_dead_letter_holds_the_payload_only_if_told():
    raw = b'{"score": 1.7, "name": "Ada"}'
    fault = Fault(3, Reason.OUT_OF_RANGE, "Expected `float` <= 1.0 - at `$.score`")
    letter = dead_letter(fault, raw, topic="predictions", partition=1, offset=2, at_ms=5)
    assert b"Ada" not in encode(letter)
    assert (letter.index, letter.size, letter.sha256) == (3, len(raw), hashlib.sha256(raw).hexdigest())
    kept = dead_letter(fault, raw, topic="predictions", partition=1, offset=2, at_ms=5, keep_payload=True)
    assert base64.b64decode(kept.payload) == raw
    [(_, read, _)] = decode_records(encode(kept), type(kept))
    assert read == kept


ids = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
texts = st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
probability = st.floats(0, 1)
money = st.none() | st.floats(-1e10, 1e10)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
timestamps = st.integers(FIRST_MS, LAST_MS) | st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones)  # zones are drawn
labels = st.booleans() | st.integers(-(2**63), 2**63 - 1) | ids
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
predictions = st.builds(
    Prediction,
    request_id=ids,
    model_id=ids,
    model_version=ids,
    timestamp=timestamps,
    row=st.integers(0, 2**31 - 1),
    score=probability,
    scores=st.none() | st.dictionaries(ids, probability, max_size=4),
    predicted_label=st.none() | labels,
    subgroups=st.none() | st.dictionaries(ids, scalars, max_size=4),
    amount=money,
    alerted=st.none() | st.booleans(),
    unit=texts,
    alert_key=texts,
    compute_cost=money,
    abstained=st.booleans(),
    abstain_reason=texts,
    features=st.none()
    | st.dictionaries(ids, st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | texts, max_size=4),
    probe=st.none() | st.booleans() | texts,
)
numbers = st.floats(-1e12, 1e12)
intervals = st.builds(
    lambda ends, level: PredictionInterval(lower=min(ends), upper=max(ends), level=level),
    st.tuples(numbers, numbers),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
)
values = st.builds(
    Prediction,
    request_id=ids,
    model_id=ids,
    model_version=ids,
    timestamp=timestamps,
    predicted_value=numbers,
    interval=st.none() | intervals,
)
outcomes = st.builds(
    Outcome,
    request_id=ids,
    timestamp=timestamps,
    row=st.integers(0, 2**31 - 1),
    model_id=st.none() | ids,
    true_label=labels,
    true_value=st.none() | numbers,
    version=st.none() | st.integers(-(2**63), 2**63 - 1),
    action_taken=texts,
    review_seconds=st.none() | st.floats(0, 1e7),
    cost=money,
    value=money,
    checks=st.none() | st.dictionaries(ids, st.tuples(st.integers(0, 9), st.integers(9, 99)), max_size=3),
)
DECISIONS = {
    ControlType.ACK: {},
    ControlType.SNOOZE: {"until": 5},
    ControlType.VERDICT: {"verdict": "true"},
    ControlType.BASELINE: {"decision": "accept"},
    ControlType.RETRAIN: {"decision": "done"},
}
controls = st.builds(
    lambda decided, body, **fields: Control(type=decided[0], body=body | decided[1], **fields),
    decided=st.sampled_from(list(DECISIONS.items())),
    by=ids,
    at=timestamps,
    model_id=st.none() | ids,
    incident_id=ids,
    body=st.dictionaries(ids, st.none() | st.integers(-9, 9) | ids),
)


@given(st.lists(predictions | values | outcomes | controls, min_size=1, max_size=1) | st.lists(predictions, max_size=3))
def test_what_is_written_is_read_again(records):
    for record in records:
        [(index, read, raw)] = decode_records(encode(record), type(record))
        assert (index, read, raw) == (0, record, encode(record))
    if records:
        message = b"[" + b",".join(map(encode, records)) + b"]"
        assert [read for _, read, _ in decode_records(message, type(records[0]))] == records
