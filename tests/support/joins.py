"""What tests of the join share: strategies of entries, scored messages as multisets, and the protocol from source topics to a fold.

The protocol is a simulation with every step where a process can die: workers that read, look up, produce and commit; workers that lost
their partition and go on; batches cut anew; a fold with marks that falls back to its checkpoint. ``Broken`` names what can be left out, to
show that the tests would notice.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from hypothesis import strategies as st

from detectors.entries import ABSTAINED, ALERTED, BINARY, MAPPED, POSITIVE, VALUED, OutcomeEntry, PredictionEntry, encode_entry
from detectors.intake import SourceBatch
from detectors.join_rows import Row
from detectors.join_rule import contributions, difference
from detectors.joiner import Joiner
from detectors.pending import DictTable, Logs, Lookups, entries_of, scan
from detectors.scored_rows import RowsBuilder
from schemas.feature_codes import TEXT
from schemas.policy import parse_policy
from schemas.scored import COLUMNS, Kind, Origin, Rows, Status, decode, encode

POLICY = parse_policy(
    '[models.A.watch.covariate]\n[models.B]\npositive_label = "yes"\nintersections = [["sex", "site"]]\n'
    '[models.B.watch.covariate]\nfeatures = ["b", "c"]\n'
)
OTHER_POLICY = parse_policy("[defaults]\nthreshold = 0.2\n[models.A]\npositive_label = 0\n")
TEXTS = ("probe", "unit", "alert_key", "action", "rival", "said", "truth")
Multiset = Counter[tuple[Any, ...]]
Exchange = Callable[[Lookups], Logs]


# entries

_LABELS = st.sampled_from([0, 1, 2, "yes", "no"])
_CHECKS = st.tuples(st.sampled_from("xy"), st.integers(0, 1), st.just(1))
_digests = st.integers(0, 5).map(lambda n: n.to_bytes(8, "big"))


def prediction_entries() -> st.SearchStrategy[bytes]:
    """Entries of few models and versions, so that they meet."""
    return st.builds(
        lambda model, version, at, score, flags, label, digest, amount, number: encode_entry(
            PredictionEntry(model, version, at, score, flags, label, digest, amount)
            if number is None
            else PredictionEntry(model, version, at, score, VALUED, None, digest, amount, value=number[0], lower=number[1], upper=number[2])
        ),
        st.sampled_from("AB"),
        st.sampled_from("12"),
        st.integers(0, 3),
        st.sampled_from([None, 0.25, 0.75]),
        st.sampled_from([0, BINARY, BINARY | POSITIVE | ALERTED, BINARY | MAPPED, BINARY | POSITIVE | MAPPED, BINARY | ABSTAINED]),
        st.sampled_from(["yes", "2"]),
        _digests,
        st.sampled_from([0, 500]),
        st.sampled_from([None, None, (1.0, 0.5, 2.0), (1.0, None, None), (1.5, 1.0, 1.5)]),
    )


def outcome_entries() -> st.SearchStrategy[bytes]:
    """Entries with any parts, few times and versions, so that they compete."""
    return st.builds(
        lambda *values: encode_entry(OutcomeEntry(*values)),
        st.integers(0, 6),
        _digests,
        st.none() | _LABELS,
        st.none() | st.integers(0, 3),
        st.sampled_from([None, None, "A", "B", "C"]),
        st.none() | st.integers(0, 2),
        st.none() | st.sampled_from(["acted", "dismissed"]),
        st.none() | st.integers(0, 1),
        st.none() | st.integers(0, 1),
        st.none() | st.lists(_CHECKS, min_size=1, max_size=2, unique_by=lambda check: check[0]).map(sorted),
        st.none() | st.sampled_from([1.0, 1.25, 3.5]),
    )


def logs(max_size: int = 7) -> st.SearchStrategy[list[bytes]]:
    """Entries of one request, in some order of arrival; some of them repeated."""
    return st.lists(prediction_entries() | outcome_entries(), min_size=1, max_size=max_size).flatmap(
        lambda entries: st.lists(st.sampled_from(entries), max_size=3).map(lambda again: entries + again)
    )


def signed(rows: Iterable[Row]) -> Counter[Row]:
    """The multiset that signed rows add up to: data by sign, counts of records by model and status."""
    out: Counter[Row] = Counter()
    for row in rows:
        if row.status:
            out[Row(row.model, status=row.status)] += row.records
        if row.kind != Kind.COUNT:
            out[row._replace(sign=1, status=0, records=1)] += row.sign
    return Counter({row: n for row, n in out.items() if n})


def nonzero(rows: Counter[Any]) -> Counter[Any]:
    return Counter({row: n for row, n in rows.items() if n})


# scored messages as multisets


def message_rows(rows: Rows) -> list[tuple[str, int, tuple[int, int], tuple[Any, ...], int, int, int]]:
    """A message's rows: (origin's partition, ..., what the row adds to, sign, status, count)."""
    columns = {name: rows.column(name).tolist() for name in COLUMNS}
    for name in TEXTS:
        columns[name] = [rows.texts[i] for i in columns[name]]
    columns["version"] = [rows.versions[i] for i in columns["version"]]
    for name in ("score", "error", "rival_error"):
        columns[name] = [None if value != value else value for value in columns[name]]  # noqa: PLR0124 - NaN is not itself
    given = {name: [rows.texts[code - TEXT] if code >= TEXT else code for code in rows.feature(name).tolist()] for name in rows.features}
    groups = {dimension: [rows.texts[i] for i in rows.dimension(dimension).tolist()] for dimension in sorted(rows.dimensions)}
    names = [name for name in columns if name not in {"origin", "offset", "index", "sign", "status", "count"}]
    out = []
    for i in range(rows.n):
        beside = ((d, v[i]) for side in (groups, given) for d, v in side.items() if v[i])
        what = (rows.model_id, *(columns[name][i] for name in names), *beside)
        place = (columns["offset"][i], columns["index"][i])
        origin = rows.origins[columns["origin"][i]]
        out.append((origin, columns["kind"][i], place, what, columns["sign"][i], columns["status"][i], columns["count"][i]))
    return out


def add_rows(into: Multiset, rows: Iterable[tuple[Any, ...]]) -> None:
    for _, kind, _, what, sign, status, count in rows:
        if kind != Kind.COUNT:
            into[what] += sign
        if status:
            into[("count", what[0], status)] += count


def expected(entries_by_key: Iterable[list[bytes]], dead_letters: int) -> Multiset:
    """What any way through the protocol must come to: each request's contributions, whatever their order."""
    builder = RowsBuilder([Origin("any", "", 0)])
    for entries in entries_by_key:
        builder.add(0, 0, 0, 0, difference(Counter(), contributions(entries)))
    out: Multiset = Counter()
    for rows in builder.build():
        add_rows(out, message_rows(rows))
    out["count", "", int(Status.DEAD_LETTER)] += dead_letters
    return nonzero(out)


