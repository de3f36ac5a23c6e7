"""The rule: free of order, equal to its short cuts, and true to what was known at each time."""

from collections import Counter
from itertools import combinations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.joins import logs, nonzero, outcome_entries, prediction_entries, signed

from detectors.entries import (
    ABSTAINED,
    BINARY,
    MAPPED,
    POSITIVE,
    VALUED,
    OutcomeEntry,
    PredictionEntry,
    decode_entry,
    encode_entry,
)
from detectors.fixed import SCORE_UNIT
from detectors.join_rows import Row, check_rows, cost_row, disposition_row, label_row, pair_row, prediction_row
from detectors.join_rule import contributions, difference, rule
from schemas.scored import Kind, Status

MADE = PredictionEntry("m", "1", 5, 0.9, BINARY | POSITIVE, None, b"made")


def arrive(entries):
    rows = []
    for i, entry in enumerate(entries):
        rows += rule(entries[:i], entry)
    return rows


def pack(*entries):
    return [encode_entry(entry) for entry in entries]


@settings(max_examples=150, deadline=None)
@given(logs(), st.randoms(use_true_random=False))
def test_every_order_of_arrival_adds_up_to_the_same(entries, random):
    shuffled = random.sample(entries, len(entries))
    assert signed(arrive(entries)) == signed(arrive(shuffled)) == nonzero(contributions(entries))


@settings(max_examples=150, deadline=None)
@given(st.lists(prediction_entries() | outcome_entries(), max_size=1), prediction_entries() | outcome_entries())
def test_the_fast_path_equals_the_general_one(prefix, entry):
    assert rule(prefix, entry) == difference(contributions(prefix), contributions([*prefix, entry]))


@settings(max_examples=150, deadline=None)
@given(logs())
def test_every_arrival_counts_one_record(entries):
    for i, entry in enumerate(entries):
        rows = rule(entries[:i], entry)
        assert sum(row.records for row in rows if row.status not in {Status.NONE, Status.SUPERSEDED}) == 1
        assert all(row.sign == 1 for row in rows if row.status)


@settings(max_examples=150, deadline=None)
@given(logs(5), st.integers(-1, 7))
def test_rows_known_by_a_time_are_what_was_known_then(entries, now):
    """Against a plain reading of the contract: the best of each part among what is known, for the winning prediction of each slot."""
    want: Counter[Row] = Counter()
    slots: dict[tuple[str, str], tuple[int, bytes]] = {}
    outcomes = set()
    for raw in entries:
        entry = decode_entry(raw)
        if isinstance(entry, PredictionEntry):
            slot = (entry.model, entry.version)
            slots[slot] = min(slots.get(slot, (entry.at, raw)), (entry.at, raw))
        else:
            outcomes.add((entry.digest, entry.at, entry.rank, raw))
    # of byte-identical records that were packed differently the lowest stands for all
    kept = {min(o[1:] for o in outcomes if o[0] == digest)[-1] for digest in {o[0] for o in outcomes}}
    for _, raw in slots.values():
        made = decode_entry(raw)
        known = [(o.version if o.version is not None else o.at, r, o) for r in kept if (o := decode_entry(r)).at <= now]
        known = [o for _, _, o in sorted(o for o in known if o[2].model in {None, made.model})]
        costs = [o for o in known if o.cost is not None]
        truths = [o for o in known if (o.true_value if made.flags & VALUED else o.label) is not None]
        want.update(
            [
                prediction_row(made),
                *[label_row(made, o, int(bool(costs))) for o in truths[-1:]],
                *[cost_row(made, o) for o in costs[-1:]],
                *[disposition_row(made, o) for o in [o for o in known if {o.action, o.review_ms, o.value} != {None}][-1:]],
                *[row for o in [o for o in known if o.checks][-1:] for row in check_rows(made, o)],
            ]
        )
    made_of = {slot: decode_entry(raw) for slot, (_, raw) in slots.items()}
    for one, other in combinations(sorted(slot for slot, made in made_of.items() if not made.flags & ABSTAINED and not made.probe), 2):
        numbers = made_of[one].flags & VALUED  # a number is compared with a number only
        truths = [
            ((o.version if o.version is not None else o.at, r), o)
            for r in kept
            if (o := decode_entry(r)).at <= now and (o.true_value if numbers else o.label) is not None and o.model in {None, one[0]}
        ]
        if one[0] == other[0] and numbers == made_of[other].flags & VALUED and truths:
            want[pair_row(made_of[one], made_of[other], max(truths, key=lambda each: each[0])[1])] += 1
    got: Counter[Row] = Counter()
    for row in arrive(entries):
        if row.kind == Kind.PREDICTION or (row.kind != Kind.COUNT and row.known_at <= now):
            got[row._replace(sign=1, status=0, records=1, known_at=0)] += row.sign
    assert nonzero(got) == Counter(row._replace(known_at=0) for row in want.elements())


