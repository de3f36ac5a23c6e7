"""The join without a pending table gives what the join with one gives, message by message."""

import json
import random
from itertools import pairwise

import numpy as np
import pytest
from support.joins import OTHER_POLICY, POLICY, source_records

from detectors import local_join, pending
from detectors.contexts import Contexts
from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.local_join import LocalJoin
from detectors.pending import MAX_ENTRIES, DictTable
from schemas.codec import encode as encode_record
from schemas.scored import Origin, encode
from schemas.text_lines import TextLines


def plain(r: random.Random, n: int) -> list[tuple[str, bytes]]:
    """Predictions and labels that meet in either order, some of them more than once."""
    records = []
    for i in range(n):
        made = {"request_id": f"p{i}", "model_id": r.choice("AC"), "model_version": "1", "timestamp": r.randrange(9), "score": r.random()}
        if r.random() < 0.3:
            made |= {"subgroups": {"site": r.choice("xyz")}, "amount": r.randrange(99)}
        known = {"request_id": f"p{i}", "timestamp": r.randrange(99), "true_label": r.randrange(2)}
        both = [("predictions", json.dumps(made).encode()), ("outcomes", json.dumps(known).encode())]
        odd = [
            ("predictions", json.dumps(made | {"timestamp": 2**50}).encode()),
            ("predictions", json.dumps({**made, "score": None, "predicted_value": 2.5}).encode()),
            ("predictions", json.dumps(made | {"unit": "u" * 90}).encode()),
            ("outcomes", json.dumps(known | {"cost": 5}).encode()),
            ("outcomes", json.dumps([known, known | {"timestamp": 2}]).encode()),
            ("outcomes", b"{"),
        ]
        records += r.choice(
            [both, both, both, [odd[2], both[1]], r.sample(both + odd, r.randrange(1, 5)) + r.choices(both, k=r.randrange(3))]
        )
    r.shuffle(records)
    return records


def batches(r: random.Random, records: list[tuple[str, bytes]]) -> list[list[SourceBatch]]:
    cuts = sorted({0, len(records), *(r.randrange(len(records)) for _ in range(4))})
    offsets = {"predictions": 0, "outcomes": 0}
    out = []
    for begin, end in pairwise(cuts):
        out.append([])
        for topic, first in offsets.items():
            values = [value for name, value in records[begin:end] if name == topic]
            offsets[topic] += len(values)
            if values:
                offset = range(first, first + len(values))
                out[-1].append(SourceBatch(Origin(topic, "x", 0), offset, [2**51] * len(values), as_a_log_has_them(r, values)))
    return out


def as_a_log_has_them(r: random.Random, values: list[bytes]) -> list[bytes] | TextLines:
    """Half of the time: as lines of a text, in its order or another one."""
    if r.random() < 0.5 or any(b"\n" in value for value in values):
        return values
    order = r.choice([list(range(len(values))), r.sample(range(len(values)), len(values))])
    ends = np.cumsum([len(values[i]) + 1 for i in order]) - 1
    place = np.argsort(order)
    sizes = np.array(list(map(len, values)))
    return TextLines(memoryview(b"\n".join([values[i] for i in order])), ends[place] - sizes, ends[place])


def told(joined):
    return [encode(rows) for rows in joined.rows], [encode_record(letter) for letter in joined.dead_letters], joined.highs


@pytest.mark.parametrize("policy", [POLICY, OTHER_POLICY])
@pytest.mark.parametrize("seed", range(12))
def test_it_gives_what_the_join_with_a_table_gives(policy, seed, monkeypatch):
    r = random.Random(seed)
    records = [(topic, json.dumps(record).encode()) for topic, record in source_records(r)]
    records += plain(r, 60)
    r.shuffle(records)
    if seed % 3 == 0:
        for module in (local_join, pending):
            monkeypatch.setattr(module, "LARGEST_FRAME", 120)
    if seed % 4 == 1:
        limited(monkeypatch, 110)
    if seed % 2:  # all that repeats is forgotten between batches
        monkeypatch.setattr(Contexts, "full", lambda _: True)
    monkeypatch.setattr(local_join, "_ROOM", 16)  # it must grow
    joining, table, local = Joiner(policy, None), DictTable(), LocalJoin(policy)
    for chunk in batches(r, records):
        prepared = joining.prepare(chunk)
        assert told(local.join(chunk)) == told(joining.finish(prepared, table.exchange_now(prepared.lookups)))


def limited(monkeypatch, max_bytes):
    """Let all logs hold so many bytes."""
    monkeypatch.setattr(local_join, "MAX_BYTES", max_bytes, raising=False)
    monkeypatch.setattr(DictTable.__init__, "__defaults__", (MAX_ENTRIES, max_bytes))


@pytest.mark.parametrize("first", ["predictions", "outcomes"])
def test_a_log_is_as_full_as_that_of_the_join_with_a_table(first, monkeypatch):
    made = b'{"request_id": "a", "model_id": "A", "model_version": "1", "timestamp": 5, "score": 0.9}'
    known = b'{"request_id": "a", "timestamp": 9, "true_label": 1}'
    sent = [("predictions", made), ("outcomes", known)]
    chunks = [[SourceBatch(Origin(topic, "x", 0), [0], [2**51], [value])] for topic, value in sorted(sent, reverse=first == "predictions")]
    joining = Joiner(OTHER_POLICY, None)
    sizes = [len(joining.prepare(chunk).lookups.frames[0]) for chunk in chunks]
    refused = set()
    for max_bytes in range(min(sizes) - 1, sum(sizes) + 1):
        limited(monkeypatch, max_bytes)
        joining, table, local = Joiner(OTHER_POLICY, None), DictTable(), LocalJoin(OTHER_POLICY)
        for chunk in chunks:
            prepared = joining.prepare(chunk)
            joined = joining.finish(prepared, table.exchange_now(prepared.lookups))
            assert told(local.join(chunk)) == told(joined)
        refused.add(len(joined.dead_letters))
    assert refused == {0, 1}


def test_usual_pairs_need_no_log(monkeypatch):
    monkeypatch.setattr(DictTable, "exchange_now", lambda *_: pytest.fail("a log"))
    both = [record for record in plain(random.Random(1), 200) if b"cost" not in record[1]]
    seen: dict[tuple[str, str], bytes] = {}
    for topic, value in both:
        record = json.loads(value) if value[:2] == b'{"' else {}
        if record.get("timestamp", 100) < 100 and "predicted_value" not in record and "unit" not in record:
            seen.setdefault((topic, record["request_id"]), value)
    local = LocalJoin(OTHER_POLICY)
    joined = [local.join(chunk) for chunk in batches(random.Random(2), [(topic, value) for (topic, _), value in seen.items()])]
    assert sum(rows.n for each in joined for rows in each.rows) > 200
