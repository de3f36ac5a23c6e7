"""What repeats is packed once, on a short way where that goes: what is known of it is what its tail says to whoever reads it."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.contexts import FIELDS, MORE, UNREADABLE, Contexts
from detectors.entries import BINARY, MAPPED, Tail, encode_tail
from detectors.packing import pack_subgroups
from detectors.shapes import Shapes
from schemas.policy_models import ModelPolicy

POLICIES = {
    "plain": (ModelPolicy(), 0),
    "kept": (ModelPolicy(dimensions=("a", "b*c")), 5),
    "joint": (ModelPolicy(intersections=(("a", "b"),), threshold=0.25), 0),
    "mapped": (ModelPolicy(positive_label="yes"), 7),
}
NAMES = st.one_of(st.sampled_from(["a", "b", "b*c", r"b\*c", "é"]), st.text(max_size=3), st.just("x" * 300))
VALUES = st.one_of(st.sampled_from([None, "", "1", 1, 1.0, True, "true", 0.5, [1]]), st.text(max_size=40), st.just("y" * 250))
MORES = st.sampled_from([None, (None, 0, 0, 0, "", "", ""), ("cat", 25, 2, 1, "ward", "p7", ""), (None, 0, 0, 0, "", "", "canary")])
SHAPES = st.tuples(
    st.sampled_from(list(POLICIES)),
    st.sampled_from(["1", "2024-11"]),
    st.one_of(st.just(b""), st.dictionaries(NAMES, VALUES, max_size=4).map(lambda each: json.dumps(each).encode())),
    MORES,
)


@example([[("plain", "1", json.dumps({name: "1"}).encode(), None) for name in ("b*c", r"b\*c")]])
@given(st.lists(st.lists(SHAPES, min_size=1, max_size=8), min_size=1, max_size=4))
def test_what_is_known_of_a_shape_is_what_its_tail_says(batches):
    shapes = Shapes(POLICIES.__getitem__)
    for batch in batches:
        models, versions, subgroups, more = zip(*batch, strict=True)
        codes = shapes.numbers(models, versions, subgroups, more if any(more) else [])
        assert _known(shapes, batch, codes) == [_packed(shape) for shape in batch]
    again = Contexts()
    for tail, number in shapes.contexts.items():
        assert _said(shapes.contexts, number) == _said(again, again[tail])


def test_what_failed_to_be_learnt_is_learnt_later(monkeypatch):
    batch = [("plain", "1", b'{"a": "1"}', None), ("mapped", "1", b'{"a": "1"}', None)]
    models, versions, subgroups, _ = zip(*batch, strict=True)
    shapes = Shapes(POLICIES.__getitem__)
    with monkeypatch.context() as patch:
        patch.setattr("detectors.shapes.encode_tail", lambda tail: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shapes.numbers(models, versions, subgroups, [])
    assert _known(shapes, batch, shapes.numbers(models, versions, subgroups, [])) == [_packed(shape) for shape in batch]


def _json(n, space=0):
    return json.dumps({f"d{i}": str(i) for i in range(n)}).encode().replace(b":", b":" + b" " * space)


@pytest.mark.parametrize(
    ("what", "few", "many"),
    [
        ("MOST", [_json(20)] * 9, [_json(30)]),  # pairs
        ("MOST", [b'{"a": "%d"}' % i for i in range(9)], [b'{"a": "%d"}' % i for i in range(30)]),
        ("MOST_BYTES", [_json(10)] * 9, [_json(10, space=99)]),
        ("MOST_BYTES", [_json(1, space=20)] * 60, [_json(1, space=i) for i in range(60)]),
        ("MOST_BYTES", [b"[" + b" " * 500] * 9, [b"[" + b" " * i for i in range(500, 509)]),  # that cannot be read
    ],
)
def test_whoever_holds_much_begins_anew(what, few, many, monkeypatch):
    monkeypatch.setattr("detectors.contexts." + what, {"MOST": 25, "MOST_BYTES": 900}[what], raising=False)
    for subgroups, full in ((few, False), (many, True)):
        shapes = Shapes(POLICIES.__getitem__)
        for each in subgroups:
            shapes.numbers(["plain"], ["1"], [each], [])
        assert shapes.full() == full


@pytest.mark.parametrize(
    ("what", "most", "tails"),
    [
        ("MOST_BYTES", 900, [encode_tail(Tail("x" * 250, str(i))) for i in range(4)]),
        ("MOST_NAMES", 60, [encode_tail(Tail("m", str(n), feature_names=msgspec.msgpack.encode(["x"] * n))) for n in (1, 99)]),
        ("MOST", 60, [encode_tail(Tail("m", "1", pack_subgroups({f"d{k}": i for k in range(32)}))) for i in range(2)]),
    ],
)
def test_whoever_has_read_much_begins_anew(what, most, tails, monkeypatch):
    monkeypatch.setattr("detectors.contexts." + what, most, raising=False)
    contexts = Contexts()
    assert UNREADABLE not in map(contexts.__getitem__, tails[:-1])
    assert not contexts.full()
    assert contexts[tails[-1]] != UNREADABLE
    assert contexts.full()


def _packed(shape):
    """Return flags, time to live and tail of a shape as they are made of one alone; None: its subgroups cannot be read."""
    model, version, subgroups, more = shape
    policy, ttl_ms = POLICIES[model]
    try:
        given = msgspec.json.decode(subgroups, type=dict[str, bool | int | float | str | None]) if subgroups else None
    except msgspec.ValidationError:
        return None
    if any(not name or len(name) > 256 or len(str(value)) > 256 for name, value in (given or {}).items()):
        return None
    mapped = model == "mapped"
    label, *rest = more or ("yes" if mapped else None,)
    tail = Tail(model, version, pack_subgroups(given, policy.dimensions, policy.intersections), label, *rest)
    return policy.threshold, BINARY | MAPPED if mapped else BINARY, ttl_ms, encode_tail(tail)


def _known(shapes, batch, codes):
    columns = [shapes.column(name, codes).tolist() for name in ("threshold", "flags", "ttl_ms", "context")]
    out = []
    for code, *known, context in zip(codes.tolist(), *columns, strict=True):
        assert context == UNREADABLE or context == shapes.contexts[shapes.tails[code]]
        out.append(None if context == UNREADABLE else (*known, shapes.tails[code]))
    return out


def _said(contexts, number):
    """Return what a tail says, without numbers of names."""
    names, one = contexts.names, np.array([number])
    said = {name: int(contexts.column(name, one)[0]) for name in (*FIELDS, *MORE)}
    first, count = (int(names.subgroups.column(name)[said["subgroups"]]) for name in ("first", "count"))
    members = names.members.column()[first : first + count]
    pairs = [tuple(names.texts[text] for text in names.pairs.column(name)[members].tolist()) for name in ("dimension", "value")]
    texts = [names.texts[said[name]] for name in ("model", "version", "unit", "alert_key", "probe", "label")]
    return texts, list(zip(*pairs, strict=True)), [said[name] for name in ("money", "features", "missing", "label_0", "label_1")]
