"""What is said of alert fatigue, when, and what people can do about it."""

from typing import Any

import msgspec
import pytest
from support.stories import DAY_MS, START_MS, Record, fold, tick
from support.wards import HOUR_MS, MINUTE_MS, alert, floods, outcome, ward_days, wards

from detectors.companions.fatigue import Fatigue
from detectors.fatigue import Kind
from detectors.fatigue.bets import BetKind
from detectors.monitors import ARMED, LEARNING
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.control import Control, ControlType
from schemas.fatigue import FatigueData
from schemas.fields import rfc3339
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.policy_models import Budget, ModelPolicy
from streams.checkpoint_pack import Packer, Position, unpack

SHORT = "[models.m]\nages = ['1d']\nbaseline = { days = 7, labels = 100, failures = 10 }\n"


def told(records: list[Record], text: str = "", **options: Any) -> tuple[Watch, list[Event]]:
    policy = parse_policy(text) if text else None
    watch, events = fold(sorted(records, key=lambda record: record[0]), policy=policy, chunk=options.pop("chunk", 40), **options)
    return watch, [event for event in events if isinstance(event.data, FatigueData)]


def member(watch: Watch) -> Fatigue:
    companion = watch.companions["m"].members["fatigue"]
    assert isinstance(companion, Fatigue)
    return companion


def test_a_flood_is_opened_by_the_alert_that_is_too_much_and_cleared_when_few_are_left() -> None:
    times = [START_MS + HOUR_MS + i * 30_000 for i in range(16)]
    records = [alert(i, at) for i, at in enumerate(times)] + [alert("end", START_MS + 3 * HOUR_MS)]
    watch, events = told(records, chunk=3)
    [(begin, end)] = floods(times, until=START_MS + 3 * HOUR_MS)
    assert begin == times[10]
    assert [(event.type, event.time_ms) for event in events] == [(EventType.FATIGUE_OPENED, begin), (EventType.FATIGUE_CLEARED, end)]
    opened, cleared = events[0].data, events[1].data
    assert isinstance(opened, FatigueData)
    assert (opened.kind, opened.unit, opened.value, opened.threshold, opened.evidence) == ("flood", "icu", 11, 10, None)
    assert opened.window.to == rfc3339(begin + 1)
    assert "11 in the 10 minutes to" in opened.message
    assert opened.incident_id == cleared.incident_id
    assert "16 alerts" in cleared.message
    assert watch.events["gnomon.fatigue.opened"] == 1


@pytest.mark.parametrize("key", ["unit", "alerted", "probe"])
def test_alerts_that_reach_nobody_are_no_flood(key: str) -> None:
    records = [alert(i, START_MS + i * 1_000) for i in range(60)]
    for _, _, record in records:
        record[key] = {"unit": None, "alerted": False, "probe": True}[key]
    assert told(records)[1] == []


def test_a_key_that_repeats_within_a_minute_chatters_until_it_has_been_quiet_for_a_day() -> None:
    def burst(at: int, key: str) -> list[Record]:
        return [alert(f"{key}{at}{i}", at + i * 25_000, key=key) for i in range(3)]

    hours = [0, 5, 5.5, 60]
    records = [record for hour in hours for record in burst(START_MS + int(hour * HOUR_MS), f"bed {hour}")]
    records += [alert("far", START_MS + 90 * HOUR_MS, key="bed 0"), alert("near", START_MS + 90 * HOUR_MS + 59_000, key="bed 0")]
    watch, events = told(records, chunk=1)
    third = 50_000
    last = START_MS + int(5.5 * HOUR_MS) + third
    assert [(event.type.rsplit(".", 1)[1], event.time_ms) for event in events] == [
        ("opened", START_MS + third),
        ("cleared", last + DAY_MS),
        ("opened", START_MS + 60 * HOUR_MS + third),
        ("cleared", START_MS + 84 * HOUR_MS + third),
    ]
    assert "bed 0 alerted 3 times within 1 minute" in events[0].data.message  # type: ignore[union-attr]
    figures = report([watch]).models[0].fatigue
    assert figures is not None
    assert figures.overall.chatter == 4


