"""The joiner: what becomes a row, a dead letter, a control record, and how far event time has come."""

import json
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.joins import add_rows, logs_of, message_rows

from detectors.entries import (
    ABSTAINED,
    ALERTED,
    BINARY,
    MAPPED,
    POSITIVE,
    OutcomeEntry,
    PredictionEntry,
    decode_entry,
    encode_entry,
    subgroup_pairs,
)
from detectors.intake import SourceBatch
from detectors.join_rule import rule
from detectors.joiner import DAY_MS, Joiner
from detectors.keys import key_for
from detectors.packing import pack_prediction
from detectors.pending import DictTable, frame, record_origin
from schemas.codec import Limits, Reason
from schemas.control import Control
from schemas.fields import FIRST_MS, LAST_MS
from schemas.policy import Policy, parse_policy
from schemas.policy_models import ModelPolicy
from schemas.prediction import Prediction
from schemas.scored import Origin, Status

PREDICTIONS, OUTCOMES, CONTROL = (Origin(topic, "x", 0) for topic in ("predictions", "outcomes", "control"))
NOW = 1_767_323_045_000
MADE = {"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": NOW, "score": 0.9}
KNOWN = {"request_id": "a", "timestamp": NOW + 5, "true_label": 1}


def batch(origin, *records, first=0, at=NOW):
    values = [record if record is None or isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return SourceBatch(origin, range(first, first + len(values)), [at] * len(values), values)


def join(*batches, joiner=None, table=None):
    joiner = joiner or Joiner(Policy(), b"secret")
    prepared = joiner.prepare(batches)
    return joiner.finish(prepared, (table or DictTable()).exchange_now(prepared.lookups))


def statuses(joined):
    counts = Counter()
    for rows in joined.rows:
        for status, n in zip(rows.column("status").tolist(), rows.column("count").tolist(), strict=True):
            counts[Status(status).name] += n
    return {name: n for name, n in counts.items() if name != "NONE"}


def entry(policy=None, **fields):
    record = {name: value for name, value in (MADE | fields).items() if value is not None}
    return decode_entry(pack_prediction(Prediction(**record), b"raw", policy or ModelPolicy()))


def test_one_message_per_model_in_order():
    joined = join(
        batch(PREDICTIONS, MADE | {"model_id": "z"}, MADE), batch(OUTCOMES, KNOWN, {"request_id": "b", "timestamp": 1, "cost": 2})
    )
    assert [(rows.model_id, rows.n) for rows in joined.rows] == [("", 1), ("m", 2), ("z", 2)]
    assert statuses(joined) == {"PREDICTION": 2, "JOINED": 1, "WAITING": 1}
    assert joined.highs == {PREDICTIONS: NOW, OUTCOMES: NOW + 5}


def test_a_time_too_far_ahead_is_a_dead_letter_and_moves_nothing():
    joined = join(batch(PREDICTIONS, MADE | {"timestamp": "2190-01-01T00:00:00Z"}, MADE | {"timestamp": NOW + DAY_MS}))
    assert [letter.reason for letter in joined.dead_letters] == [Reason.TOO_FAR_AHEAD]
    assert "2190" not in joined.dead_letters[0].detail
    assert joined.highs == {PREDICTIONS: NOW + DAY_MS}
    assert statuses(joined) == {"DEAD_LETTER": 1, "PREDICTION": 1}


def test_times_have_no_lower_bound():
    joined = join(batch(PREDICTIONS, MADE | {"timestamp": "1889-01-01T00:00:00Z"}))
    assert not joined.dead_letters
    assert joined.highs[PREDICTIONS] < 0
    assert joined.rows[0].column("predicted_at").tolist() == [joined.highs[PREDICTIONS]]


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"null", b"[[]]", b'{"request_id": 1}', b"[" * 5000])
def test_poison_is_counted_and_stops_nothing(value):
    joined = join(batch(PREDICTIONS, value, MADE))
    assert statuses(joined) == {"DEAD_LETTER": 1, "PREDICTION": 1}
    (letter,) = joined.dead_letters
    assert (letter.topic, letter.partition, letter.offset, letter.payload) == ("predictions", 0, 0, None)