@settings(max_examples=100, deadline=None)
@given(logs())
def test_final_counts_are_those_of_the_contract(entries):
    rows = arrive(entries)
    counts = Counter()
    for row in rows:
        counts[Status(row.status)] += row.records if row.status else 0
    decoded = [decode_entry(raw) for raw in entries]
    predictions = [e for e in decoded if isinstance(e, PredictionEntry)]
    outcomes = [e for e in decoded if isinstance(e, OutcomeEntry)]
    slots = {(e.model, e.version) for e in predictions}
    distinct = {(e.model, e.version, e.digest) for e in predictions}
    assert counts[Status.PREDICTION] == len(slots)
    assert counts[Status.CONFLICT] == len(distinct) - len(slots)
    digests = {e.digest for e in outcomes}
    assert counts[Status.DUPLICATE] == len(predictions) - len(distinct) + len(outcomes) - len(digests)
    lowest: dict[bytes, tuple[int, int, bytes]] = {}
    for raw, e in zip(entries, decoded, strict=True):
        if isinstance(e, OutcomeEntry):
            lowest[e.digest] = min(lowest.get(e.digest, (e.at, e.rank, raw)), (e.at, e.rank, raw))
    kept = [decode_entry(raw) for _, _, raw in lowest.values()]
    joined = [e for e in kept if slots and e.model in {None, *(model for model, _ in slots)}]
    assert counts[Status.JOINED] + counts[Status.CORRECTION] == len(joined)
    assert counts[Status.WAITING] == len(digests) - len(joined)
    assert counts[Status.CORRECTION] <= counts[Status.SUPERSEDED] <= 5 * counts[Status.CORRECTION]


def test_a_correction_takes_back_the_old_label_at_the_time_of_the_new_one():
    first, second = OutcomeEntry(9, b"1", label=1), OutcomeEntry(20, b"2", label=0)
    rows = rule(pack(MADE, first), *pack(second))
    data = sorted((row.sign, row.label, row.known_at) for row in rows if row.kind == Kind.LABEL)
    assert data == [(-1, 1, 20), (1, 0, 20)]
    assert {(Status(row.status).name, row.records) for row in rows if row.status} == {("CORRECTION", 1), ("SUPERSEDED", 1)}


def test_a_correction_that_comes_first_leaves_what_was_known_in_between():
    first, second = OutcomeEntry(9, b"1", label=1), OutcomeEntry(20, b"2", label=0)
    rows = rule(pack(MADE, second), *pack(first))
    assert sorted((row.sign, row.label, row.known_at) for row in rows if row.kind == Kind.LABEL) == [(-1, 1, 20), (1, 1, 9)]


def test_a_lower_version_that_is_known_later_changes_nothing():
    first, second = OutcomeEntry(9, b"1", label=1, version=2), OutcomeEntry(20, b"2", label=0, version=1)
    assert [row.kind for row in rule(pack(MADE, first), *pack(second))] == [Kind.COUNT, Kind.COUNT]


def test_parts_are_versioned_on_their_own():
    dismissed, truth = OutcomeEntry(9, b"1", action="dismissed", review_ms=30_000), OutcomeEntry(20, b"2", label=1)
    (row,) = rule(pack(MADE, dismissed), *pack(truth))
    assert (row.kind, row.sign, row.status) == (Kind.LABEL, 1, Status.JOINED)


def test_a_realised_cost_marks_the_label_from_then_on():
    rows = rule(pack(MADE, OutcomeEntry(9, b"1", label=1)), *pack(OutcomeEntry(20, b"2", cost=7)))
    labels = sorted((row.sign, row.costed, row.known_at) for row in rows if row.kind == Kind.LABEL)
    assert labels == [(-1, 0, 20), (1, 1, 20)]
    assert [row.money for row in rows if row.kind == Kind.COST] == [7]


