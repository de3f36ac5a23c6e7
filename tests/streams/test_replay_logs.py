"""Reading logs: what is a record, what is its time, what is no log."""

import gzip

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.logs import START_MS, prediction, write_lines

from schemas.codec import Reason, decode_records
from schemas.prediction import Prediction
from streams import logs
from streams.logs import UNREADABLE, ReplayError, read_log


def test_blank_lines_are_no_records_but_count_as_lines(tmp_path):
    log = read_log(write_lines(tmp_path / "p.jsonl", [b"", prediction("a", 5, 0.5), b"  ", prediction("b", 6, 0.5)]))
    assert log.times.tolist() == [5, 6]
    assert log.numbers.tolist() == [1, 3]


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    (tmp_path / "p.jsonl").write_bytes(b'\xef\xbb\xbf{"timestamp": 7}\r\n{"timestamp": 8}\r\n\r\n')
    assert read_log(tmp_path / "p.jsonl").times.tolist() == [7, 8]


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_an_empty_file_is_an_empty_log(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert read_log(tmp_path / name).lines == []


def test_gzip_is_read(tmp_path):
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b'{"timestamp": "2026-01-02T03:04:05Z"}\n'))
    assert read_log(tmp_path / "p.jsonl.gz").times.tolist() == [1_767_323_045_000]


def test_the_time_of_an_array_is_its_earliest_record(tmp_path):
    # the watermark must not pass a record that is still to come
    log = read_log(write_lines(tmp_path / "p.jsonl", [[prediction("a", 9, 0.5), prediction("b", 4, 0.5)], []]))
    assert log.times.tolist() == [4, UNREADABLE]


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"[" * 100_000, b'{"timestamp": true}', b'{"timestamp": 1e400}', b"\xff", b'{"timestamp": "2026-01-02T03:04"}'),
        *(b'{"timestamp": %d}' % at for at in (2**62, -(2**62), -(2**63))),
    ],
)
def test_a_line_without_a_time_sorts_first(tmp_path, line):
    log = read_log(write_lines(tmp_path / "p.jsonl", [{"timestamp": 1}, line])).ordered(ties="bytes")
    assert log.times.tolist() == [UNREADABLE, 1]


def test_records_of_equal_time_stand_in_the_order_of_their_bytes(tmp_path):
    lines = [prediction(ident, at, 0.5) for ident, at in (("c", 1), ("b", 2), ("a", 1), ("d", 1), ("a", 2))]
    one = read_log(write_lines(tmp_path / "1.jsonl", lines)).ordered(ties="bytes")
    other = read_log(write_lines(tmp_path / "2.jsonl", lines[::-1])).ordered(ties="bytes")
    assert one.lines == other.lines
    assert one.times.tolist() == [1, 1, 1, 2, 2]
    placed = read_log(tmp_path / "1.jsonl").ordered(ties="place")
    assert [msgspec.json.decode(line)["request_id"] for line in placed.lines] == ["c", "a", "d", "b", "a"]


