"""Replay: every line is counted once, and order makes no difference."""

import random

import msgspec
import pytest
from support.logs import DAY_MS, START_MS, outcome, prediction, story, write_lines

from schemas.codec import Reason, encode
from schemas.control import Control, ControlType
from schemas.findings import to_json
from schemas.policy import parse_policy
from streams import replay_join
from streams.replay import Replayed, ReplayError, replay

NOW_MS = START_MS + 400 * DAY_MS
QUICK = parse_policy('[defaults]\nages = ["1d"]\nbaseline = { days = 6, labels = 100, failures = 10 }')


def run(folder, made, known, **options) -> Replayed:
    folder.mkdir(exist_ok=True)
    files = write_lines(folder / "p.jsonl", made), write_lines(folder / "o.jsonl", known)
    return replay(*files, started_ms=options.pop("started_ms", NOW_MS), **options)


def told(replayed: Replayed) -> tuple[bytes, list[bytes], list[bytes]]:
    return encode(replayed.report), [to_json(event) for event in replayed.events], [encode(letter) for letter in replayed.dead_letters]


@pytest.fixture(scope="module")
def changed():
    return story(days=24, per_day=50, changes_on=10)


def test_a_change_in_one_group_is_found_and_named(tmp_path, changed):
    found = run(tmp_path, *changed, policy=QUICK)
    opened = [event.data for event in found.events if event.type.value == "gnomon.drift.opened"]
    assert any({"region": "north"} in data.affected for data in opened)
    assert all(data.onset >= "2023-11-23" for data in opened)  # the change is on 24 November
    assert found.report.events == {name: sum(event.type == name for event in found.events) for name in found.report.events}


def test_no_change_is_no_alarm(tmp_path):
    assert run(tmp_path, *story(days=24, per_day=50, changes_on=99), policy=QUICK).events == []


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_lines_makes_no_difference(tmp_path, changed, seed):
    made, known = [list(lines) for lines in changed]
    made += [prediction("same-time", START_MS, 0.5), prediction("same-time", START_MS, 0.75), b"{", b"}", b"]", b"[", made[17]]
    known += [outcome("0-3", START_MS + DAY_MS, 1, version=2), outcome("0-3", START_MS + DAY_MS, 0, version=2), known[5]]
    in_order = run(tmp_path / "in-order", made, known, policy=QUICK)
    random.Random(seed).shuffle(made)
    random.Random(seed).shuffle(known)
    shuffled = run(tmp_path / "shuffled", made, known, policy=QUICK)
    assert told(shuffled)[:2] == told(in_order)[:2]
    assert in_order.report.join.conflict == 1
    assert in_order.report.join.duplicate == 2
    assert [letter.sha256 for letter in shuffled.dead_letters] == [letter.sha256 for letter in in_order.dead_letters]


def test_the_size_of_a_chunk_makes_no_difference(tmp_path, changed, monkeypatch):
    body = {"toml": QUICK.toml.replace("6", "8")}
    decision = {"type": "policy", "by": "test", "at": START_MS + 5 * DAY_MS, "body": body}  # before the baseline of 6 days is learnt
    options = {"policy": QUICK, "control": write_lines(tmp_path / "control.jsonl", [decision])}
    before = run(tmp_path, *changed, **options)
    assert before.events
    monkeypatch.setattr(replay_join, "CHUNK", 37)
    monkeypatch.setattr(replay_join, "STEP", 74)
    assert told(run(tmp_path, *changed, **options)) == told(before)


def test_two_runs_give_the_same_bytes(tmp_path, changed):
    made, known = changed
    one, other = (run(tmp_path, [*made, b"{"], known, policy=QUICK, started_ms=NOW_MS + extra) for extra in (0, 999))
    assert told(one) == told(other)


def test_a_bad_line_is_counted_once_and_found_again_by_its_number(tmp_path):
    long = prediction("long", START_MS, 0.5, unit="x" * (1 << 20))
    made = [
        prediction("a", START_MS, 0.5),
        b"",
        b"{",
        long,
        {"request_id": "b"},
        [prediction("c", START_MS, 2.0), prediction("d", START_MS, 0.5)],
    ]
    found = run(tmp_path, made, [b"nonsense", outcome("a", START_MS, 1)])
    letters = sorted((letter.topic, letter.offset, letter.index, letter.reason) for letter in found.dead_letters)
    assert letters == [
        ("outcomes", 0, 0, Reason.MALFORMED),
        ("predictions", 2, 0, Reason.MALFORMED),
        ("predictions", 3, 0, Reason.TOO_LARGE),
        ("predictions", 4, 0, Reason.MISSING_FIELD),
        ("predictions", 5, 0, Reason.OUT_OF_RANGE),
    ]
    join = found.report.join
    assert (join.predictions, join.outcomes, join.joined, join.dead_letter) == (2, 1, 1, 5)