def test_the_rate_is_of_a_day_an_hour_and_a_person() -> None:
    busy = [alert(i, START_MS + i * 4 * MINUTE_MS) for i in range(24 * 15)]  # 15 an hour
    calm = [alert(f"c{i}", START_MS + DAY_MS + i * 15 * MINUTE_MS) for i in range(24 * 8)]  # 4 an hour
    end = [alert("end", START_MS + 4 * DAY_MS, "er")]
    _, events = told(busy + calm + end)
    rates = [event for event in events if event.data.kind == "rate"]  # type: ignore[union-attr]
    assert [(event.type, event.time_ms) for event in rates] == [
        (EventType.FATIGUE_OPENED, START_MS + 20 * HOUR_MS),  # 289 in a day are reached with the 300th alert, at the full hour
        (EventType.FATIGUE_CLEARED, START_MS + 44 * HOUR_MS),
    ]
    assert rates[0].data.value == 12.5  # type: ignore[union-attr]
    assert not [event for event in told(busy + calm + end, "[models.m.fatigue]\npeople = 2\n")[1] if event.data.kind == "rate"]  # type: ignore[union-attr]


def test_five_alerts_of_a_day_that_nobody_deals_with_are_stale() -> None:
    records = [alert(i, START_MS + i * HOUR_MS) for i in range(80)]
    records += [outcome(i, START_MS + i * HOUR_MS + MINUTE_MS, action_taken="acted") for i in range(80) if not 20 <= i < 26]
    records.append(outcome(20, START_MS + (20 + 23) * HOUR_MS, action_taken="acted"))  # a day is not over
    records.append(outcome(21, START_MS + (21 + 30) * HOUR_MS, action_taken="acted"))  # too late
    _, events = told(records)
    stale = [(event.type, event.time_ms, event.data.value) for event in events if event.data.kind == "stale"]  # type: ignore[union-attr]
    fifth, gone = START_MS + (25 + 1 + 24) * HOUR_MS, START_MS + (25 + 1 + 24 + 24) * HOUR_MS
    assert stale == [(EventType.FATIGUE_OPENED, fifth, 5), (EventType.FATIGUE_CLEARED, gone, 0)]
    assert not told([record for record in records if record[1] == "predictions"])[1], "without dispositions nothing is stale"