def test_the_lowest_of_conflicting_predictions_wins_also_when_it_comes_second():
    low = PredictionEntry("m", "1", 4, 0.2, BINARY, None, b"low")
    rows = rule(pack(MADE, OutcomeEntry(9, b"1", label=1)), *pack(low))
    assert sorted((row.kind, row.sign, row.score) for row in rows if row.kind) == [(1, -1, 0.9), (1, 1, 0.2), (2, -1, 0.9), (2, 1, 0.2)]
    assert [row.records for row in rows if row.status == Status.CONFLICT] == [1]
    (count,) = rule(pack(low), *pack(MADE))
    assert (count.kind, count.status, count.model) == (Kind.COUNT, Status.CONFLICT, "m")


def test_champion_and_challenger_share_an_outcome_unless_it_names_one():
    other = PredictionEntry("n", "1", 5, 0.1, BINARY, None, b"other")
    rows = rule(pack(MADE, other), *pack(OutcomeEntry(9, b"1", label=1)))
    assert [(row.model, row.kind, row.status) for row in rows] == [("m", Kind.LABEL, Status.JOINED), ("n", Kind.LABEL, Status.NONE)]
    rows = rule(pack(MADE, other), *pack(OutcomeEntry(9, b"1", label=1, model="n")))
    assert [row.model for row in rows] == ["n"]


def test_two_versions_of_one_model_are_compared_when_the_label_is_known():
    second = PredictionEntry("m", "2", 8, 0.25, BINARY, None, b"second")
    entries = pack(MADE, second)
    assert not [row for row in arrive(entries) if row.kind == Kind.PAIR]
    [pair] = [row for row in rule(entries, *pack(OutcomeEntry(9, b"1", label=1))) if row.kind == Kind.PAIR]
    assert (pair.version, pair.rival, pair.predicted, pair.label, pair.predicted_at, pair.known_at) == ("1", "2", 0, 1, 8, 9)
    assert (pair.loss * SCORE_UNIT, pair.rival_loss * SCORE_UNIT) == pytest.approx((0.01, 0.5625))


def test_a_correction_takes_back_what_was_said_of_a_pair():
    entries = pack(MADE, PredictionEntry("m", "2", 5, 0.25, BINARY, None, b"second"), OutcomeEntry(9, b"1", label=1))
    rows = rule(entries, *pack(OutcomeEntry(20, b"2", label=0)))
    pairs = sorted((row.sign, row.predicted, row.label, row.known_at) for row in rows if row.kind == Kind.PAIR)
    assert pairs == [(-1, 0, 1, 20), (1, 1, 0, 20)]


def test_every_two_of_three_versions_are_compared():
    versions = [msgspec.structs.replace(MADE, version=version) for version in "321"]
    rows = rule(pack(*versions), *pack(OutcomeEntry(9, b"1", label=1)))
    assert sorted((row.version, row.rival) for row in rows if row.kind == Kind.PAIR) == [("1", "2"), ("1", "3"), ("2", "3")]


@pytest.mark.parametrize("apart", [{"flags": BINARY | ABSTAINED}, {"probe": "canary"}, {"model": "n"}])
def test_what_abstained_or_was_a_probe_or_of_another_model_is_not_compared(apart):
    other = msgspec.structs.replace(MADE, version="2", **apart)
    assert not [row for row in rule(pack(MADE, other), *pack(OutcomeEntry(9, b"1", label=1))) if row.kind == Kind.PAIR]


@pytest.mark.parametrize("apart", [{"score": None}, {"flags": 0, "label": "1"}])
def test_scores_are_compared_where_both_versions_have_one_of_the_same_kind(apart):
    other = msgspec.structs.replace(MADE, version="2", **apart)
    [pair] = [row for row in rule(pack(MADE, other), *pack(OutcomeEntry(9, b"1", label=1))) if row.kind == Kind.PAIR]
    assert (pair.loss, pair.rival_loss) == (-1, -1)


def test_an_outcome_of_an_unknown_model_waits():
    (row,) = rule(pack(MADE), *pack(OutcomeEntry(9, b"1", label=1, model="n")))
    assert row == Row("", status=Status.WAITING)


def test_a_prediction_releases_all_that_waited():
    rows = rule(pack(OutcomeEntry(9, b"1", label=1), OutcomeEntry(10, b"2", action="acted")), *pack(MADE))
    assert [(row.model, row.records) for row in rows if row.status == Status.WAITING] == [("", -2)]
    assert [(row.model, row.records) for row in rows if row.status == Status.JOINED] == [("m", 2)]


