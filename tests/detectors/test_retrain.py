"""Requests to retrain: made once, at the first moment that suits every rule; answered, or withdrawn."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stories import START_MS, findings, fold, story, tick

from detectors.companions.retrain import MENDED, Retrain
from detectors.label_hours import DELAYS_H, HOUR_MS, LabelHours
from detectors.monitors import ARMED
from detectors.retrain import discover
from detectors.watch_report import report
from schemas.control import Control, ControlType
from schemas.drift import Direction, DriftData, Impact, Interval, Kind, Scope, Severity, Window
from schemas.fields import rfc3339
from schemas.findings import Event, EventType, to_json
from schemas.policy import encode_policy, parse_policy
from schemas.policy_models import ModelPolicy, RetrainPolicy
from schemas.retrain import RetrainCancelled, RetrainRequested
from schemas.scored import Forwarded, Origin, Rows
from schemas.scored import Kind as RowKind

DAY = 24 * HOUR_MS
P = Origin("predictions", "x", 0)


def drift(at, *, incident="i-1", event="opened", kind=Kind.CONCEPT, severity=Severity.MAJOR, onset=0, money=None, version="1", **over):
    data = DriftData(
        incident_id=incident,
        kind=kind,
        scope=Scope.ALL,
        model_id="m",
        model_version=version,
        segment={},
        metric="fnr",
        direction=Direction.UP,
        age_s=86_400,
        severity=severity,
        baseline=Interval(value=0.05, lo=0.04, hi=0.06, n=1_000),
        current=Interval(value=0.1, lo=0.08, hi=0.12, n=300),
        onset=rfc3339(onset),
        evidence=1.5,
        threshold=1.0,
        affected=[],
        window=Window(from_=rfc3339(onset), to=rfc3339(at)),
        origins={},
        impact=None if money is None else Impact(money_per_day=money),
        message="FNR of m 1 rose.",
        unconfirmed=over.pop("unconfirmed", False),
        why="",
    )
    return Event(id=f"{incident}-{at}", type=EventType(f"gnomon.drift.{event}"), subject=f"m/{version}", time_ms=at, data=data)


def labels(times, *, delay=HOUR_MS // 2, version="1", **columns):
    n = len(times)
    given = {
        "kind": bytes([RowKind.LABEL]) * n,
        "predicted_at": np.array(times, "<i8").tobytes(),
        "known_at": (np.array(times, "<i8") + delay).tobytes(),
    }
    return Rows("m", [P], n, given | columns, versions=[version])


def companion(**policy: Any) -> Retrain:
    return Retrain("m", ModelPolicy(retrain=RetrainPolicy(**{"min_labels": 100} | policy)))


def fed(one: Retrain, days: int = 20, per_day: int = 24, **given: Any) -> Retrain:
    rows = labels([int(i * DAY / per_day) for i in range(days * per_day)], **given)
    one.add(rows, np.arange(rows.n))
    return one


def advance(one: Retrain, at: int, *found: Event) -> list[Event]:
    return one.advance(at, {}, found)


def test_one_request_at_the_moment_when_enough_labels_are_known() -> None:
    one = fed(companion(min_labels=100))
    assert advance(one, 3 * DAY, drift(2 * DAY, onset=DAY)) == []
    [event] = advance(one, 15 * DAY)
    assert isinstance(event.data, RetrainRequested)
    # One label an hour from day 1 on, each counted an hour after the end of its hour: the hundredth is that of the hour 100.
    assert event.time_ms == DAY + (100 - 1) * HOUR_MS + 2 * HOUR_MS
    assert (event.data.data.from_, event.data.data.n_labelled) == (rfc3339(DAY), 100)
    assert event.data.data.to == rfc3339(event.time_ms)
    assert event.data.incidents == ["i-1"]
    assert event.data.reason == "FNR of m 1 rose. 100 labelled predictions since the change are there to learn from."
    to_json(event)
    assert advance(one, 20 * DAY, drift(16 * DAY, event="updated", onset=DAY)) == []  # asked already


def test_when_it_is_asked_does_not_depend_on_how_time_advanced() -> None:
    def run(steps: list[int]) -> list[Event]:
        one, found = fed(companion(min_labels=150)), []
        events = {2 * DAY: drift(2 * DAY, onset=DAY), 5 * DAY: drift(5 * DAY, incident="i-2", onset=2 * DAY)}
        before = -1
        for at in steps:
            found += advance(one, at, *(event for due, event in events.items() if before < due <= at))
            before = at
        return found

    whole = run([20 * DAY])
    assert len(whole) == 1
    assert run([int(i * DAY / 3) for i in range(61)]) == whole == run([4 * DAY, 9 * DAY, 20 * DAY])


@pytest.mark.parametrize("kind", sorted(set(Kind) - MENDED))
def test_a_change_that_new_labels_do_not_mend_asks_for_nothing(kind: Kind) -> None:
    assert advance(fed(companion()), 20 * DAY, drift(2 * DAY, kind=kind, severity=Severity.CRITICAL)) == []


def test_an_unconfirmed_finding_asks_for_nothing() -> None:
    assert advance(fed(companion()), 20 * DAY, drift(2 * DAY, unconfirmed=True)) == []


def test_a_minor_change_waits_until_it_is_major() -> None:
    one = fed(companion())
    assert advance(one, 10 * DAY, drift(2 * DAY, severity=Severity.MINOR)) == []
    [event] = advance(one, 12 * DAY, drift(11 * DAY, event="escalated", severity=Severity.MAJOR))
    assert event.time_ms == 11 * DAY


@pytest.mark.parametrize(
    ("policy", "money", "asks"),
    [
        ({"min_gain": 50.0}, 49.0, False),
        ({"min_gain": 50.0}, 50.0, True),
        ({"min_gain": 50.0}, None, True),  # no cost is known: the rule has nothing to go by
        ({"cost": 3_000.0, "payback_ms": 30 * DAY}, 99.0, False),
        ({"cost": 3_000.0, "payback_ms": 30 * DAY}, 100.0, True),
        ({"cost": 3_000.0}, None, False),
        ({"enabled": False}, 1e9, False),
    ],
)
def test_gain_against_what_retraining_costs(policy: dict[str, Any], money: float | None, asks: bool) -> None:
    assert bool(advance(fed(companion(**policy)), 20 * DAY, drift(2 * DAY, money=money))) == asks


def test_the_gain_is_said() -> None:
    [event] = advance(fed(companion()), 20 * DAY, drift(2 * DAY, money=1_234.5))
    assert isinstance(event.data, RetrainRequested)
    assert event.data.expected_gain == 1_234.5
    assert "The change costs about 1,234 a day." in event.data.reason


def test_never_two_open_for_one_model_and_a_cool_down_between() -> None:
    one = fed(companion(cool_down_ms=7 * DAY), days=40)
    [first] = advance(one, 10 * DAY, drift(5 * DAY))
    assert advance(one, 20 * DAY, drift(11 * DAY, incident="i-2", onset=2 * DAY)) == []
    done = Control(type=ControlType.RETRAIN, by="ada", at=20 * DAY, model_id="m", body={"decision": "done"})
    assert one.decide(done) == []
    [second] = advance(one, 21 * DAY)
    assert second.time_ms == 20 * DAY  # the cool-down of the first had ended on day 12
    assert first.id != second.id
    one.decide(msgspec.structs.replace(done, at=22 * DAY))
    assert advance(one, 23 * DAY, drift(22 * DAY, incident="i-3", onset=20 * DAY)) == []
    [third] = advance(one, 30 * DAY)
    assert third.time_ms == second.time_ms + 7 * DAY
    assert [state.state for state in one.report(_Version()) or ()] == ["completed", "completed", "requested"]


def test_an_incident_asks_once_although_it_stays_open_past_the_cool_down() -> None:
    one = fed(companion(cool_down_ms=DAY), days=40)
    assert len(advance(one, 10 * DAY, drift(5 * DAY))) == 1
    one.decide(Control(type=ControlType.RETRAIN, by="ada", at=10 * DAY, model_id="m", body={"decision": "done"}))
    assert advance(one, 30 * DAY, drift(20 * DAY, event="escalated", severity=Severity.CRITICAL)) == []


class _Version:
    """All that a report looks at."""

    name = "1"


def test_it_is_acknowledged_completed_or_cancelled_through_control() -> None:
    def answered(*decisions: str) -> tuple[Retrain, list[Event]]:
        one = fed(companion())
        advance(one, 10 * DAY, drift(5 * DAY))
        found = []
        for decision in decisions:
            body = {"decision": decision, "request_id": one.requests[-1].request_id}
            found += one.decide(Control(type=ControlType.RETRAIN, by="ada", at=11 * DAY, model_id="m", body=body))
        return one, found

    assert [answered(word)[0].requests[-1].state for word in ("ack", "done")] == ["acknowledged", "completed"]
    one, found = answered("ack", "cancel")
    assert one.requests[-1].state == "cancelled"
    [event] = found
    assert isinstance(event.data, RetrainCancelled)
    assert (event.type, event.data.reason) == (EventType.RETRAIN_CANCELLED, "cancelled by ada")
    assert answered("done", "cancel")[1] == []  # it was no longer open
    other = Control(type=ControlType.RETRAIN, by="ada", at=0, model_id="m", body={"decision": "done", "request_id": "another"})
    one = answered()[0]
    one.decide(other)
    assert one.requests[-1].open


def test_an_answer_that_names_no_request_is_about_the_open_one() -> None:
    one = fed(companion())
    advance(one, 10 * DAY, drift(5 * DAY))
    one.decide(Control(type=ControlType.RETRAIN, by="ada", at=11 * DAY, model_id="m", body={"decision": "ack", "request_id": None}))
    assert one.requests[-1].state == "acknowledged"


def test_it_is_withdrawn_when_the_incidents_clear_before_anybody_took_it_up() -> None:
    one = fed(companion())
    advance(one, 10 * DAY, drift(5 * DAY))
    [event] = advance(one, 12 * DAY, drift(11 * DAY, event="cleared"))
    assert isinstance(event.data, RetrainCancelled)
    assert event.data.reason == "the incidents have cleared"

    one = fed(companion())
    advance(one, 10 * DAY, drift(5 * DAY))
    one.decide(Control(type=ControlType.RETRAIN, by="ada", at=10 * DAY, model_id="m", body={"decision": "ack"}))
    assert advance(one, 12 * DAY, drift(11 * DAY, event="cleared")) == []
    assert one.requests[-1].state == "acknowledged"


def test_versions_are_weighed_apart() -> None:
    one = fed(companion(), version="1")
    assert advance(one, 20 * DAY, drift(2 * DAY, version="2", incident="i-2")) == []  # it has no labels
    [event] = advance(one, 21 * DAY, drift(20 * DAY, version="1", incident="i-1"))
    assert event.subject == "m/1"


def test_labels_of_probes_and_abstentions_and_those_taken_back_do_not_count() -> None:
    n = 20 * 24
    for columns in (
        {"probe": np.ones(n, "<u2").tobytes()},
        {"abstained": b"\x01" * n},
        {"sign": np.resize([1, -1], n).astype("i1").tobytes()},
    ):
        assert advance(fed(companion(), **columns), 20 * DAY, drift(2 * DAY)) == []


def test_its_state_is_whole() -> None:
    one, again = fed(companion()), companion()
    advance(one, 3 * DAY, drift(2 * DAY, onset=DAY))
    again.load(msgspec.msgpack.decode(msgspec.msgpack.encode(one.to_state())))
    assert advance(again, 15 * DAY) == advance(one, 15 * DAY) != []
    third = companion()
    third.load(msgspec.msgpack.decode(msgspec.msgpack.encode(one.to_state())))
    assert third.to_state() == one.to_state() == again.to_state()
    assert third.requests == one.requests
    with pytest.raises(ValueError, match="expected a retrain state of version 2, got 9"):
        again.load({"version": 9})


def test_each_rule_is_a_file() -> None:
    assert {"severity", "labels", "cool_down", "gain"} <= set(discover())


def test_a_change_in_a_stream_asks_once_for_its_labels_wherever_the_log_is_cut() -> None:
    policy = parse_policy("[models.m.retrain]\nmin_labels = 200\n")
    records = story(seed=1, days=75, per_day=30, change_day=50)
    watch, events = fold(records, policy=policy)
    [asked] = [event for event in events if isinstance(event.data, RetrainRequested)]
    [opened] = [event for event in events if event.type == EventType.DRIFT_OPENED and event.data.incident_id == asked.data.incidents[0]]
    assert isinstance(opened.data, DriftData)
    assert asked.time_ms >= opened.time_ms
    told = [event.data for event in events if isinstance(event.data, DriftData) and event.time_ms <= asked.time_ms]
    assert asked.data.data.from_ == [data.onset for data in told if data.incident_id == opened.data.incident_id][-1]
    assert asked.data.data.n_labelled >= 200
    [state] = report([watch]).models[0].retrain
    assert (state.request_id, state.state) == (asked.data.request_id, "requested")
    for chunk in (97, 10**9):
        assert findings(fold(records, policy=policy, chunk=chunk)[1]) == findings(events)


def test_a_snooze_keeps_an_incident_from_people_not_from_the_request() -> None:
    """What grows worse while people wish to hear nothing is there to learn from all the same."""
    policy = parse_policy(
        "[models.m]\nages = ['1d', '7d']\nbaseline = { days = 20, labels = 300, failures = 20 }\n"
        "[models.m.retrain]\nmin_labels = 300\ncool_down = '1d'\n"
    )
    records = story(seed=3, days=100, per_day=80, change_day=50, error_after=0.14)
    _, events = fold(records, policy=policy, close=False, chunk=80)
    [asked] = [event for event in events if isinstance(event.data, RetrainRequested)]
    [opened] = [event for event in events if event.type == EventType.DRIFT_OPENED and event.data.incident_id in asked.data.incidents]
    [worse] = [event for event in events if event.type == EventType.DRIFT_ESCALATED and event.time_ms <= asked.time_ms]
    cut = next(i for i, (at, _, _) in enumerate(records) if at > opened.time_ms + 6 * HOUR_MS) // 80 * 80
    watch, first = fold(records[:cut], policy=policy, close=False, chunk=80)
    until = {"until": opened.time_ms + 40 * DAY}
    watch.apply(control(1, type="snooze", model_id="m", incident_id=opened.data.incident_id, body=until))
    _, rest = fold(records, policy=policy, watch=watch, close=False, chunk=80)
    heard = [event.id for event in (*first, *rest)]
    assert worse.id in [event.id for event in events]
    assert worse.time_ms not in [event.time_ms for event in rest if event.type == EventType.DRIFT_ESCALATED]
    assert len(heard) == len(set(heard))
    [other] = [event for event in rest if isinstance(event.data, RetrainRequested)]
    assert (other.id, other.time_ms, other.data.data) == (asked.id, asked.time_ms, asked.data.data)


def control(number: int, **record: Any) -> Forwarded:
    return Forwarded(Origin("control", "c", 0), number, 0, json.dumps({"by": "ada", "at": START_MS + 56 * DAY} | record).encode())


OFF = "[models.m.retrain]\nmin_labels = 200\n[models.m.watch]\n" + "".join(
    f"{family} = {{ enabled = false }}\n" for family in ("error", "fpr", "fnr", "calibration", "prior")
)


@pytest.mark.parametrize(
    "end",
    [
        control(1, type="baseline", model_id="m", body={"decision": "accept"}),
        Forwarded(Origin("control", "c", 0), 1, 0, encode_policy(parse_policy(OFF), by="ada", at=START_MS + 56 * DAY)),
    ],
    ids=["accepted", "no longer watched"],
)
@pytest.mark.parametrize("asked", [True, False])
def test_incidents_that_people_end_ask_no_more_and_their_request_is_withdrawn(end: Forwarded, asked: bool) -> None:
    before = parse_policy(f"[models.m.retrain]\nmin_labels = {50 if asked else 100_000}\n")
    watch, events = fold(story(seed=1, days=56, per_day=30, change_day=50), policy=before, close=False)
    if not asked:  # enough labels from now on, but first people end the incidents
        assert watch.companions["m"].members["retrain"].grounds  # type: ignore[attr-defined]
    requests = [event.data.request_id for event in events if isinstance(event.data, RetrainRequested)]
    assert len(requests) == asked
    told = watch.apply(end)
    assert {event.type for event in told} >= {EventType.DRIFT_CLEARED}
    assert [event.data.request_id for event in told if isinstance(event.data, RetrainCancelled)] == requests
    eager = encode_policy(parse_policy(OFF.replace("200", "1")), by="ada", at=START_MS + 56 * DAY)
    later = watch.apply(Forwarded(Origin("control", "c", 0), 2, 0, eager)) + watch.apply(tick(START_MS + 70 * DAY))
    assert [event for event in later if isinstance(event.data, RetrainRequested)] == []


def test_a_new_version_begins_with_a_baseline_of_its_own_and_the_request_is_answered() -> None:
    policy = parse_policy("[models.m.retrain]\nmin_labels = 200\n")
    old = [record for record in story(seed=1, days=60, per_day=30, change_day=50) if record[0] < START_MS + 60 * DAY]
    new = [
        (at + 60 * DAY, topic, record | {"timestamp": record["timestamp"] + 60 * DAY})
        for at, topic, record in story(seed=2, days=60, per_day=30, version="2")
    ]
    watch, events = fold(old, policy=policy, close=False)
    key = watch.models["m"]["1"].incidents.open[0].members[0].alarm.key._replace(family="error", segment=0)
    [asked] = [event.data for event in events if isinstance(event.data, RetrainRequested)]
    for number, decision in enumerate(("ack", "done"), 1):
        answer = {"decision": decision, "request_id": asked.request_id}
        assert watch.apply(control(number, type="retrain", model_id="m", body=answer)) == []
    _, more = fold(
        sorted(old + new, key=lambda record: record[0]), policy=policy, watch=watch, close=False
    )  # the old ones are below the marks
    assert [event for event in more if event.type.startswith("gnomon.retrain")] == []
    [state] = next(model for model in report([watch]).models if model.model_version == "1").retrain
    assert (state.request_id, state.state, state.by) == (asked.request_id, "completed", "ada")
    learnt = watch.models["m"]["2"].bank
    found = [(panel.monitors, row) for panel in learnt.panels[key.rung] if (row := learnt.row(panel, key)) >= 0]
    [(monitors, row)] = found
    assert monitors.state[row] == ARMED
    assert monitors.base[row][0] == pytest.approx(0.08, abs=0.02)  # its own, not that of the version before it, nor 35 %
    assert not watch.models["m"]["2"].incidents.open


def test_the_policy_is_read() -> None:
    text = '[models.m.retrain]\ncool_down = "1d"\nmin_labels = 5\nmin_gain = 2.5\ncost = 100\npayback = "10d"\nseverity = "minor"\n'
    expected = RetrainPolicy(cool_down_ms=DAY, min_labels=5, min_gain=2.5, cost=100.0, payback_ms=10 * DAY, severity=Severity.MINOR)
    assert parse_policy(text).for_model("m").retrain == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 300), st.integers(0, 400), st.sampled_from([1, 1, 1, -1])), max_size=60), st.data())
def test_label_hours_equal_counting_one_by_one(given_labels: list[tuple[int, int, int]], data: st.DataObject) -> None:
    labels_ = LabelHours()
    columns = np.array(given_labels, dtype=np.int64).reshape(-1, 3)
    cut = data.draw(st.integers(0, len(columns)))
    for part in (columns[cut:], columns[:cut]):  # in any order, in any parts
        predicted, delay = part[:, 0] * (HOUR_MS // 2), part[:, 1] * (HOUR_MS // 4)
        labels_.add(predicted, predicted + delay, part[:, 2])

    def known(half_hour: int, quarters: int) -> int:
        hour = half_hour * (HOUR_MS // 2) // HOUR_MS
        return (hour + 1 + next(int(d) for d in DELAYS_H if d * HOUR_MS >= quarters * (HOUR_MS // 4))) * HOUR_MS

    since, at = data.draw(st.integers(-50, 300)) * HOUR_MS, data.draw(st.integers(-50, 500)) * HOUR_MS
    chosen = [(known(p, d), sign) for p, d, sign in given_labels if p * (HOUR_MS // 2) >= since]
    assert labels_.count(since, at) == sum(sign for when, sign in chosen if when <= at)
    n = data.draw(st.integers(1, 30))
    totals = {when: sum(sign for other, sign in chosen if other <= when) for when, _ in chosen}
    assert labels_.reached_ms(since, n) == min((when for when, total in totals.items() if total >= n), default=None)
