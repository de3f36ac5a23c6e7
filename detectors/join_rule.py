"""The join rule: from what a request's log holds, and what arrives, to signed rows. Pure, and free of order by construction.

``contributions(entries)`` is the multiset of rows that a set of entries stands for, whatever their order. What an arrival adds is the
difference that it makes, so the sum over any order of arrival telescopes to the same end:

    rule(prefix, entry) = contributions(prefix + [entry]) - contributions(prefix)

Counts of records telescope likewise: an arrival may take back how an earlier one was counted (an outcome that waited has joined), and the
counts of one arrival, superseded parts aside, always add up to one record.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import msgspec

from detectors.entries import ABSTAINED, VALUED, Entry, OutcomeEntry, PredictionEntry, decode_entry
from detectors.join_rows import COUNT, NONE, Row, check_rows, cost_row, disposition_row, label_row, pair_row, prediction_row
from schemas.scored import Status

_PREDICTION, _JOINED, _CORRECTION, _DUPLICATE = map(int, (Status.PREDICTION, Status.JOINED, Status.CORRECTION, Status.DUPLICATE))
_CONFLICT, _SUPERSEDED = int(Status.CONFLICT), int(Status.SUPERSEDED)
_WAITING = Row("", status=int(Status.WAITING))


class _Known(NamedTuple):
    """An outcome with its bytes; sorts by when it became known, then by what outranks what."""

    at: int
    rank: int
    raw: bytes
    entry: OutcomeEntry


_Slots = dict[tuple[str, str], tuple[bytes, PredictionEntry]]


def rule(prefix: Sequence[bytes], entry: bytes) -> list[Row]:
    """Return the rows that an entry adds to those of the entries before it, in an order that depends on nothing else.

    Parameters
    ----------
    prefix
        The entries that came before it, as packed by ``detectors.entries``. One that cannot be read stands for nothing.
    entry
        The one that arrives.

    Raises
    ------
    msgspec.MsgspecError
        If ``entry`` itself cannot be read.

    Examples
    --------
    >>> from detectors.entries import BINARY, POSITIVE, encode_entry
    >>> made = encode_entry(PredictionEntry("m", "1", 5, 0.9, BINARY | POSITIVE, None, b"a"))
    >>> known = encode_entry(OutcomeEntry(9, b"b", label=1))
    >>> [(row.kind, row.status, row.label) for row in rule([made], known)]
    [(2, 2, 1)]
    >>> for row in rule([known], made):
    ...     print(repr(row.model), row.kind, Status(row.status).name, row.records)
    '' 0 WAITING -1
    'm' 1 PREDICTION 1
    'm' 2 JOINED 1

    """
    arrived = decode_entry(entry)
    if not prefix:
        return [prediction_row(arrived, _PREDICTION)] if isinstance(arrived, PredictionEntry) else [_WAITING]
    if len(prefix) == 1 and isinstance(arrived, OutcomeEntry):
        met = _readable(prefix[0])
        if isinstance(met, PredictionEntry) and arrived.model in (None, met.model):
            return _first_outcome(met, arrived)
    return difference(contributions(prefix), contributions([*prefix, entry]))


def contributions(entries: Iterable[bytes]) -> Counter[Row]:
    """Return the multiset of rows that entries stand for, in whatever order they come.

    A row's number may be negative: where a part of an outcome was replaced, the old value is taken back at the time of the new one.
    Rows of kind COUNT say how many records of each status there are.
    """
    rows: Counter[Row] = Counter()
    slots, outcomes = _read(entries, rows)
    for _, made in slots.values():
        rows[prediction_row(made)] += 1
        _add_steps(rows, made, [known for known in outcomes if known.entry.model in (None, made.model)])
    if len(slots) > 1:
        _add_pairs(rows, slots, outcomes)
    _count_outcomes(rows, sorted(model for model, _ in slots), outcomes)
    return rows


def difference(before: Counter[Row], after: Counter[Row]) -> list[Row]:
    """Return the signed rows that lead from one multiset to the other; counts of records ride on a row of their model where there is one.

    >>> [row.records for row in difference(Counter(), Counter({Row("m", status=Status.CONFLICT): 2}))]
    [2]
    """
    data: list[Row] = []
    counts: list[tuple[str, int, int]] = []
    for row in {**before, **after}:
        n = after[row] - before[row]
        if n and row.kind == COUNT:
            counts.append((row.model, row.status, n))
        elif n:
            data += [row._replace(sign=1 if n > 0 else -1)] * abs(n)
    data.sort(key=_order)
    out: list[Row] = []
    for model, status, n in sorted(counts):
        at = next((i for i, row in enumerate(data) if row.model == model and row.sign > 0 and row.status == NONE), None)
        if at is None:
            out.append(Row(model, status=status, records=n))
        else:
            data[at] = data[at]._replace(status=status, records=n)
    return out + data


def _order(row: Row) -> Row:
    if row.score is not None and row.error is not None and row.rival_error is not None:
        return row
    error, rival_error = (-math.inf if error is None else error for error in (row.error, row.rival_error))
    return row._replace(score=-1.0 if row.score is None else row.score, error=error, rival_error=rival_error)


@lru_cache(maxsize=1_024)  # a prefix is read twice, without the arriving entry and with it
def _readable(raw: bytes) -> Entry | None:
    try:
        entry: Entry = decode_entry(raw)
    except (msgspec.MsgspecError, ValueError):  # damaged, or of a version to come: a dead letter of its own when it arrived
        return None
    return entry


def _read(entries: Iterable[bytes], rows: Counter[Row]) -> tuple[_Slots, list[_Known]]:
    """Return the prediction in force of each slot, and the distinct outcomes in the order of time; count predictions and repeats."""
    slots: _Slots = {}
    seen: set[tuple[str, str, bytes]] = set()
    outcomes: dict[bytes, _Known] = {}
    repeats: Counter[bytes] = Counter()
    for raw in entries:
        entry = _readable(raw)
        if isinstance(entry, OutcomeEntry):
            known = _Known(entry.at, entry.rank, raw, entry)
            if entry.digest in outcomes:
                repeats[entry.digest] += 1
                known = min(known, outcomes[entry.digest], key=_without_entry)
            outcomes[entry.digest] = known
        elif entry is not None:
            slot = (entry.model, entry.version)
            same = (*slot, entry.digest)
            rows[Row(entry.model, status=_DUPLICATE if same in seen else _CONFLICT if slot in slots else _PREDICTION)] += 1
            seen.add(same)
            if slot not in slots or (entry.at, raw) < (slots[slot][1].at, slots[slot][0]):
                slots[slot] = (raw, entry)
    models = sorted({model for model, _ in slots})
    for digest, n in repeats.items():
        home = next((model for model in models if outcomes[digest].entry.model in (None, model)), "")
        rows[Row(home, status=_DUPLICATE)] += n
    return slots, sorted(outcomes.values(), key=_without_entry)


def _without_entry(known: _Known) -> tuple[int, int, bytes]:
    return known[:3]


def _count_outcomes(rows: Counter[Row], models: Sequence[str], outcomes: Sequence[_Known]) -> None:
    """Count each outcome as waiting, joined, or a correction of parts known before; under the first of the models that it joins."""
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for known in outcomes:
        joined = [model for model in models if known.entry.model in (None, model)]
        if not joined:
            rows[_WAITING] += 1
            continue
        parts = _parts(known.entry)
        again = {part for model in joined for part in seen[model] & parts}
        for model in joined:
            seen[model] |= parts
        rows[Row(joined[0], status=_CORRECTION if again else _JOINED)] += 1
        if again:
            rows[Row(joined[0], status=_SUPERSEDED)] += len(again)


def _parts(entry: OutcomeEntry) -> set[str]:
    has = {"label": entry.label is not None, "value": entry.true_value is not None}
    has |= {"disposition": _disposed(entry), "cost": entry.cost is not None, "checks": bool(entry.checks)}
    return {part for part, present in has.items() if present}


def _settles(made: PredictionEntry, entry: OutcomeEntry) -> bool:
    """Say whether an outcome holds what a prediction is held against: a predicted number the true value, any other the label."""
    return (entry.true_value if made.flags & VALUED else entry.label) is not None


def _disposed(entry: OutcomeEntry) -> bool:
    return entry.action is not None or entry.review_ms is not None or entry.value is not None


def _add_steps(rows: Counter[Row], made: PredictionEntry, outcomes: Sequence[_Known]) -> None:
    """Add a prediction's outcomes as steps in time: at each change minus what was in force, plus what is."""
    labels = dict(_in_force(known for known in outcomes if _settles(made, known.entry)))
    costs = dict(_in_force(known for known in outcomes if known.entry.cost is not None))
    labelled: list[tuple[int, list[Row]]] = []
    label: OutcomeEntry | None = None
    for at in sorted({*labels, *costs}):
        label = labels.get(at, label)
        if label is not None:
            labelled.append((at, [label_row(made, label, int(bool(costs) and min(costs) <= at))]))
    _add_side(rows, labelled)
    _add_side(rows, [(at, [cost_row(made, entry)]) for at, entry in costs.items()])
    disposed = _in_force(known for known in outcomes if _disposed(known.entry))
    _add_side(rows, [(at, [disposition_row(made, entry)]) for at, entry in disposed])
    _add_side(rows, [(at, check_rows(made, entry)) for at, entry in _in_force(known for known in outcomes if known.entry.checks)])