def test_every_line_is_counted_once(tmp_path):
    made = [prediction("a", START_MS, 0.5)] * 2 + [prediction("a", START_MS + 1, 0.6), prediction("b", START_MS, 0.5), b"{"]
    known = [outcome("a", START_MS, 1), outcome("a", START_MS + 5, 0, version=9), outcome("a", START_MS, 1), outcome("z", START_MS, 1)]
    join = run(tmp_path, made, known).report.join
    assert (join.predictions, join.conflict, join.dead_letter) == (2, 1, 1)
    assert (join.joined, join.corrected, join.orphan, join.pending) == (1, 1, 1, 1)
    assert join.duplicate == 2
    assert join.predictions + join.conflict + join.outcomes + join.duplicate + join.dead_letter == len(made) + len(known)


def test_models_of_any_name_leave_no_marks(tmp_path):
    made = [prediction(str(i), START_MS + i * 60_000, 0.5, model_id=f"made up {i}") for i in range(40)]
    sources = run(tmp_path, made, []).watch.sources
    assert sources.marks == {}
    assert list(sources.floors) == [replay_join.origin("predictions")]


@pytest.mark.parametrize("n", [1, 40, 1_300])
def test_a_log_of_any_length_is_read_to_its_end_under_a_horizon(tmp_path, n):
    # few predictions: ages are learnt when the log ends, after the horizon's rung has been read
    made = [prediction(str(i), START_MS + i * 60_000, 0.5) for i in range(n)]
    known = [outcome(str(i), START_MS + i * 60_000 + DAY_MS // 2, i % 2) for i in range(n)]
    found = run(tmp_path, made, known, policy=parse_policy('[defaults]\nhorizon = "60d"\non_timeout = "negative"'))
    assert found.report.join.joined == n
    assert found.report.models[0].mature[0].n_labelled == n


def test_empty_logs_give_an_empty_report(tmp_path):
    found = run(tmp_path, [], [])
    assert found.report.models == []
    assert found.report.join.predictions == 0


def test_records_from_the_future_are_dead_letters_and_move_no_clock(tmp_path, changed):
    made, known = changed
    late = prediction("future", NOW_MS + 2 * DAY_MS, 0.5)
    found = run(tmp_path, [*made, late], known, policy=QUICK)
    assert [letter.reason for letter in found.dead_letters] == [Reason.TOO_FAR_AHEAD]
    assert [to_json(event) for event in found.events] == [to_json(event) for event in run(tmp_path, made, known, policy=QUICK).events]


def test_control_records_take_effect_at_their_time(tmp_path, changed):
    made, known = changed
    body = {"toml": QUICK.toml.replace("[defaults]", "[defaults]\nwatch = { error = { enabled = false } }")}
    lines = [msgspec.json.decode(encode(Control(type=ControlType.POLICY, by="test", at=START_MS, body=body)))]
    control = write_lines(tmp_path / "control.jsonl", [*lines, {"type": "policy"}])
    found = run(tmp_path, made, known, policy=QUICK, control=control)
    assert "error" not in {event.data.metric for event in found.events}
    assert "error" in {event.data.metric for event in run(tmp_path, made, known, policy=QUICK).events}
    assert [(letter.topic, letter.offset) for letter in found.dead_letters] == [("control", 1)]


def test_two_processes_give_the_same_bytes_as_one(tmp_path, changed):
    made, known = changed
    odd = [prediction("a", START_MS, 0.5)] * 2 + [b"{", [prediction("b", START_MS, 2.0), prediction("b", START_MS, 0.5)]]
    decision = msgspec.json.decode(encode(Control(type=ControlType.ACK, by="test", at=START_MS + 5 * DAY_MS, incident_id="x", body={})))
    options = {"policy": QUICK, "control": write_lines(tmp_path / "control.jsonl", [decision, b"}"])}
    seen: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    one, two = (
        run(tmp_path, [*made, *odd], [*known, b"x"], two=two, progress=lambda *at, two=two: seen[two].append(at), **options)
        for two in (False, True)
    )
    assert told(one) == told(two)
    assert (one.audit, one.watch.head_state()) == (two.audit, two.watch.head_state())
    assert seen[False] == seen[True]
    assert len(one.dead_letters) == 4
    assert one.events


def test_progress_ends_at_the_number_of_records(tmp_path, changed):
    seen: list[tuple[int, int]] = []
    run(tmp_path, *changed, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 2_400)
    assert seen[-1] == (2_400, 2_400)


def test_a_file_that_cannot_be_looked_at_is_named(tmp_path):
    made = write_lines(tmp_path / "p.jsonl", [])
    with pytest.raises(ReplayError, match=r"xxx\.jsonl to be JSON lines, gzip or Parquet by its name, got: .*File name too long"):
        replay(made, tmp_path / ("x" * 300 + ".jsonl"), started_ms=START_MS)