@pytest.mark.parametrize(
    ("origin", "good", "bad"),
    [
        (PREDICTIONS, MADE, {name: MADE[name] for name in MADE if name != "score"}),
        (OUTCOMES, KNOWN, {name: KNOWN[name] for name in KNOWN if name != "true_label"}),
        (OUTCOMES, KNOWN, KNOWN | {"true_label": 0.5}),
    ],
)
def test_a_record_that_says_nothing_is_found_among_usual_ones(origin, good, bad):
    joined = join(batch(origin, *[good] * 3, bad, *[good] * 3))
    assert [(letter.offset, letter.reason) for letter in joined.dead_letters] in ([(3, Reason.MISSING_FIELD)], [(3, Reason.OUT_OF_RANGE)])


def test_payloads_of_dead_letters_need_a_flag():
    joined = join(batch(OUTCOMES, b"{"), joiner=Joiner(Policy(), b"secret", keep_payload=True))
    assert joined.dead_letters[0].payload == "ew=="


def test_dead_letters_of_the_table_and_of_the_codec_keep_source_order():
    joined = join(batch(OUTCOMES, KNOWN, KNOWN | {"true_label": 0}, b"{"), table=DictTable(max_entries=1))
    assert [(letter.reason, letter.offset) for letter in joined.dead_letters] == [(Reason.LOG_FULL, 1), (Reason.MALFORMED, 2)]
    (rows,) = joined.rows
    assert rows.column("offset").tolist() == [0, 1, 2]


def test_a_full_log_refuses_the_same_records_when_they_come_again():
    table = DictTable()
    records = [KNOWN | {"version": i} for i in range(66)]
    first, again = join(batch(OUTCOMES, *records), table=table), join(batch(OUTCOMES, *records), table=table)
    assert statuses(first) == {"WAITING": 64, "DEAD_LETTER": 2}
    assert first == again


def test_what_is_read_again_in_other_batches_gives_the_same_rows():
    table = DictTable()
    records = [KNOWN, KNOWN | {"true_label": 0}, KNOWN]
    whole = join(batch(OUTCOMES, *records), batch(PREDICTIONS, MADE), table=table)
    parts = [join(batch(PREDICTIONS, MADE), table=table), *(join(batch(OUTCOMES, r, first=i), table=table) for i, r in enumerate(records))]
    sums = [Counter(), Counter()]
    for into, messages in zip(sums, ([whole], parts), strict=True):
        for joined in messages:
            for rows in joined.rows:
                add_rows(into, message_rows(rows))
    assert sums[0] == sums[1]
    want = {"PREDICTION": 1, "JOINED": 1, "CORRECTION": 1, "SUPERSEDED": 1, "DUPLICATE": 1}
    assert {name: n for name, n in statuses(whole).items() if n} == want


def test_a_change_of_policy_between_deliveries_changes_nothing():
    table = DictTable()
    mapped = Joiner(parse_policy("[defaults]\nthreshold = 0.95\n"), b"secret")
    first = join(batch(PREDICTIONS, MADE), table=table)
    assert join(batch(PREDICTIONS, MADE), joiner=mapped, table=table) == first
    assert join(batch(PREDICTIONS, MADE, first=9), joiner=mapped).rows[0].column("predicted").tolist() == [0]


def test_control_records_pass_by_the_table():
    record = {"type": "ack", "by": "ada", "at": NOW + 10 * DAY_MS, "incident_id": "i"}
    joined = join(batch(CONTROL, record, b"{", first=4))
    (forwarded,) = joined.forwarded
    assert (forwarded.origin, forwarded.offset, forwarded.index, json.loads(forwarded.record)) == (CONTROL, 4, 0, record)
    assert [letter.topic for letter in joined.dead_letters] == ["control"]
    assert not joined.highs


def test_made_up_names_of_outcomes_fill_no_memory(monkeypatch):
    """Each outcome names a check and an action that no other does: the join begins anew, and its rows are the same."""

    def rows(most):
        monkeypatch.setattr("detectors.contexts.MOST_NAMES", most)
        joiner, table, found, held = Joiner(Policy(), None), DictTable(), [], []
        for i in range(50):
            known = KNOWN | {"request_id": f"r{i}", "checks": {f"check {i}": [1, 2]}, "action_taken": f"action {i}"}
            made = batch(PREDICTIONS, MADE | {"request_id": f"r{i}"}, first=i)
            found += join(made, batch(OUTCOMES, known, first=i), joiner=joiner, table=table).rows
            held.append(len(joiner._shapes.contexts.names))
        return found, max(held)

    (few, most), (all_, more) = rows(20), rows(10**6)
    assert most <= 30 < more
    assert few == all_