# the protocol


class Broken(Enum):
    """What is left out of the protocol."""

    NOTHING = auto()
    PREFIX = auto()  # a record that is read again gets the log of now, not what stood before it
    MARKS = auto()  # the fold keeps no marks
    MARKS_PER_MODEL = auto()  # one mark per source partition, for all models
    MARKS_BEFORE = auto()  # rows are held against marks that the same message has moved


def logs_of(logs: Sequence[bytes | None], frames: Sequence[bytes]) -> Logs:
    """Return the answers that logs, each up to and including its own frame, are; None: it is full."""
    whole = [log or b"" for log in logs]
    told = [log.endswith(frame) for log, frame in zip(whole, frames, strict=True)]
    before = [log.removesuffix(frame) if tells else b"" for log, frame, tells in zip(whole, frames, told, strict=True)]
    stored = {i: log for i, (log, tells) in enumerate(zip(whole, told, strict=True)) if log and not tells}
    return Logs.before(before, frames, [i for i, log in enumerate(whole) if not log], stored)


class NowTable(DictTable):
    """A table without the prefix: it answers with whatever the log holds now, the entry itself last."""

    def exchange_now(self, lookups: Lookups) -> Logs:
        out: list[bytes | None] = []
        for key, own, answer in zip(lookups.keys, lookups.frames, super().exchange_now(lookups), strict=True):
            if answer is None:
                out.append(None)
                continue
            whole = self._logs[key]
            stored = answer[scan(answer, b"no such origin")[0] - len(own) :] if answer.endswith(own) else own
            end, _, _ = scan(whole, own[2:16])
            out.append(whole[: end - len(stored)] + whole[end:] + stored)
        return logs_of(out, lookups.frames)