@pytest.mark.parametrize(
    ("flags", "predicted", "true", "want"),
    [
        (BINARY | POSITIVE, None, 1, (1, 1, 1)),
        (BINARY | POSITIVE, None, 0, (1, 0, 1)),
        (BINARY, None, 1, (0, 1, 1)),
        (BINARY, None, 7, (0, 1, 1)),
        (0, "cat", "cat", (1, 1, 0)),
        (0, "cat", "dog", (1, 0, 0)),
        (0, "3", 3, (1, 1, 0)),
        (0, "3", 1, (1, 0, 0)),
        (BINARY | MAPPED | POSITIVE, "fraud", "fraud", (1, 1, 1)),
        (BINARY | MAPPED, "fraud", "legit", (0, 0, 1)),
        (BINARY | MAPPED, "0", 0, (0, 1, 1)),
    ],
)
def test_labels(flags, predicted, true, want):
    made = PredictionEntry("m", "1", 5, 0.9, flags, predicted, b"made")
    row = label_row(made, OutcomeEntry(9, b"1", label=true), 0)
    assert (row.predicted, row.label, row.binary) == want


NUMBER = PredictionEntry("m", "1", 5, 0.9, VALUED, None, b"made", value=10.0, lower=8.0, upper=12.0)


@pytest.mark.parametrize(("true", "want"), [(8.0, (1, 2.0)), (12.0, (1, -2.0)), (12.5, (0, -2.5)), (7.0, (0, 3.0))])
def test_a_number_is_right_where_its_interval_holds_the_true_one(true, want):
    (row,) = rule(pack(NUMBER), *pack(OutcomeEntry(9, b"1", true_value=true)))
    assert (row.kind, row.predicted, row.binary, row.score, row.label, row.error) == (Kind.LABEL, 1, 0, 0.9, *want)


def test_a_number_without_an_interval_has_an_error_and_no_score():
    made = PredictionEntry("m", "1", 5, None, VALUED, None, b"made", value=10.0)
    (row,) = rule(pack(made), *pack(OutcomeEntry(9, b"1", true_value=40.0)))
    assert (row.score, row.label, row.error) == (None, 1, -30.0)


def test_numbers_and_labels_are_held_against_the_truth_of_their_own_kind():
    both, other = OutcomeEntry(9, b"1", label=0, true_value=11.0), PredictionEntry("n", "1", 5, 0.9, BINARY, None, b"other")
    rows = rule(pack(NUMBER, other), *pack(both))
    assert [(row.model, row.label, row.error) for row in rows] == [("m", 1, -1.0), ("n", 0, None)]
    (row,) = rule(pack(NUMBER), *pack(OutcomeEntry(9, b"1", label=1)))
    assert (row.kind, row.status) == (Kind.COUNT, Status.JOINED)


def test_a_correction_takes_back_the_old_error():
    first, second = OutcomeEntry(9, b"1", true_value=11.0), OutcomeEntry(20, b"2", true_value=13.0)
    rows = rule(pack(NUMBER, first), *pack(second))
    data = sorted((row.sign, row.label, row.error, row.known_at) for row in rows if row.kind == Kind.LABEL)
    assert data == [(-1, 1, -1.0, 20), (1, 0, -3.0, 20)]
    assert {(Status(row.status).name, row.records) for row in rows if row.status} == {("CORRECTION", 1), ("SUPERSEDED", 1)}


def test_a_conflict_takes_back_the_error_of_the_number_that_loses():
    low = PredictionEntry("m", "1", 4, 0.8, VALUED, None, b"low", value=9.0, lower=8.5, upper=9.5)
    rows = rule(pack(NUMBER, OutcomeEntry(9, b"1", true_value=11.0)), *pack(low))
    data = sorted((row.sign, row.label, row.error) for row in rows if row.kind == Kind.LABEL)
    assert data == [(-1, 1, -1.0), (1, 0, -2.0)]


def test_labels_of_abstained_predictions_are_rows_too():
    made = PredictionEntry("m", "1", 5, 0.9, BINARY | ABSTAINED, None, b"made")
    (row,) = rule(pack(made), *pack(OutcomeEntry(9, b"1", label=1)))
    assert (row.kind, row.abstained) == (Kind.LABEL, 1)


def test_unreadable_entries_of_the_prefix_stand_for_nothing():
    known = OutcomeEntry(9, b"1", label=1)
    assert signed(rule([b"\xff", *pack(MADE)], *pack(known))) == signed(rule(pack(MADE), *pack(known)))