def test_arrays_are_indexed_and_numbered():
    joined = join(batch(PREDICTIONS, [MADE, 7, MADE | {"row": 1}]))
    assert [letter.index for letter in joined.dead_letters] == [1]
    assert joined.rows[1].column("index").tolist() == [0, 2]


def test_a_source_message_is_never_split_over_two_scored_messages():
    arrays = [[MADE | {"row": 10 * i + k} for k in range(3)] for i in range(4)]
    joined = join(batch(PREDICTIONS, *arrays), joiner=Joiner(Policy(), b"secret", max_rows=4))
    assert [rows.column("offset").tolist() for rows in joined.rows] == [[0] * 3, [1] * 3, [2] * 3, [3] * 3]
    joined = join(batch(PREDICTIONS, *arrays), joiner=Joiner(Policy(), b"secret", max_rows=7))
    assert [sorted(set(rows.column("offset").tolist())) for rows in joined.rows] == [[0, 1], [2, 3]]
    joined = join(batch(PREDICTIONS, *arrays), joiner=Joiner(Policy(), b"secret", max_rows=1))
    assert [rows.n for rows in joined.rows] == [3] * 4


def test_more_source_partitions_than_a_message_can_number():
    batches = [batch(Origin("predictions", "x", p), MADE | {"request_id": f"r{p}"}) for p in range(300)]
    joined = join(*batches)
    origins = [rows.origins[i].partition for rows in joined.rows for i in rows.column("origin").tolist()]
    assert sorted(origins) == list(range(300))
    assert len(joined.rows) == 2


def test_damaged_entries_do_not_stop_the_join():
    joiner = Joiner(Policy(), b"secret")
    prepared = joiner.prepare([batch(PREDICTIONS, MADE, MADE)])
    damaged = frame(b"origin-0000001", b"\xff")
    joined = joiner.finish(prepared, logs_of([damaged, damaged + prepared.lookups.frames[1]], prepared.lookups.frames))
    assert statuses(joined) == {"DEAD_LETTER": 1, "PREDICTION": 1}
    with pytest.raises(ValueError, match="expected 2 answers"):
        joiner.finish(prepared, logs_of([], []))


def test_unknown_topics_are_refused():
    with pytest.raises(ValueError, match="got 'scored'"):
        join(batch(Origin("scored", "x", 0), MADE))


def test_limits_of_messages_hold():
    joined = join(batch(PREDICTIONS, [MADE] * 3), joiner=Joiner(Policy(), b"secret", Limits(max_records=2)))
    assert [letter.reason for letter in joined.dead_letters] == [Reason.TOO_MANY_RECORDS]


def test_times_to_live():
    policy = parse_policy('[models.fraud]\nhorizon = "60d"\nlateness = "1m"\n')
    kept = Joiner(policy, b"secret", max_age_ms=30 * DAY_MS, outage_ms=7 * DAY_MS)
    assert kept.ttl_ms("fraud") == 67 * DAY_MS + 60_000
    assert kept.ttl_ms("other") == 37 * DAY_MS + 5_000
    lookups = kept.prepare([batch(PREDICTIONS, MADE, MADE | {"model_id": "fraud"}), batch(OUTCOMES, KNOWN)]).lookups
    assert lookups.ttls_ms == [kept.ttl_ms("other"), kept.ttl_ms("fraud"), kept.ttl_ms("fraud")]
    assert Joiner(policy, b"secret").prepare([batch(OUTCOMES, KNOWN)]).lookups.ttls_ms == [0]


def test_keys_hold_no_ids_and_need_the_secret():
    lookups = Joiner(Policy(), b"secret").prepare([batch(PREDICTIONS, MADE | {"request_id": "patient-17"})]).lookups
    (key,), (packed,) = lookups.keys, lookups.frames
    assert key == key_for("patient-17", 0, b"secret") != key_for("patient-17", 0, b"other")
    assert key_for("a", 1, b"") != key_for("a", 0, b"")
    assert len(key) == 16
    assert b"patient" not in packed
    assert key_for("a", 0, b"k" * 65) != key_for("a", 0, b"k" * 64)


def test_an_entry_is_small():
    fields = {"amount": 1234.5, "subgroups": {"country": "US", "channel": "web", "age_band": "30-39"}, "predicted_label": 1}
    assert len(pack_prediction(Prediction(**MADE | fields), b"raw", ModelPolicy())) <= 77


