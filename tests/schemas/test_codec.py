import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Fault, Limits, Reason, decode_records, encode
from schemas.control import Control, ControlType
from schemas.outcome import Outcome
from schemas.prediction import Prediction

GOOD = b'{"request_id":"a","model_id":"m","model_version":"1","timestamp":0,"score":0.5}'
PRIVATE = "s3cret"


def message(**fields):
    return json.dumps(json.loads(GOOD) | fields).encode()


def only(data, kind=Prediction, **limits):
    [(index, record, raw)] = decode_records(data, kind, Limits(**limits))
    assert index == 0
    return record, raw


def fault(data, kind=Prediction, **limits):
    record, _ = only(data, kind, **limits)
    assert isinstance(record, Fault), record
    return record


def test_one_good_object():
    record, raw = only(b"\n " + GOOD + b"\r\n")
    assert record == Prediction(request_id="a", model_id="m", model_version="1", timestamp=0, score=0.5)
    assert raw == GOOD


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, Reason.NULL_VALUE),
        (b"", Reason.NULL_VALUE),
        (b"  \n", Reason.NULL_VALUE),
        (b"null", Reason.WRONG_TYPE),
        (b"3", Reason.WRONG_TYPE),
        (b'"a"', Reason.WRONG_TYPE),
        (b"true", Reason.WRONG_TYPE),
        (b"{", Reason.MALFORMED),
        (b"[" + GOOD, Reason.MALFORMED),
        (GOOD[:-1], Reason.MALFORMED),
        (GOOD + GOOD, Reason.MALFORMED),
        (b"\xef\xbb\xbf" + GOOD, Reason.MALFORMED),
        (b"{'request_id': 1}", Reason.MALFORMED),
        (message(score=float("nan")), Reason.MALFORMED),
        (message(score=float("inf")), Reason.MALFORMED),
        (message(x=float("-inf")), Reason.MALFORMED),
        (GOOD.replace(b"0.5", b"1e400"), Reason.OUT_OF_RANGE),
        (message(score=1.7), Reason.OUT_OF_RANGE),
        (message(score=-0.1), Reason.OUT_OF_RANGE),
        (message(score=True), Reason.WRONG_TYPE),
        (message(score=PRIVATE), Reason.WRONG_TYPE),
        (message(score=[0.5]), Reason.WRONG_TYPE),
        (message(request_id=None), Reason.MISSING_FIELD),
        (message(request_id=""), Reason.OUT_OF_RANGE),
        (message(request_id="x" * 257), Reason.OUT_OF_RANGE),
        (message(timestamp=10**17), Reason.OUT_OF_RANGE),
        (message(timestamp="2026-01-01T00:00:00"), Reason.OUT_OF_RANGE),
        (message(timestamp=PRIVATE), Reason.OUT_OF_RANGE),
        (message(timestamp=1.5), Reason.WRONG_TYPE),
        (message(score=None), Reason.MISSING_FIELD),
        (message(predicted_label=0.5), Reason.OUT_OF_RANGE),
        (message(features={"a": [PRIVATE]}), Reason.WRONG_TYPE),
        (GOOD.replace(b'"a"', b'"\xff"'), Reason.INVALID_UTF8),
        (GOOD.replace(b'"a"', b'"\xed\xa0\x80"'), Reason.INVALID_UTF8),
        (GOOD[:-1] + b',"ignored":"\xc3("}', Reason.INVALID_UTF8),
        (GOOD.replace(b'"a"', b'"\\ud800"'), Reason.MALFORMED),
        (b"[" * 10_000 + b"]" * 10_000, Reason.TOO_DEEP),
        (b"[" * 10_000, Reason.TOO_DEEP),
        (GOOD[:-1] + b',"ignored":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001, Reason.TOO_DEEP),
        (GOOD[:-1] + b',"ignored":' + b"[" * 40 + b"]" * 40 + b"}", Reason.TOO_DEEP),
    ],
)
def test_bad_messages_are_faults_that_name_no_values(data, reason):
    got = fault(data)
    assert (got.index, got.reason) == (0, reason)
    assert got.detail
    assert PRIVATE not in got.detail


@pytest.mark.parametrize("head", [b"", b"[", GOOD[:-1] + b',"x":"'])
def test_twenty_mebibytes_are_refused_unread(head):
    got = fault(head.ljust(20 << 20))
    assert got.reason == Reason.TOO_LARGE
    assert got.detail == "Expected at most 1048576 bytes, got 20971520"


def test_a_hostile_text_takes_no_longer_than_another():
    data = GOOD[:-1] + b',"x":' + b"[" * 300 + b'"' + b'\\"' * 200_000 + b"\\"
    assert fault(data).reason == Reason.TOO_DEEP  # returns at once; a backtracking scan would take hours


def test_a_fault_of_the_whole_message_comes_with_all_its_bytes():
    for data in (b" {\n", b" [1,", b" \n"):
        assert decode_records(data, Prediction)[0][2] == data


def test_details_name_path_and_types():
    assert fault(message(score="x")).detail == "Expected `float | null`, got `str` - at `$.score`"
    assert fault(message(features={"a": [1]})).detail == "Expected `bool | float | str | null`, got `array` - at `$.features[...]`"
    assert fault(b"{}").detail == "Object missing required field `request_id`"