@dataclass
class World:
    """Source partitions with their messages, and where workers and fold have come."""

    sources: dict[Origin, list[bytes]]
    scored: dict[int, list[bytes]] = field(default_factory=lambda: {0: [], 1: []})
    committed: Counter[Origin] = field(default_factory=Counter)


def lookup_columns(lookups: Lookups) -> tuple[list[bytes], list[bytes], list[int]]:
    return lookups.keys, lookups.frames, lookups.ttls_ms


def source_records(r: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Predictions and outcomes of a dozen requests: two models, conflicts, corrections, parts, labels of several kinds."""
    for i in range(10):
        for model in r.sample(["A", "B"], r.choice([1, 2])):
            for _ in range(r.choice([1, 1, 2])):
                record = {"request_id": f"r{i}", "model_id": model, "model_version": r.choice("112"), "timestamp": r.randrange(3)}
                if r.random() < 0.3:
                    values = [None, 1, -2.5, "x", "y" * 70, True, ""]
                    record["features"] = {name: r.choice(values) for name in r.sample("abc", r.randrange(4))}
                record |= {"score": r.choice([0.1, 0.3, 0.9]), "amount": r.randrange(3), "subgroups": {"sex": r.choice("fm"), "site": 1}}
                if r.random() < 0.2:
                    del record["score"]
                    record |= {"predicted_value": r.choice([1.0, 2.5])}
                    yield "predictions", record | r.choice([{}, {"interval": {"lower": 0.5, "upper": r.choice([1.5, 3.0]), "level": 0.9}}])
                    continue
                yield "predictions", record | r.choice([{}, {"predicted_label": r.choice([0, 1, "yes"])}, {"abstained": True}])
        for version in range(r.choice([0, 1, 1, 2, 3])):
            outcome: dict[str, Any] = {"request_id": f"r{i}", "timestamp": r.randrange(9)}
            outcome |= r.choice([{}, {"version": version}]) | r.choice([{}, {}, {"model_id": r.choice("AB")}])
            parts = [{"true_label": r.choice([0, 1, True, "yes"])}, {"cost": r.randrange(3)}, {"action_taken": "acted"}]
            parts.append({"true_value": r.choice([1, 2.75])})
            for part in r.sample([*parts, {"checks": {"cites": [r.randrange(2), 1]}}], r.choice([1, 1, 2, 3])):
                outcome |= part
            yield "outcomes", outcome


def world(r: random.Random) -> World:
    """A world with repeats at other offsets, arrays, and a few records that cannot be read."""
    records = [(topic, json.dumps(record).encode()) for topic, record in source_records(r)]
    records += r.choices(records, k=6)
    records += [("predictions", b'{"request_id": 7}'), ("outcomes", b'{"request_id": "r1", "timestamp": 9999999999999, "true_label": 1}')]
    r.shuffle(records)
    waiting: defaultdict[Origin, list[list[bytes]]] = defaultdict(list)
    for topic, raw in records:
        messages = waiting[Origin(topic, f"id-of-{topic}", r.randrange(2))]
        if messages and r.random() < 0.3:
            messages[-1].append(raw)
        else:
            messages.append([raw])
    return World({origin: [b"[" + b",".join(parts) + b"]" for parts in messages] for origin, messages in waiting.items()})


def worker(world: World, origin: Origin, joiner: Joiner, exchange: Exchange, *, r: random.Random, owns: list[Origin]) -> Iterator[None]:
    """Read, look up, produce and commit one source partition; each ``yield`` is a point where it may die, or others go on."""
    messages, at = world.sources[origin], world.committed[origin]
    while at < len(messages):
        stop = min(len(messages), at + r.randint(1, 3))
        offsets = list(range(at, stop))
        prepared = joiner.prepare([SourceBatch(origin, offsets, [10] * len(offsets), messages[at:stop])])
        logs: list[bytes | None] = []
        for key, frame, ttl_ms in zip(*lookup_columns(prepared.lookups), strict=True):  # a round trip may be cut off anywhere
            logs += exchange(Lookups([key], [frame], [ttl_ms]))
            if r.random() < 0.3:
                yield
        for rows in joiner.finish(prepared, logs_of(logs, prepared.lookups.frames)).rows:
            world.scored[rows.model_id == "B"].append(encode(rows))
            yield
        at = stop
        if origin in owns:
            world.committed[origin] = max(world.committed[origin], at)
        yield


def fold(messages: Sequence[bytes], r: random.Random, broken: Broken) -> Multiset:
    """Sum the rows that are above the marks, with crashes back to the last checkpoint."""
    at, marks, sums = 0, {}, Counter()  # type: ignore[var-annotated]
    saved: tuple[int, dict[Any, Any], Multiset] = (0, {}, Counter())
    while at < len(messages):
        rows = decode(messages[at])
        assert isinstance(rows, Rows)
        before = marks if broken is Broken.MARKS_BEFORE else dict(marks)
        kept = []
        for row in message_rows(rows):
            origin, _, place, *_ = row
            mark = origin if broken is Broken.MARKS_PER_MODEL else (rows.model_id, origin)
            if place > before.get(mark, (-1, -1)) or broken is Broken.MARKS:
                kept.append(row)
                marks[mark] = max(place, marks.get(mark, (-1, -1)))
        add_rows(sums, kept)
        at += 1
        luck = r.random()
        if luck < 0.3:
            saved = (at, dict(marks), sums.copy())
        elif luck < 0.5:
            at, marks, sums = saved[0], dict(saved[1]), saved[2].copy()
    return sums


def run(seed: int, exchange: Exchange | None = None, broken: Broken = Broken.NOTHING) -> tuple[Multiset, Multiset, int]:
    """Run a random schedule; return what it came to, what it must come to, and how many records there were."""
    r = random.Random(seed)
    here = world(r)
    if exchange is None:
        exchange = (NowTable() if broken is Broken.PREFIX else DictTable()).exchange_now
    entries: defaultdict[bytes, dict[bytes, bytes]] = defaultdict(dict)

    def recorded(lookups: Lookups) -> Logs:
        answers = exchange(lookups)
        for key, frame, answer in zip(lookups.keys, lookups.frames, answers, strict=True):
            entries[key].setdefault(frame[2:16], entries_of(answer)[-1] if answer else b"")
        return answers

    def new_worker(origin: Origin, owns: list[Origin]) -> Iterator[None]:
        joiner = Joiner(r.choice([POLICY, POLICY, OTHER_POLICY]), b"secret", max_skew_ms=1_000, max_rows=r.choice([1, 3, 8_000]))
        return worker(here, origin, joiner, recorded, r=r, owns=owns)

    owned = {origin: [origin] for origin in here.sources}
    workers = {origin: new_worker(origin, owned[origin]) for origin in here.sources}
    zombies: list[Iterator[None]] = []
    for _ in range(3000):
        origin = r.choice(list(workers))
        luck = r.random()
        if luck < 0.06:  # a crash, or a partition lost to another worker; the old one may go on for a while
            owned[origin].clear()
            owned[origin] = [origin]
            zombies += [workers[origin]] if r.random() < 0.5 else []
            workers[origin] = new_worker(origin, owned[origin])
        elif luck < 0.35 and zombies:
            zombie = r.choice(zombies)
            if next(zombie, "ended") == "ended" or r.random() < 0.1:
                zombies.remove(zombie)
        elif next(workers[origin], "ended") == "ended" and all(here.committed[o] == len(m) for o, m in here.sources.items()):
            break
    for rest in workers.values():
        for _ in rest:
            pass
    got: Multiset = Counter()
    for messages in here.scored.values():
        for key, n in fold(messages, r, broken).items():
            got[key] += n
    records = sum(len(json.loads(message)) for messages in here.sources.values() for message in messages)
    return nonzero(got), expected([list(log.values()) for log in entries.values()], dead_letters=2), records
