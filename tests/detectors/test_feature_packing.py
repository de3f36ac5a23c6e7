"""Features on their way from a prediction to the columns of the scored topic, and that they cost nothing where nobody watches them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.entries import BINARY, FORMS, PREDICTION_FORM, PredictionEntry, decode_entry, encode_entry
from detectors.feature_packing import feature_columns, pack_features, unpack_names
from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.packing import pack_prediction
from detectors.pending import FRAME_BYTES, DictTable
from schemas.feature_codes import ABSENT, HIGHEST, LOWEST, MISSING, TEXT, codes_of, edge, number_codes
from schemas.policy import Policy, PolicyError, parse_policy
from schemas.policy_models import MAX_FEATURE_NAME, MAX_FEATURES
from schemas.prediction import Prediction
from schemas.scored import Kind, Origin, decode, encode

PREDICTIONS = Origin("predictions", "x", 0)
ALL = parse_policy("[models.m.watch.covariate]\n")
MADE = {"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 5, "score": 0.9}


def join(*records: dict[str, object], policy: Policy = ALL, table: DictTable | None = None, first: int = 0):
    values = [json.dumps(MADE | record).encode() for record in records]
    joiner = Joiner(policy, b"secret")
    prepared = joiner.prepare([SourceBatch(PREDICTIONS, range(first, first + len(values)), [10] * len(values), values)])
    joined = joiner.finish(prepared, (table or DictTable()).exchange_now(prepared.lookups))
    [rows] = [rows for rows in joined.rows if rows.model_id == "m"]
    return decode(encode(rows)), prepared.lookups.frames


def said(rows, name: str) -> list[object]:
    """A feature of each row: a number's edge, a text, None for missing, an ellipsis where it was not sent."""
    words = {ABSENT: ..., MISSING: None}
    return [rows.texts[c - TEXT] if c >= TEXT else words[c] if c in words else edge(c) for c in rows.feature(name).tolist()]


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=20))
def test_codes_keep_the_order_of_numbers(values):
    codes = number_codes(np.sort(values))
    assert (np.diff(codes) >= 0).all()
    assert codes.min() >= LOWEST
    assert codes.max() <= HIGHEST


@pytest.mark.parametrize("code", [LOWEST, LOWEST + 1, 32258, 32259, 32260, 50_000, HIGHEST])
def test_a_cell_begins_at_its_edge(code):
    assert number_codes([edge(code)]).tolist() == [code]


@given(st.floats(2.0**-27, 2.0**36, exclude_max=True), st.sampled_from([1, -1]))
def test_a_code_says_a_number_to_two_in_a_thousand(size, sign):
    [code] = number_codes([sign * size]).tolist()
    assert 0 <= (abs(size) - abs(edge(code))) / size <= 1 / 512


def test_values_come_as_they_were_sent():
    rows, _ = join(
        {"request_id": "a", "features": {"age": 41, "site": "B", "vip": True, "income": None}},
        {"request_id": "b", "features": {"age": -2.5, "site": "C", "vip": None}},
        {"request_id": "c", "features": {"age": "old", "site": ""}},
        {"request_id": "d"},
    )
    assert said(rows, "age") == [41.0, -2.5, "old", ...]
    assert said(rows, "site") == ["B", "C", None, ...]
    assert said(rows, "vip") == ["true", None, ..., ...]
    assert said(rows, "income") == [None, ..., ..., ...]
    assert len(rows.features["income"]) == 2 * rows.n
    assert len(rows.features["site"]) == 4 * rows.n


def test_what_a_policy_names_and_a_prediction_leaves_out_is_missing():
    policy = parse_policy('[models.m.watch.covariate]\nfeatures = ["age", "site"]\n')
    rows, _ = join(
        {"request_id": "a", "features": {"other": 1}}, {"request_id": "b", "features": {"age": 3}}, {"request_id": "c"}, policy=policy
    )
    assert (said(rows, "age"), said(rows, "site"), said(rows, "other")) == ([None, 3.0, ...], [None, None, ...], [..., ..., ...])


def test_nothing_is_carried_where_nobody_watches_it():
    features = {"features": {"age": 41, "site": "B"}}
    rows, [own] = join(features, policy=Policy())
    [without] = join({}, policy=Policy())[1]
    assert rows.features == {}
    assert rows.column("features").tolist() == [2]
    assert own[FRAME_BYTES] & FORMS == PREDICTION_FORM
    assert len(own) - len(without) < 12  # their number


