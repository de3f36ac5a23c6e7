import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat

from schemas.codec import encode
from schemas.drift import Interval
from schemas.fatigue import FatigueData
from schemas.figures import SegmentFigures
from schemas.findings import DATA, Event, EventType, from_binary, from_json, subject, to_binary, to_json
from schemas.report import ModelReport, Report
from schemas.retrain import RetrainCancelled

GOLDEN = Path(__file__).parents[1] / "golden"
CANCELLED = RetrainCancelled(request_id="r", model_id="fraud", model_version="7", reason="cleared")
EVENT = Event(id="e", type=EventType.RETRAIN_CANCELLED, subject=subject("fraud", "7"), time_ms=1_767_323_045_007, data=CANCELLED)


def golden(event_type):
    return from_json((GOLDEN / f"event.{event_type.removeprefix('gnomon.')}.v1.json").read_bytes())


def test_structured_mode_to_the_byte():
    assert to_json(EVENT) == (
        b'{"specversion":"1.0","id":"e","source":"/gnomon","type":"gnomon.retrain.cancelled","subject":"fraud/7",'
        b'"time":"2026-01-02T03:04:05.007Z","datacontenttype":"application/json",'
        b'"data":{"request_id":"r","model_id":"fraud","model_version":"7","reason":"cleared"}}'
    )


def test_binary_mode_to_the_byte():
    headers, value = to_binary(EVENT)
    assert headers == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"e"),
        ("ce_source", b"/gnomon"),
        ("ce_type", b"gnomon.retrain.cancelled"),
        ("ce_subject", b"fraud/7"),
        ("ce_time", b"2026-01-02T03:04:05.007Z"),
        ("content-type", b"application/json"),
    ]
    assert value == encode(CANCELLED)


@pytest.mark.parametrize("event_type", EventType)
def test_the_cloudevents_package_reads_both_modes(event_type):
    event = golden(event_type)
    headers, value = to_binary(event)
    structured = JSONFormat().read(None, to_json(event))
    binary = kafka.from_binary(kafka.KafkaMessage(dict(headers), None, value), JSONFormat())
    for theirs in (structured, binary):
        assert theirs.get_specversion() == "1.0"
        assert (theirs.get_id(), theirs.get_source(), theirs.get_type()) == (event.id, event.source, event_type.value)
        assert (theirs.get_subject(), theirs.get_datacontenttype()) == (event.subject, "application/json")
        assert theirs.get_time() == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert theirs.get_data() == json.loads(encode(event.data))


@pytest.mark.parametrize("event_type", EventType)
def test_both_modes_are_read_again_and_are_one_line(event_type):
    event = golden(event_type)
    assert type(event.data) is DATA[event_type]
    assert b"\n" not in to_json(event)
    assert from_json(to_json(event)) == event
    headers, value = to_binary(event)
    assert from_binary([*headers, ("traceparent", b"\xff"), ("ce_extra", None)], value) == event


def test_every_type_has_data():
    assert set(DATA) == set(EventType)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"data": FatigueData}, "RetrainCancelled"),
        ({"id": ""}, r"\$.id"),
        ({"subject": "x" * 1025}, r"\$.subject"),
        ({"data": msgspec.structs.replace(CANCELLED, request_id="")}, r"\$.request_id"),
    ],
)
def test_what_is_no_event_is_not_written(change, path):
    for write in (to_json, to_binary):
        with pytest.raises(msgspec.ValidationError, match=path):
            write(msgspec.structs.replace(EVENT, **change))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_not_a_number_is_refused_where_null_may_stand(bad):
    drift = golden(EventType.DRIFT_OPENED)
    event = msgspec.structs.replace(drift, data=msgspec.structs.replace(drift.data, current=Interval(value=bad)))
    with pytest.raises(msgspec.ValidationError, match=r"finite `float`, got `.*` - at `\$\.current\.value`"):
        to_json(event)
    report = Report(models=[ModelReport(model_id="m", model_version="1", segments=[SegmentFigures(), SegmentFigures(auc=bad)])])
    with pytest.raises(msgspec.ValidationError, match=r"\$\.models\[0\]\.segments\[1\]\.auc"):
        encode(report)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"1.0"', b'"0.3"'),
        (b"retrain.cancelled", b"retrain.other"),
        (b'"id":"e",', b""),
        (b"2026-01-02T03:04:05.007Z", b"2026-01-02T03:04:05.007"),
        (b"2026-01-02T03:04:05.007Z", b"yesterday, about noon"),
        (b'"reason":"cleared"', b'"reason":3'),
        (b',"reason":"cleared"', b""),
        (b"}}", b"}"),
    ],
)
def test_what_is_no_event_is_not_read(old, new):
    assert old in to_json(EVENT)
    with pytest.raises(msgspec.DecodeError):
        from_json(to_json(EVENT).replace(old, new))
    headers, value = to_binary(EVENT)
    with pytest.raises(msgspec.DecodeError):
        from_binary(headers[1:], value)
    with pytest.raises(msgspec.DecodeError):
        from_binary(headers, value[:-1])


def test_undefined_figures_are_written_as_null():
    assert json.loads(encode(SegmentFigures()))["auc"] is None
    assert json.loads(encode(Report()))["join"]["joined"] == 0