def test_entries_of_the_wide_forms_are_read_as_those_of_today():
    subgroups = b"\x94\xa3sex\xa1f\xa4site\xa13"
    made = PredictionEntry("m", "1", NOW, 0.25, BINARY | POSITIVE | ALERTED, None, b"8 bytes.", 12_345, subgroups, unit="ward")
    wide = bytes.fromhex(
        "010b888ca97c9b010000382062797465732e000000000000d03f393000000000000098a16da131c40e94a3736578a166a473697465a133c0000000a477617264"
    )
    known, wide_label = OutcomeEntry(9, b"8 bytes.", label=1), bytes.fromhex("02010900000000000000382062797465732e")
    assert decode_entry(wide) == decode_entry(encode_entry(made)) == made
    assert decode_entry(wide_label) == decode_entry(encode_entry(known)) == known
    assert len(encode_entry(made)) == len(wide) - 7
    assert rule([wide], encode_entry(known)) == rule([encode_entry(made)], encode_entry(known))
    assert rule([wide_label], encode_entry(made)) == rule([encode_entry(known)], encode_entry(made))


@pytest.mark.parametrize("at", [2**47 - 1, 2**47, LAST_MS, FIRST_MS])
def test_times_that_no_head_can_hold(at):
    made, known = MADE | {"timestamp": at, "amount": -1e10}, KNOWN | {"timestamp": at}
    for first, second in (((PREDICTIONS, made), (OUTCOMES, known)), ((OUTCOMES, known), (PREDICTIONS, made))):
        table = DictTable()
        joined = join(batch(*first, at=LAST_MS), table=table).rows + join(batch(*second, at=LAST_MS), table=table).rows
        label = [(rows, rows.column("kind").tolist().index(2)) for rows in joined if 2 in rows.column("kind")]
        names = ("predicted_at", "known_at", "amount", "label")
        assert [[int(rows.column(name)[i]) for name in names] for rows, i in label] == [[at, at, -(10**14), 1]]


def test_origins_of_records_are_told_apart():
    places = [(Origin(t, i, p), o, n) for t in ("a", "b") for i in "xy" for p in (0, 1) for o in (0, 2**40) for n in (0, 65_535)]
    joined = {record_origin(_prefix(origin), offset, index) for origin, offset, index in places}
    assert len(joined) == len(places)
    assert {len(origin) for origin in joined} == {14}


def _prefix(origin):
    from detectors.pending import origin_prefix

    return origin_prefix(origin)


@pytest.mark.parametrize(
    ("fields", "positive", "want"),
    [
        ({"score": 0.5}, 1, (0.5, BINARY | POSITIVE | ALERTED, None)),
        ({"score": 0.49}, 1, (0.49, BINARY, None)),
        ({"predicted_label": True}, 1, (0.9, BINARY | POSITIVE | ALERTED, None)),
        ({"predicted_label": 0, "alerted": True}, 1, (0.9, BINARY | ALERTED, None)),
        ({"predicted_label": 1, "alerted": False}, 1, (0.9, BINARY | POSITIVE, None)),
        ({"predicted_label": 3}, 1, (0.9, 0, "3")),
        ({"predicted_label": "cat"}, 1, (0.9, 0, "cat")),
        ({"abstained": True}, 1, (0.9, BINARY | POSITIVE | ABSTAINED, None)),
        ({"score": None, "abstained": True}, 1, (None, BINARY | ABSTAINED, None)),
        ({"score": None, "scores": {"0": 0.3, "1": 0.7}}, 1, (0.7, BINARY | POSITIVE | ALERTED, None)),
        ({"score": None, "scores": {"cat": 0.3, "dog": 0.7}}, 1, (0.7, 0, "dog")),
        ({"score": None, "scores": {"cat": 0.3, "dog": 0.7}, "predicted_label": "cat"}, 1, (0.3, 0, "cat")),
        ({"score": None, "scores": {"0": 0.3, "1": 0.6, "2": 0.1}}, 1, (0.6, 0, "1")),
        ({"score": None, "scores": {"cat": 0.3, "dog": 0.7}}, "cat", (0.3, BINARY | MAPPED, "cat")),
        ({"predicted_label": "cat"}, "cat", (0.9, BINARY | MAPPED | POSITIVE | ALERTED, "cat")),
        ({"predicted_label": 0}, 0, (0.9, BINARY | MAPPED | POSITIVE | ALERTED, "0")),
        ({"score": 0.2}, "cat", (0.2, BINARY | MAPPED, "cat")),
    ],
)
def test_what_a_prediction_claims(fields, positive, want):
    made = entry(ModelPolicy(positive_label=positive), **fields)
    assert (made.score, made.flags, made.label) == want