def test_what_twenty_features_cost_on_the_way():
    features = {f"feature_{i}": i / 7 for i in range(20)}
    many = [{"request_id": str(i), "features": features} for i in range(1000)]
    rows, frames = join(*many)
    bare, bare_frames = join(*[{"request_id": str(i)} for i in range(1000)])
    assert (len(encode(rows)) - len(encode(bare))) / 1000 < 20 * 2 + 5
    assert len(frames[0]) - len(bare_frames[0]) < 20 * 2 + 20 * 12 + 20


def test_a_conflict_takes_back_the_features_of_the_one_that_loses():
    table = DictTable()
    join({"timestamp": 6, "features": {"age": 30, "site": "B"}}, table=table)
    rows, _ = join({"timestamp": 5, "features": {"age": 40, "site": "C"}}, table=table, first=1)
    made = rows.column("kind") == Kind.PREDICTION
    told = list(zip(rows.column("sign")[made].tolist(), said(rows, "age"), said(rows, "site"), strict=True))
    assert sorted(told) == [(-1, 30.0, "B"), (1, 40.0, "C")]


def test_labels_carry_no_features():
    values = [json.dumps(MADE | {"features": {"age": 30}}).encode()]
    known = [b'{"request_id": "a", "timestamp": 9, "true_label": 1, "cost": 3, "action_taken": "acted"}']
    joiner, table = Joiner(ALL, b"secret"), DictTable()
    prepared = joiner.prepare([SourceBatch(PREDICTIONS, [0], [10], values), SourceBatch(Origin("outcomes", "y", 0), [0], [10], known)])
    [rows] = joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows
    assert [bool(code) for code in rows.feature("age")] == [kind == Kind.PREDICTION for kind in rows.column("kind")]
    assert rows.n == 4


def test_names_are_bounded():
    many = {f"f{i:03}": 1.0 for i in range(MAX_FEATURES + 50)} | {"x" * (MAX_FEATURE_NAME + 1): 1.0}
    [(names, values)] = pack_features([many], ())
    assert unpack_names(names) == [f"f{i:03}" for i in range(MAX_FEATURES)]
    assert len(values) == 2 * MAX_FEATURES
    with pytest.raises(PolicyError, match=r"models.m.watch.covariate.features: expected at most 100 names"):
        parse_policy(f"[models.m.watch.covariate]\nfeatures = {json.dumps(list(many)[:-1])}\n")
    with pytest.raises(PolicyError, match=r"features: expected a list of names"):
        parse_policy('[models.m.watch.covariate]\nfeatures = "age"\n')
    with pytest.raises(PolicyError, match=r"features: expected names of at most 64 characters"):
        parse_policy(f"[models.m.watch.covariate]\nfeatures = {json.dumps(list(many)[-1:])}\n")


@pytest.mark.parametrize("values", [b"\1", b"\1\0", b"\2\0\1\0", b"\2\0\1\0\x92\xa1a\xa1b", b"\1\0\1\0\x91\xa1a", b"\2\0\1\0\xc1"])
def test_damaged_values_are_no_entry(values):
    [(names, good)] = pack_features([{"a": "x", "b": 1}], ())
    made = PredictionEntry("m", "1", 5, 0.5, BINARY, None, b"12345678", feature_names=names, feature_values=good)
    assert decode_entry(encode_entry(made)) == made
    damaged = PredictionEntry("m", "1", 5, 0.5, BINARY, None, b"12345678", feature_names=names, feature_values=values)
    with pytest.raises(ValueError, match=r"."):
        decode_entry(encode_entry(damaged))


def test_a_message_may_hold_predictions_with_different_features():
    packed = pack_features([{"a": 1.0}, {"b": "x"}, {"a": 2.0, "b": "y"}, None], ())
    groups = [(unpack_names(names), np.array([i]), [values]) for i, (names, values) in enumerate(packed) if names]
    columns = feature_columns(groups, 4, {"x": 1, "y": 2}.__getitem__)
    assert codes_of(columns["a"], 4).tolist() == [*number_codes([1.0]), 0, *number_codes([2.0]), 0]
    assert codes_of(columns["b"], 4).tolist() == [0, TEXT + 1, TEXT + 2, 0]


def test_one_is_packed_as_many_are():
    record = Prediction(**MADE, features={"age": 3.5, "site": "B"})
    _, [frame] = join({"features": {"age": 3.5, "site": "B"}})
    one = decode_entry(pack_prediction(record, b"", ALL.for_model("m")))
    many = decode_entry(frame[FRAME_BYTES:])
    assert (one.feature_names, one.feature_values) == (many.feature_names, many.feature_values) != (b"", b"")