def _add_pairs(rows: Counter[Row], slots: _Slots, outcomes: Sequence[_Known]) -> None:
    """Add what the label says of every two versions of one model, as steps in time like the label's own; the lower name comes first.

    A version that abstained or was probed is not compared, nor one that predicted a number with one that predicted a label.
    """
    made: defaultdict[tuple[str, int], list[PredictionEntry]] = defaultdict(list)
    for slot in sorted(slots):
        entry = slots[slot][1]
        if not entry.flags & ABSTAINED and not entry.probe:
            made[entry.model, entry.flags & VALUED].append(entry)
    for (model, _), entries in made.items():
        mine = (each for each in outcomes if _settles(entries[0], each.entry) and each.entry.model in (None, model))
        labels = list(_in_force(mine)) if len(entries) > 1 else []
        for one, other in combinations(entries, 2) if labels else ():
            _add_side(rows, [(at, [pair_row(one, other, outcome)]) for at, outcome in labels])


def _in_force(outcomes: Iterable[_Known]) -> Iterator[tuple[int, OutcomeEntry]]:
    """Yield (time, outcome in force from then on) where it changes: the highest version among those known by then."""
    steps: dict[int, _Known] = {}
    best: _Known | None = None
    for known in outcomes:  # in the order of time
        if best is None or known[1:3] > best[1:3]:
            best = steps[known.at] = known
    for at, known in steps.items():
        yield at, known.entry


def _add_side(rows: Counter[Row], steps: Sequence[tuple[int, list[Row]]]) -> None:
    old: list[Row] = []
    for at, new in steps:
        for row in old:
            rows[row._replace(known_at=at)] -= 1
        for row in new:
            rows[row._replace(known_at=at)] += 1
        old = new


def _first_outcome(made: PredictionEntry, outcome: OutcomeEntry) -> list[Row]:
    """Return what the general path gives for the ordinary case, one prediction and its first outcome, at a fraction of the time."""
    settled = _settles(made, outcome)
    if settled and outcome.cost is None and outcome.checks is None and not _disposed(outcome):
        return [label_row(made, outcome, 0, _JOINED)]
    rows: list[Row] = []
    if settled:
        rows.append(label_row(made, outcome, int(outcome.cost is not None)))
    if _disposed(outcome):
        rows.append(disposition_row(made, outcome))
    if outcome.cost is not None:
        rows.append(cost_row(made, outcome))
    rows += check_rows(made, outcome)
    if not rows:
        return [Row(made.model, status=_JOINED)]
    rows[0] = rows[0]._replace(status=_JOINED)
    return rows
