"""What is done for many records at once is what is done for each: decoding, packing, the rule, and the scored bytes."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.joins import OTHER_POLICY, POLICY, source_records

from detectors import joiner as joiner_module
from detectors.bulk_packing import USUAL
from detectors.entries import decode_entry
from detectors.intake import SourceBatch
from detectors.join_columns import Unusual, join_usual
from detectors.joiner import Joined, Joiner
from detectors.packing import pack_outcome, pack_prediction
from detectors.pending import DictTable, entries_of, origin_prefix, record_origin, scan
from schemas.bulk import decode_many, held_by
from schemas.codec import Fault, Limits, decode_records
from schemas.outcome import Outcome
from schemas.prediction import Prediction
from schemas.scored import Origin, encode

NOW = 1_767_323_045_000
ORIGINS = {topic: [Origin(topic, f"id-of-{topic}", p) for p in range(2)] for topic in ("predictions", "outcomes")}
PARTICULARS = {
    "unit": "ward",
    "alert_key": "p7",
    "probe": True,
    "compute_cost": 0.5,
    "features": {"a": 1, "b": None},
    "alerted": False,
    "abstained": True,
    "amount": 12.345,
    "scores": {"cat": 0.7, "dog": 0.3},
    "predicted_label": "yes",
    "subgroups": {"sex": "f", "site": 3},
    "predicted_value": 2.5,  # refused beside a score
    "interval": {"lower": 1.0, "upper": 2.0, "level": 0.9},
}


def messages(r: random.Random, ordinary: float) -> list[tuple[str, bytes]]:
    """Records of a few requests, most of them ordinary; some in arrays, some that cannot be read."""
    out: list[tuple[str, bytes]] = []
    for topic, record in source_records(r):
        if topic == "predictions" and r.random() > ordinary:
            name = r.choice(list(PARTICULARS))
            record |= {name: PARTICULARS[name]}
        elif topic == "outcomes" and r.random() < ordinary:
            for name in record.keys() - {"request_id", "timestamp"}:
                del record[name]
            record["true_label"] = r.choice([0, 1, True, 1.0])
        record["timestamp"] = r.choice([record["timestamp"], "2026-01-02T03:04:05.678Z"])
        raw = json.dumps(record).encode()
        out.append((topic, r.choice([raw] * 9 + [b"[" + raw + b"," + raw + b"]", b" " + raw, raw + b"\n" + raw, raw[:-1]])))
    r.shuffle(out)
    return out


def steps(seed: int) -> list[list[SourceBatch]]:
    r = random.Random(seed)
    offsets = dict.fromkeys((origin for each in ORIGINS.values() for origin in each), 0)
    out = []
    waiting = messages(r, r.choice([0.5, 0.9, 1.0]))
    while waiting:
        n = r.randint(1, 12)
        taken, waiting = waiting[:n], waiting[n:]
        batches = []
        for topic, origins in ORIGINS.items():
            mine = [raw for each, raw in taken if each == topic]
            for origin, values in zip(origins, (mine[::2], mine[1::2]), strict=True):
                if values:
                    batches.append(SourceBatch(origin, range(offsets[origin], offsets[origin] + len(values)), [NOW] * len(values), values))
                    offsets[origin] += len(values)
        r.shuffle(batches)
        out += [batches] * r.choice([1, 1, 1, 2])  # read again
    return out


def joined(seed: int) -> list[Joined]:
    joiner, table = Joiner(random.Random(seed).choice([POLICY, OTHER_POLICY]), b"secret"), DictTable()
    out = []
    for batches in steps(seed):
        prepared = joiner.prepare(batches)
        out.append(joiner.finish(prepared, table.exchange_now(prepared.lookups)))
    return out


def nothing_is_usual(_packed: Any, logs: Any, _contexts: Any, _builder: Any) -> list[Unusual]:
    return [Unusual(i, log) for i, log in enumerate(logs)]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_the_rule_on_columns_gives_the_bytes_of_the_rule(seed: int) -> None:
    fast = joined(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joiner_module, "join_usual", nothing_is_usual)
        slow = joined(seed)
    assert [list(map(encode, each.rows)) for each in fast] == [list(map(encode, each.rows)) for each in slow]
    assert [(each.dead_letters, each.highs) for each in fast] == [(each.dead_letters, each.highs) for each in slow]


def test_what_is_tested_holds_both(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counter[str]()

    def counting(packed: Any, logs: Any, contexts: Any, builder: Any) -> list[Unusual]:
        left = join_usual(packed, logs, contexts, builder)
        counts["unusual"] += len(left)
        counts["usual"] += len(logs) - len(left)
        return left

    monkeypatch.setattr(joiner_module, "join_usual", counting)
    for seed in range(20):
        joined(seed)
    assert min(counts["usual"], counts["unusual"]) > 100


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_many_records_are_packed_as_each_would_be(seed: int) -> None:
    r = random.Random(seed)
    policy = r.choice([POLICY, OTHER_POLICY])
    joiner = Joiner(policy, b"secret")
    for batches in steps(seed):
        want = []
        for kind, topic in ((Prediction, "predictions"), (Outcome, "outcomes")):
            for batch in (batch for batch in batches if batch.origin.topic == topic):
                for offset, value in zip(batch.offsets, batch.values, strict=True):
                    for index, record, raw in decode_records(value, kind):
                        if not isinstance(record, Fault):
                            pack = (
                                pack_outcome(record, raw)
                                if kind is Outcome
                                else pack_prediction(record, raw, policy.for_model(record.model_id))
                            )
                            origin = record_origin(origin_prefix(batch.origin), offset, index)
                            want.append((joiner._key(record.request_id, record.row), origin, decode_entry(pack), pack))
        lookups = joiner.prepare(batches).lookups
        got = [
            (key, frame[2:16], decode_entry(entries_of(frame)[0]), entries_of(frame)[0])
            for key, frame in zip(lookups.keys, lookups.frames, strict=True)
        ]
        assert got == want
        assert all(scan(frame, frame[2:16]) == (len(frame), 1, True) for frame in lookups.frames)


GOOD = b'{"request_id": "a", "timestamp": 5, "true_label": 1}'
PIECES = [
    GOOD,
    GOOD[:-1] + b', "more": {"a": [1, {"b": 2}]}}',
    GOOD[:-1] + b', "more": ' + b"[" * 40 + b"]" * 40 + b"}",
    b"[" + GOOD + b"," + GOOD + b"]",
    b"[]",
    b"",
    None,
    GOOD + b"\n" + GOOD,  # two in one
    b'{"request_id": "a", "timestamp": 5, "x": {}',  # the next three would make one of two
    b'{"request_id": "b", "true_label": 1}',
    b'{"request_id": "a}',
    b'{", "timestamp": 5, "true_label": 1}',
    b'{"request_id": "\xff", "timestamp": 5, "true_label": 1}',
    b'{"request_id": "\xc3\xa9", "timestamp": 5, "true_label": 1}',
    b'{"request_id": "a", "timestamp": 5, "true_label": 1, "row": null}',
    b'{"request_id": "a", "timestamp": 5, "true_label": 1, "true_label": null, "cost": 1}',
    GOOD + b" ",
    GOOD[:-1] + b', "pad": "' + b"x" * 300 + b'"}',
]


def values_of(record: Any) -> list[Any]:
    return [getattr(record, name) for name in Outcome.__struct_fields__]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([GOOD] * 8 + PIECES), max_size=40), st.sampled_from([(), USUAL[Outcome]]))
def test_many_messages_are_read_as_each_would_be(values: list[bytes | None], usual: tuple[str, ...]) -> None:
    limits = Limits(max_bytes=300)
    bulk = decode_many(values, Outcome, limits, usual=usual)
    want = [(position, *each) for position, value in enumerate(values) for each in decode_records(value, Outcome, limits)]
    assert list(zip(bulk.messages, bulk.elements, bulk.raws, strict=True)) == [(message, index, raw) for message, index, _, raw in want]
    for got, (_, _, record, _) in zip(bulk.records, want, strict=True):
        if isinstance(record, Fault):
            assert got == record
        else:
            assert [getattr(got, name) for name in Outcome.__struct_fields__] == [
                getattr(record, name) for name in Outcome.__struct_fields__
            ]


def test_ordinary_messages_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schemas.bulk.decode_records", lambda *_: pytest.fail("one by one"))
    assert len(decode_many([PIECES[0], PIECES[1]] * 50, Outcome).records) == 100


def test_what_the_usual_record_does_not_hold_is_at_its_default() -> None:
    names = [name for name in Outcome.__struct_fields__ if name not in USUAL[Outcome]]
    more = GOOD[:-1] + b', "cost": 2}'
    for values, held in (([GOOD] * 20, []), ([GOOD, more] * 20, names)):
        records = decode_many(values, Outcome, usual=USUAL[Outcome]).records
        assert held_by(set(map(type, records)), names) == held
        assert [record.cost for record in records[:2]] == [None, 2 if held else None]