CHANGES = {
    "ppv": ({"ppv": 0.1}, ""),
    "response_time": ({"minutes": 30.0}, ""),
    "review_time": ({"review_s": 200.0}, ""),
    "override": ({"acted": 0.2}, "[models.m.fatigue]\noverride = 0.5\n"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_ward_that_gets_worse_is_named_with_evidence_and_its_neighbour_is_not(kind: str) -> None:
    after, extra = CHANGES[kind]
    _, events = told(ward_days(1, changed="icu", **after), SHORT + extra, chunk=400)
    opened = [event for event in events if event.type == EventType.FATIGUE_OPENED]
    assert [(event.data.kind, event.data.unit) for event in opened] == [(kind, "icu")]  # type: ignore[union-attr]
    [event], data = opened, opened[0].data
    assert isinstance(data, FatigueData)
    assert START_MS + 20 * DAY_MS < event.time_ms < START_MS + 35 * DAY_MS
    assert data.evidence is not None
    assert data.evidence >= 1
    assert data.baseline is not None
    assert data.current is not None
    worse = data.current.hi < data.baseline.value if kind == "ppv" else data.current.lo > data.baseline.value  # type: ignore[operator]
    assert worse
    assert data.window.from_ >= rfc3339(START_MS + 18 * DAY_MS)
    assert "icu (m)" in data.message


def test_a_ward_that_recovers_is_cleared() -> None:
    records = ward_days(2, days=60, changed="icu", ppv=0.05)
    back = START_MS + 32 * DAY_MS
    for at, _, record in records:
        if "true_label" in record and at >= back and record["request_id"].startswith("ricu"):
            record["true_label"] = int(int(record["request_id"][5:]) % 2 == 0)
    _, events = told(records, SHORT, chunk=400)
    assert [event.type for event in events] == [EventType.FATIGUE_OPENED, EventType.FATIGUE_CLEARED]
    assert events[1].time_ms > back
    assert "is back" in events[1].data.message  # type: ignore[union-attr]


def test_unlabelled_alerts_past_the_horizon_are_false_where_the_policy_says_so() -> None:
    records = [record for record in ward_days(3) if record[2].get("true_label") != 0]  # only what turned out right is ever told
    text = '[models.m]\nhorizon = "1d"\non_timeout = "negative"\nbaseline = { days = 7, labels = 100 }\n[models.m.fatigue]\nppv = 0.7\n'
    watch, events = told(records, text, chunk=400)
    assert {(event.data.kind, event.data.unit) for event in events} == {("ppv", "icu"), ("ppv", "er")}  # type: ignore[union-attr]
    figures = report([watch]).models[0].fatigue
    assert figures is not None
    assert figures.overall.labelled == figures.overall.alerts == 960
    assert figures.overall.ppv.value == pytest.approx(0.5, abs=0.05)
    watch, events = told(records, text.replace('"negative"', '"unknown"'), chunk=400)
    assert events == []


def test_calm_wards_stay_within_the_budget() -> None:
    """Forty wards-and-seeds at a budget of 1 in 30 days: the bets spend a fifth, 0.2 in 30 days, and less on a calm stream."""
    text = SHORT + "[models.m.fatigue]\noverride = 0.5\nppv = 0.4\n"
    opened = [len(told(ward_days(seed, days=30, per_day=8), text, chunk=10_000)[1]) for seed in range(100, 120)]
    assert sum(opened) <= 8, opened  # of 4 that are allowed on average; more than 8 have a chance of 2 %


def test_the_bets_spend_nothing_before_dispositions_come_by_event_time() -> None:
    watch, _ = told(ward_days(4, days=3), close=False)
    fatigue = member(watch)
    since = fatigue.ledger.since_ms()
    assert since is not None
    assert (fatigue.weight(since - 1), fatigue.weight(since)) == (0.0, 0.2)
    assert watch._model("m").share("1")(since) == pytest.approx(0.8)
    plain, _ = told([record for record in ward_days(4, days=3) if "action_taken" not in record[2]], close=False)
    assert member(plain).weight(since) == 0.0


def test_without_dispositions_no_bet_is_made() -> None:
    records = ward_days(1, changed="icu", ppv=0.1)
    assert told(records, SHORT, chunk=400)[1]
    assert not told([record for record in records if "action_taken" not in record[2]], SHORT, chunk=400)[1]


def test_the_end_of_a_log_is_no_calm() -> None:
    records = [*flood_at(0.9, "x"), outcome("x0", START_MS + 55 * MINUTE_MS, action_taken="acted")]  # known to the end of the hour
    watch, events = told(records)
    assert [event.type for event in events] == [EventType.FATIGUE_OPENED]
    assert events[0].data.kind == "flood"  # type: ignore[union-attr]
    figures = report([watch]).models[0].fatigue
    assert figures is not None
    assert (figures.overall.floods, figures.overall.stale) == (1, 0)


def test_a_state_that_only_time_has_passed_over_comes_back_as_it_would_be() -> None:
    watch, _ = told([*flood_at(0, "x"), alert("far", START_MS + 40 * DAY_MS, "er")], close=False)
    watch.apply(tick(START_MS + 42 * DAY_MS))
    saved = unpack(Packer().pack(watch, Position("scored", 1, 0)))
    assert saved is not None
    watch.changed.clear()
    watch.apply(tick(START_MS + 90 * DAY_MS))
    assert not watch.changed
    older = member(saved.watch)
    older.take_back_time(member(watch).watermark_ms)
    assert packed(saved.watch) == packed(watch)


def control(kind: ControlType, incident_id: str, **body: Any) -> Control:
    return Control(type=kind, by="ada", at=START_MS + DAY_MS, model_id="m", incident_id=incident_id, body=body)


def flood_at(hour: float, name: str) -> list[Record]:
    return [alert(f"{name}{i}", START_MS + int(hour * HOUR_MS) + i * 1_000) for i in range(20)]


def test_people_can_take_note_of_an_incident_and_ask_for_silence() -> None:
    watch, events = told(flood_at(1, "a"), close=False, chunk=12)
    [opened] = events
    assert isinstance(opened.data, FatigueData)
    fatigue, ident = member(watch), opened.data.incident_id
    assert fatigue.decide(control(ControlType.ACK, "another")) == []
    fatigue.decide(control(ControlType.ACK, ident))
    fatigue.decide(control(ControlType.VERDICT, ident, verdict="false"))
    [incident] = fatigue.open.values()
    assert incident.acknowledged == ("ada", START_MS + DAY_MS)
    assert incident.verdict == (False, "ada", START_MS + DAY_MS)
    fatigue.decide(control(ControlType.SNOOZE, ident, until=START_MS + 3 * HOUR_MS))
    more = [*flood_at(2, "b"), *flood_at(4, "c"), alert("end", START_MS + 6 * HOUR_MS)]
    policy = watch.policy
    _, later = fold(shifted(more, 1_000), policy=policy, watch=watch, chunk=12)
    said = [(event.type, event.time_ms // HOUR_MS - START_MS // HOUR_MS) for event in later if isinstance(event.data, FatigueData)]
    assert said == [(EventType.FATIGUE_CLEARED, 1), (EventType.FATIGUE_OPENED, 4), (EventType.FATIGUE_CLEARED, 4)]
    assert member(watch).kinds["flood"].count == {1: 3}  # type: ignore[attr-defined]  # counted all the same


@pytest.mark.parametrize("step", [1, 6])
def test_an_incident_that_began_in_silence_is_told_of_when_the_silence_is_over_if_it_lasts(step: int) -> None:
    """Chatter is over after a day of quiet: the second, of hour 52, lasts until hour 76."""
    records = [alert(f"{h}-{i}", START_MS + h * HOUR_MS + i * 9_000, "icu", "bed 1") for h in (4, 52) for i in range(3)]

    def run(until_hour: int) -> tuple[list[tuple[str, int]], int]:
        watch, _ = told(records[:3], close=False)
        [opened] = watch.apply(tick(START_MS + 5 * HOUR_MS))
        assert isinstance(opened.data, FatigueData)
        member(watch).decide(control(ControlType.SNOOZE, opened.data.incident_id, until=START_MS + until_hour * HOUR_MS))
        _, events = fold(records, policy=watch.policy, watch=watch, close=False, ticks=False)
        for hour in range(5 + step, 120, step):
            events += watch.apply(tick(START_MS + hour * HOUR_MS))
        said = [(event.type.value.rpartition(".")[2], (event.time_ms - START_MS) // HOUR_MS) for event in events]
        return said, watch.withheld()

    assert run(54) == ([("cleared", 28), ("opened", 54), ("cleared", 76)], 1)
    assert run(90) == ([("cleared", 28)], 2)  # it is over before the silence is: nobody is told of either


def shifted(records: list[Record], offset: int) -> list[Record]:
    """Records of another fold need offsets of their own: let as many probes go before."""
    first = records[0][0]
    fillers = [alert(f"f{i}", first, None) for i in range(offset // 20)]
    return [(at, topic, record | {"probe": True}) for at, topic, record in fillers] + records


def test_accepting_what_a_ward_sees_now_closes_the_incident_and_learns_anew() -> None:
    watch, events = told(ward_days(5, changed="icu", minutes=40.0), SHORT, chunk=400, close=False)
    [opened] = events
    assert isinstance(opened.data, FatigueData)
    [closed] = member(watch).decide(control(ControlType.BASELINE, opened.data.incident_id, decision="accept"))
    assert isinstance(closed.data, FatigueData)
    assert closed.type == EventType.FATIGUE_CLEARED
    assert "accepted as the new normal by ada" in closed.data.message
    assert not member(watch).open


@pytest.mark.parametrize("decision", ["accept", "reset"])
def test_what_is_decided_of_a_whole_model_holds_for_its_alerts_too(decision: str) -> None:
    records = ward_days(5, changed="icu", minutes=40.0)
    last = max(at for at, _, _ in records)
    flood = [alert(f"x{i}", last + i * 1_000, "er") for i in range(20)]
    watch, events = told([*records, *flood, alert("end", last + 21_000)], SHORT, chunk=400, close=False)
    assert {(event.data.kind, event.data.unit) for event in events} == {("response_time", "icu"), ("flood", "er")}  # type: ignore[union-attr]
    fatigue, at = member(watch), last + MINUTE_MS
    kind = fatigue.kinds["response_time"]
    assert isinstance(kind, BetKind)
    assert [each.metric for each in fatigue.listed() if each.monitors] == ["response_time of icu"]
    state = kind.panel.monitors.state
    er = int(kind.panel.rows[0, kind.units.index(fatigue.ledger.units.names.index("er"))])
    assert state[er] == ARMED
    every = Control(type=ControlType.BASELINE, by="ada", at=at, model_id="m", body={"decision": decision})
    [closed] = fatigue.decide(every)
    assert isinstance(closed.data, FatigueData)
    assert (closed.data.kind, closed.data.unit) == ("response_time", "icu")
    assert ("reset" if decision == "reset" else "new normal") in closed.data.message
    assert [each.metric for each in fatigue.listed()] == ["flood of er"]  # a count has learnt nothing: it ends when it is over
    assert state[er] == (LEARNING if decision == "reset" else ARMED)  # the neighbour's is only reset
    again = Fatigue("m", fatigue.policy)
    again.load(fatigue.to_state())  # type: ignore[arg-type]
    assert again.to_state() == fatigue.to_state()
    assert (again.kinds["response_time"].budget.standing == kind.budget.standing).all()  # type: ignore[attr-defined]


def test_a_policy_that_no_longer_watches_closes_what_is_open() -> None:
    watch, events = told(ward_days(6, changed="icu", ppv=0.1), SHORT, chunk=400, close=False)
    assert [event.data.kind for event in events] == ["ppv"]  # type: ignore[union-attr]
    fatigue = member(watch)
    policy = msgspec.structs.replace(fatigue.policy, fatigue=msgspec.structs.replace(fatigue.policy.fatigue, ppv=0.05))
    [closed] = fatigue.use(policy)
    assert closed.type == EventType.FATIGUE_CLEARED
    assert not fatigue.open
    assert fatigue.use(policy) == []


def test_another_policy_is_followed_as_after_a_restart_and_another_threshold_starts_anew() -> None:
    fatigue = member(told(ward_days(3), SHORT + "[models.m.fatigue]\nresponse_time = '20m'\n", chunk=400, close=False)[0])
    kind = fatigue.kinds["response_time"]
    assert isinstance(kind, BetKind)
    assert kind.panel.monitors.count
    policy = msgspec.structs.replace(fatigue.policy, budget=Budget(pages=0.1, days=30))
    fatigue.use(policy)
    state = fatigue.to_state()
    again = Fatigue("m", policy)
    again.load(state)  # type: ignore[arg-type]
    assert again.to_state() == state
    for name, each in again.kinds.items():
        live = fatigue.kinds[name]
        if isinstance(each, BetKind) and isinstance(live, BetKind):
            assert live.panel.learner.rule == each.panel.learner.rule
            assert live.panel.learner.rule.share == pytest.approx(0.02)
            assert (live.budget.standing == each.budget.standing).all()
    fatigue.use(msgspec.structs.replace(policy, fatigue=msgspec.structs.replace(policy.fatigue, response_ms=60_000)))
    assert not kind.panel.monitors.count


@pytest.mark.parametrize("cut", [300, 1_500])
def test_a_restart_in_the_middle_changes_nothing(cut: int) -> None:
    records = sorted(
        ward_days(7, changed="icu", ppv=0.1, minutes=30.0) + wards(8, days=30, alerts=300, bursts=6, keys=3).records, key=lambda r: r[0]
    )
    whole, events = fold(records, policy=parse_policy(SHORT), chunk=100, close=False)
    watch, first = fold(records[:cut], policy=parse_policy(SHORT), chunk=100, close=False)
    saved = unpack(Packer().pack(watch, Position("scored", 1, 0)))
    assert saved is not None
    assert packed(saved.watch) == packed(watch)
    assert {event.data.kind for event in events if isinstance(event.data, FatigueData)} >= {"flood", "chatter", "ppv"}
    rest = continued(saved.watch, records, cut)
    assert fatigue_of(first + rest) == fatigue_of(events)
    assert packed(saved.watch) == packed(whole)


def packed(watch: Watch) -> bytes:
    return msgspec.msgpack.encode(watch.state_of("m", ""))


def continued(watch: Watch, records: list[Record], cut: int) -> list[Event]:
    """Fold all records with a joiner of its own; the marks drop what the watch has seen."""
    events: list[Event] = []
    _, more = fold(records[:cut], policy=watch.policy, watch=watch, chunk=100, close=False, ticks=False)
    events += more
    _, all_of_it = fold(records, policy=watch.policy, watch=watch, chunk=100, close=False)
    return events + all_of_it


def fatigue_of(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event.data, FatigueData)]


def test_units_past_the_cap_share_one_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.fatigue.units.MAX_UNITS", 3)
    watch, _ = told([alert(i, START_MS + i * MINUTE_MS, f"ward {i % 10}") for i in range(100)])
    figures = report([watch]).models[0].fatigue
    assert figures is not None
    assert [(one.unit, one.alerts) for one in figures.units] == [("__other__", 70), *((f"ward {i}", 10) for i in range(3))]
    assert figures.overall.alerts == 100


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a state of fatigue of version 3, got 0"):
        Fatigue("m", ModelPolicy()).load({"version": 0})


def test_a_kind_is_one_file() -> None:
    assert all(issubclass(type(kind), Kind) for kind in Fatigue("m", ModelPolicy()).kinds.values())