def test_parquet_gives_the_same_records_as_json_lines(tmp_path):
    table = pa.table(
        {
            "request_id": ["a", "b"],
            "timestamp": pa.array(np.array([START_MS, START_MS + 1]).astype("datetime64[ms]").astype("datetime64[ns]")),  # no zone: UTC
            "score": pa.array([0.25, None]),
            "subgroups": [{"region": "north"}, None],
            "tags": pa.array([[("x", 1.0)], None], type=pa.map_(pa.string(), pa.float64())),
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    log = read_log(tmp_path / "p.parquet")
    assert log.times.tolist() == [START_MS, START_MS + 1]
    first, second = (msgspec.json.decode(line) for line in log.lines)
    assert first == {
        "request_id": "a",
        "timestamp": "2023-11-14T22:13:20Z",
        "score": 0.25,
        "subgroups": {"region": "north"},
        "tags": {"x": 1.0},
    }
    assert second.keys() == {"request_id", "timestamp"}  # null is the same as absent


def parquet(tmp_path, **columns):
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    return read_log(tmp_path / "p.parquet")


def test_parquet_ids_may_be_numbers_and_times_floats(tmp_path):
    made = {"request_id": [7, 8], "model_id": ["m", "m"], "model_version": [3.0, 4.0], "unit": [None, 2.0], "score": [0.5, 1.0]}
    log = parquet(tmp_path, timestamp=[START_MS + 0.0, START_MS + 1.0], **made)
    assert log.times.tolist() == [START_MS, START_MS + 1]
    records = [msgspec.json.decode(line, type=Prediction) for line in log.lines]
    assert [(each.request_id, each.model_version, each.unit) for each in records] == [("7", "3", None), ("8", "4", "2")]


def test_parquet_times_of_pandas_and_days_are_read(tmp_path):
    zoned = pa.array([START_MS * 10**6], pa.timestamp("ns", "Europe/Amsterdam"))
    assert parquet(tmp_path, timestamp=zoned).times.tolist() == [START_MS]
    assert parquet(tmp_path, timestamp=pa.array([19_000], pa.date32())).times.tolist() == [19_000 * 86_400_000]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_in_parquet_is_a_dead_letter_as_in_json(tmp_path, value):
    made = {"request_id": ["a", "b"], "model_id": ["m", "m"], "model_version": ["1", "1"], "timestamp": [START_MS, START_MS + 1]}
    lines = parquet(tmp_path, score=pa.array([value, None], from_pandas=False), predicted_label=[1, 1], **made).lines
    [(_, fault, _)], [(_, record, _)] = (decode_records(line, Prediction) for line in lines)
    assert (fault.reason, record.score) == (Reason.MALFORMED, None)
    nested = parquet(tmp_path, features=[{"x": value, "y": 1.0}, {"x": 0.5, "y": None}], score=[0.5, 0.5], **made).lines
    [(_, fault, _)], [(_, record, _)] = (decode_records(line, Prediction) for line in nested)
    assert (fault.reason, record.features) == (Reason.MALFORMED, {"x": 0.5, "y": None})


def test_parquet_times_that_are_no_whole_milliseconds_are_dead_letters(tmp_path):
    (line,) = parquet(tmp_path, request_id=["a"], model_id=["m"], model_version=["1"], timestamp=[START_MS + 0.5], score=[0.5]).lines
    assert decode_records(line, Prediction)[0][1].reason == Reason.WRONG_TYPE


def test_an_empty_parquet_file_is_an_empty_log(tmp_path):
    pq.write_table(pa.table({"request_id": pa.array([], pa.string())}), tmp_path / "p.parquet")
    assert read_log(tmp_path / "p.parquet").lines == []


def _cut(path):
    path.write_bytes(gzip.compress(b"x" * 10_000)[:-10])


def _corrupt(path):
    data = bytearray(gzip.compress(bytes(range(256)) * 50))
    data[20:40] = b"\xff" * 20
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("cut.jsonl.gz", _cut),
        ("corrupt.jsonl.gz", _corrupt),
        ("plain.jsonl.gz", lambda path: path.write_bytes(b'{"timestamp": 1}\n')),
        ("none.parquet", lambda path: path.write_bytes(b"PAR1")),
        ("folder.jsonl", lambda path: path.mkdir()),
        ("missing.jsonl", lambda path: None),
    ],
)
def test_what_is_no_log_is_refused_by_name(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(ReplayError, match=name):
        read_log(tmp_path / name)


LINES = [b'{"timestamp": %d}' % at for at in (0, 5, -7, 2**61)]
ODD_LINES = [
    b"{",
    b'{"timestamp": 1.5}',
    b'{"timestamp": "2026-01-02T03:04:05Z", "id": "a"}',
    b'{"at": 7}',
    b"{}",
    b'{"timestamp": %d}' % 2**62,
    b'{"timestamp": %d}' % 2**64,
    b'{"timestamp": %d}' % -(2**63),
    b'{"timestamp": 3} ',
    b'[{"timestamp": 9}, {"timestamp": 4}]',
    b"[]",
    b'{"timestamp": 8, "x": {}',  # this and the next would make one object
    b'{"y": 1}}',
    b'{"timestamp": 1}{"timestamp": 2}',  # two in a line
]


@given(st.lists(st.sampled_from(LINES * 12 + ODD_LINES), max_size=30))
def test_times_of_many_lines_are_those_of_each(lines):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "_BLOCK", 7)
        patch.setattr(logs, "_PART", 16)
        log = logs.log_of(lines)
    assert (log.lines, log.times.tolist()) == (lines, list(map(logs._time, lines)))


def test_ordinary_lines_are_read_together(monkeypatch):
    monkeypatch.setattr(logs, "_time", lambda _: pytest.fail("one by one"))
    assert logs.log_of(LINES).times.tolist() == [0, 5, -7, 2**61]
