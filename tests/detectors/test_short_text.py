"""Short texts in fewer bits: what goes in comes out, and what was stored once can be read for ever."""

import hashlib
import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.contexts import FIELDS, MORE, Contexts
from detectors.entries import Tail, decode_tail, encode_tail
from detectors.short_text import _CODES, squeeze, stretch

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_. AZ", max_size=40)
_encode = msgspec.msgpack.Encoder().encode


@given(st.lists(st.one_of(NAMES, st.text(max_size=40)), min_size=1, max_size=12))
def test_texts_come_back_and_take_no_more_than_before(texts):
    short = squeeze(texts)
    plain = b"".join(map(_encode, texts))
    assert short is not None or any(byte > 127 or chr(byte).isupper() for byte in plain) or len(plain) < 3 or len(plain) > 255
    if short is not None:
        assert stretch(short) == texts
        assert len(short) <= len(plain)
        assert short[0] < 0x80


@given(st.text(max_size=20), st.text(max_size=20), st.lists(st.tuples(NAMES, st.text(max_size=20)), max_size=4), st.integers(0, 3))
def test_a_tail_comes_back_in_whichever_form(model, version, pairs, cost):
    flat = [text for pair in pairs for text in pair]
    tail = Tail(model, version, _encode(flat) if flat else b"", compute_cost=cost)
    assert decode_tail(encode_tail(tail)) == tail
    assert encode_tail(tail)[0] >= 0x90 or not cost
    known, read = Contexts(), Contexts()
    assert known.know(encode_tail(tail), tail) == read[encode_tail(tail)] == known[encode_tail(tail)] == 0
    first = np.zeros(1, dtype=np.int64)
    assert [known.column(name, first)[0] for name in (*FIELDS, *MORE)] == [read.column(name, first)[0] for name in (*FIELDS, *MORE)]
    assert _said(known.names) == _said(read.names)
    if flat and not cost:
        assert decode_tail(_encode([model, version, flat])) == tail  # as it was stored before there was a shorter form


def _said(names):
    columns = [
        names.subgroups.column("first"),
        names.subgroups.column("count"),
        names.members.column(),
        names.pairs.column("dimension"),
        names.pairs.column("value"),
    ]
    return names.texts, [column.tolist() for column in columns], names.feature_names, names._blobs, names._feature_blobs


def test_the_code_never_changes():
    """What is in a pending table was written with it."""
    assert hashlib.sha256(repr(_CODES).encode()).hexdigest()[:16] == "605610e4e0542080"
    assert squeeze(["model-0", "2024-11", "country", "de"]).hex() == "695b942c31f488f148642344bad693eec143"


def test_no_code_is_the_beginning_of_another():
    texts = sorted(f"{code:0{bits}b}" for code, bits in _CODES)
    assert not [pair for pair in itertools.pairwise(texts) if pair[1].startswith(pair[0])]
    assert sum(2.0**-bits for _, bits in _CODES) == 1


@given(st.binary(max_size=40))
def test_bytes_that_are_none_are_refused_and_nothing_else_happens(data):
    try:
        texts = stretch(data)
    except (ValueError, msgspec.MsgspecError):
        return
    assert all(isinstance(text, str) for text in texts)


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x7f"])
def test_a_tail_of_no_names_is_refused(raw):
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        decode_tail(raw)