def test_a_word_that_is_not_known_is_not_repeated():
    data = json.dumps({"type": PRIVATE, "by": "ada", "at": 0}).encode()
    got = fault(data, Control)
    assert got.reason == Reason.INVALID_VALUE
    assert got.detail == "Invalid enum value - at `$.type`"


def test_only_the_bad_elements_of_an_array_are_faults():
    bad = [
        b"null",
        b"7",
        b"[]",
        b"{}",
        message(score=1.7),
        GOOD.replace(b"0.5", b"1e400"),
        GOOD[:-1] + b',"x":' + b"[" * 50 + b"]" * 50 + b"}",
    ]
    parts = [GOOD, *bad, GOOD]
    decoded = decode_records(b"[" + b" ,\n".join(parts) + b"]", Prediction)
    assert [index for index, _, _ in decoded] == list(range(len(parts)))
    assert [raw for _, _, raw in decoded] == parts
    assert [type(record) for _, record, _ in decoded] == [Prediction] + [Fault] * len(bad) + [Prediction]
    assert [record.index for _, record, _ in decoded[1:-1]] == list(range(1, len(bad) + 1))
    reasons = [record.reason.value for _, record, _ in decoded[1:-1]]
    assert reasons == ["wrong_type", "wrong_type", "wrong_type", "missing_field", "out_of_range", "out_of_range", "too_deep"]


def test_an_empty_array_holds_no_records():
    assert decode_records(b"[]", Prediction) == []


def test_limits():
    assert isinstance(only(GOOD, max_bytes=len(GOOD))[0], Prediction)
    assert fault(GOOD, max_bytes=len(GOOD) - 1).reason == Reason.TOO_LARGE
    two = b"[" + GOOD + b"," + GOOD + b"]"
    assert len(decode_records(two, Prediction, Limits(max_records=2))) == 2
    assert fault(two, max_records=1).reason == Reason.TOO_MANY_RECORDS
    nested = GOOD[:-1] + b',"x":[[[]]]}'
    assert isinstance(only(nested, max_depth=4)[0], Prediction)
    assert fault(nested, max_depth=3).reason == Reason.TOO_DEEP


def test_brackets_in_text_are_not_nesting():
    record, _ = only(message(model_id="[{" * 60 + '\\"[', unit="]"), max_depth=2)
    assert record.model_id.startswith("[{[{")


@pytest.mark.parametrize("frames", [0, 300])
def test_the_same_depth_is_refused_wherever_the_call_stands(frames):
    def nested(depth):
        return GOOD[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"

    def deeper(n):
        return deeper(n - 1) if n else [fault(nested(depth)).reason for depth in (32, 200, 255, 256, 3_000)]

    assert deeper(frames) == [Reason.TOO_DEEP] * 5


def test_null_is_absent_for_every_optional_field():
    optional = {name: None for name in Prediction.__struct_fields__ if name not in json.loads(GOOD)}
    assert only(message(**optional))[0] == only(GOOD)[0]
    outcome = b'{"request_id":"a","timestamp":0,"true_label":1}'
    nulls = {name: None for name in Outcome.__struct_fields__ if name not in json.loads(outcome)}
    assert only(json.dumps(json.loads(outcome) | nulls).encode(), Outcome)[0] == only(outcome, Outcome)[0]


def test_unknown_fields_are_ignored_and_the_last_of_two_keys_counts():
    assert only(GOOD[:-1] + b',"new":{"a":[1,null,"x"]}}')[0] == only(GOOD)[0]
    assert only(GOOD[:-1] + b',"score":0.25}')[0].score == 0.25


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (Outcome(request_id="a", timestamp=0, cost=float("nan")), r"finite `float`, got `nan` - at `\$.cost`"),
        (Outcome(request_id="a", timestamp=0, value=float("inf")), r"finite `float`, got `inf` - at `\$.value`"),
        (Outcome(request_id="", timestamp=0, true_label=1), r"length >= 1 - at `\$.request_id`"),
        (Control(type=ControlType.POLICY, by="a", at=0, body={"toml": "", "x": [float("nan")]}), r"\$.body.x\[0\]"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(record, detail):
    with pytest.raises(msgspec.ValidationError, match=detail):
        encode(record)


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_bytes_make_it_raise(data):
    for _, record, raw in decode_records(data, Outcome):
        assert isinstance(record, Fault | Outcome)
        assert raw in data


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(Prediction.__struct_fields__), values), st.data())
def test_each_element_fares_as_it_would_alone(fields, data):
    position = data.draw(st.integers(0, 2))
    raw = message(**fields)
    parts = [GOOD, GOOD]
    parts.insert(position, raw)
    decoded = decode_records(b"[" + b",".join(parts) + b"]", Prediction)
    alone, _ = only(raw)
    inside = decoded[position][1]
    if isinstance(alone, Fault):
        assert (inside.index, inside.reason, inside.detail) == (position, alone.reason, alone.detail)
    else:
        assert inside == alone
    assert sum(isinstance(record, Fault) for _, record, _ in decoded) <= 1