def test_other_fields_of_an_entry():
    made = entry(amount=12.34565, compute_cost=0.0003, features={"a": 1, "b": None}, unit="ward", alert_key="p", probe=True)
    assert (made.amount, made.compute_cost, made.features, made.missing) == (123456, 3, 2, 1)
    assert (made.unit, made.alert_key, made.probe) == ("ward", "p", "probe")
    assert entry(probe=False).probe == ""


def test_dimensions_and_intersections():
    groups = {"country": "US", "channel": "web", "age": 30, "empty": None}
    policy = ModelPolicy(dimensions=("country", "channel"), intersections=(("country", "channel"), ("country", "site")))
    assert subgroup_pairs(entry(policy, subgroups=groups).subgroups) == [
        ("channel", "web"),
        ("country", "US"),
        ("country*channel", "US*web"),
    ]
    assert subgroup_pairs(entry(subgroups=groups).subgroups) == [("age", "30"), ("channel", "web"), ("country", "US")]


@given(st.lists(st.tuples(st.text("ab*\\", min_size=1, max_size=4), st.text("ab*\\", min_size=1, max_size=4)), min_size=2, max_size=2))
def test_intersections_of_other_values_are_other_segments(pairs):
    policy = ModelPolicy(intersections=(("x", "y"),))
    one, other = (dict(subgroup_pairs(entry(policy, subgroups=dict(zip("xy", values, strict=True))).subgroups)) for values in pairs)
    assert (one["x*y"] == other["x*y"]) == (pairs[0] == pairs[1])


def test_a_dimension_with_a_star_in_its_name_is_no_intersection():
    policy = ModelPolicy(dimensions=("x", "y", "x*y"), intersections=(("x", "y"), ("x*y", "y")))
    found = subgroup_pairs(entry(policy, subgroups={"x": "1", "y": "2", "x*y": "3"}).subgroups)
    assert found == [("x", "1"), ("x*y", "1*2"), ("x\\*y", "3"), ("x\\*y*y", "3*2"), ("y", "2")]


def test_values_of_an_intersection_that_are_too_long_together_end_in_their_hash():
    policy = ModelPolicy(intersections=(("x", "y"),))
    values = [dict(subgroup_pairs(entry(policy, subgroups={"x": "a" * 250, "y": end}).subgroups))["x*y"] for end in ("b" * 20, "b" * 21)]
    assert [len(value) for value in values] == [256, 256]
    assert values[0] != values[1]


def test_a_policy_with_a_fault_is_a_dead_letter_with_who_when_and_why_and_goes_on_to_be_written_down():
    joiner = Joiner(Policy(), b"k")
    toml = "[models.m]\nhorizn = '1d'\nlateness = 7\n[models.m.watch.error]\ndetector = 'adwim'\n"
    records = [{"type": "policy", "by": "ada", "at": 5, "body": {"toml": text}} for text in (toml, "")]
    batch = SourceBatch(Origin("control", "c", 0), [3, 4], [9, 9], [json.dumps(record).encode() for record in records])
    prepared = joiner.prepare([batch])
    joined = joiner.finish(prepared, DictTable().exchange_now(prepared.lookups))
    (letter,) = joined.dead_letters
    assert (letter.reason, letter.topic, letter.offset) == (Reason.INVALID_VALUE, "control", 3)
    assert letter.detail.startswith("The policy of ada, 1970-01-01T00:00:00.005Z, is refused whole: models.m.horizn: unknown key")
    assert "models.m.lateness: expected" in letter.detail
    assert [record.offset for record in joined.forwarded] == [3, 4]
    assert sum(rows.column("status").tolist().count(Status.DEAD_LETTER) for rows in joined.rows) == 1


def test_a_control_record_goes_on_as_it_was_understood() -> None:
    """A null is the same as absent to the joiner; the watch must be able to read what it is handed."""
    raw = b'{"type":"ack","by":"ada","at":5,"incident_id":"i","model_id":null,"body":null}'
    prepared = Joiner(Policy(), b"k").prepare([SourceBatch(Origin("control", "c", 0), [0], [5], [raw])])
    [forwarded] = prepared.forwarded
    assert msgspec.json.decode(forwarded.record, type=Control).body == {}
