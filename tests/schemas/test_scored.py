import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas.scored import COLUMNS, Forwarded, Kind, Origin, Rows, Status, Tick, decode, encode, pack

ORIGIN = Origin("predictions", "id", 3)


def test_each_record_survives():
    rows = Rows(
        "m", [ORIGIN], 2, {"score": np.array([0.5, np.nan]).tobytes()}, ["1"], ["", "fr"], {"country": np.array([1, 0], "<u4").tobytes()}
    )
    tick = Tick({"predictions": 4}, [(ORIGIN, -5)])
    control = Forwarded(ORIGIN, 7, 0, b"{}")
    for record in (rows, tick, control):
        assert decode(encode(record)) == record
    assert decode(encode(rows)).dimension("country").tolist() == [1, 0]
    np.testing.assert_array_equal(decode(encode(rows)).column("score"), [0.5, np.nan])


@pytest.mark.parametrize("name", COLUMNS)
def test_absent_columns_hold_their_absent_value(name):
    dtype, absent = COLUMNS[name]
    column = Rows("m", [], 3, {}).column(name)
    assert column.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(column, np.full(3, absent, dtype))
    assert pack(name, column) is None


@pytest.mark.parametrize("name", COLUMNS)
@given(data=st.data())
def test_packed_columns_are_read_again(name, data):
    dtype = np.dtype(COLUMNS[name][0])
    values = data.draw(hnp.arrays(dtype, st.integers(0, 5)))
    packed = pack(name, values)
    rows = decode(encode(Rows("m", [], len(values), {} if packed is None else {name: packed})))
    np.testing.assert_array_equal(rows.column(name), values)
    assert not packed or not rows.column(name).flags.writeable


@pytest.mark.parametrize("columns", [{"sign": b"\x01"}, {"offset": b"\0" * 15}, {"score": b""}])
def test_columns_of_a_wrong_length_are_refused(columns):
    with pytest.raises(msgspec.ValidationError, match="expected 2 values"):
        decode(encode(Rows("m", [], 2, columns)))
    with pytest.raises(msgspec.ValidationError, match="dimension 'x': expected 2 values"):
        decode(encode(Rows("m", [], 2, {}, dimensions={"x": b"\0" * 7})))


def test_columns_of_a_later_version_are_ignored():
    assert decode(encode(Rows("m", [], 2, {"new": b"\0"}))).n == 2


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xc1", msgspec.msgpack.encode({"type": "other"})])
def test_what_is_no_scored_record_is_refused(data):
    with pytest.raises(msgspec.DecodeError):
        decode(data)


def test_words_on_the_wire_never_change():
    assert {kind.name: kind.value for kind in Kind} == {
        "COUNT": 0,
        "PREDICTION": 1,
        "LABEL": 2,
        "DISPOSITION": 3,
        "COST": 4,
        "CHECK": 5,
        "PAIR": 6,
    }
    names = ["NONE", "PREDICTION", "JOINED", "CORRECTION", "DUPLICATE", "CONFLICT", "WAITING", "DEAD_LETTER", "SUPERSEDED"]
    assert [Status(value).name for value in range(9)] == names
