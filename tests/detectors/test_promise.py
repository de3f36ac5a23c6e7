"""The budget of false alarms, held against what people say of the alarms."""

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, findings, fold, state, story

from detectors.companions.promise import STAKES, THRESHOLD, Promise, evidence_by_day
from detectors.watch import Watch
from schemas.control import Control, ControlType
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.policy_models import ModelPolicy
from schemas.scored import Forwarded, Origin, Rows

CONTROL = Origin("control", "c", 0)
DAY = START_MS // DAY_MS
RATE = 1 / 30  # a day: the default budget
TWICE = parse_policy("[defaults]\nbudget = { pages = 2, days = 30 }\n").defaults.budget
FIVE = [400, 402, 404, 406, 409]


def verdict(incident: str, said: str = "false", at_ms: int = START_MS + 400 * DAY_MS) -> Control:
    return Control(type=ControlType.VERDICT, by="ada", at=at_ms, incident_id=incident, body={"verdict": said})


def promise(days: list[int]) -> Promise:
    """A model since day 0 with an incident on each of some days."""
    watched = Promise("m", ModelPolicy())
    rows = Rows("m", [CONTROL], 1, {"kind": b"\x01", "predicted_at": np.array([START_MS]).tobytes()}, ["1"])
    watched.add(rows, np.array([0]))
    watched.advance(START_MS + 1000 * DAY_MS, {}, [opened(f"i{number}", day) for number, day in enumerate(days)])
    return watched


def opened(incident: str, day: int) -> Event:
    [event, *_] = [event for event in DRIFT if event.type == EventType.DRIFT_OPENED]
    data = msgspec.structs.replace(event.data, incident_id=incident)
    return msgspec.structs.replace(event, time_ms=START_MS + day * DAY_MS, data=data)


_, DRIFT = fold(story(seed=1, days=75, per_day=30, change_day=50))


def test_the_evidence_adds_up_the_products_since_each_day() -> None:
    false, expected = {2: 1, 3: 2, 7: 1}, 0.0
    for stake in STAKES:
        factors = [1 - stake + stake * false.get(day, 0) / RATE for day in range(8)]
        expected += sum(np.prod(factors[begin:]) for begin in range(8)) / len(STAKES)
    assert evidence_by_day(false, since=0, rate=RATE)[-1][1] == pytest.approx(expected)


def test_who_keeps_the_promise_is_accused_of_a_breach_once_in_ten_years_at_most() -> None:
    rng, years, accused = np.random.default_rng(11), 0, 0
    for _ in range(1_000):  # twenty years each, or until the first accusation
        days, counts = np.unique(np.sort(rng.integers(0, 7_300, rng.poisson(7_300 * RATE))), return_counts=True)
        found = evidence_by_day(dict(zip(days.tolist(), counts.tolist(), strict=True)), since=0, rate=RATE)
        first = next((day for day, each in found if each >= THRESHOLD), None)
        accused, years = accused + (first is not None), years + (7_300 if first is None else first) / 365
    assert 0 < accused <= years / 10


def test_five_false_alarms_in_ten_days_are_more_than_one_a_month_and_told_once() -> None:
    watched = promise([*FIVE, 300])
    assert [watched.decide(verdict(f"i{n}")) for n in range(4)] == [[]] * 4
    [event] = watched.decide(verdict("i4"))
    assert (event.type, event.data.false_alarms, event.data.pages, event.data.days) == (EventType.BUDGET_BREACHED, 5, 1, 30)
    assert event.data.evidence >= event.data.threshold == THRESHOLD
    assert event.data.window.from_ == "2023-01-01T00:00:00.000Z"
    assert event.data.message.startswith("5 of the alarms of m in 410 days were judged false, where 1 in 30 days is declared")
    assert watched.decide(verdict("i4")) == watched.decide(verdict("i5")) == []


def test_alarms_of_checks_of_zero_tolerance_spend_nothing_of_the_budget() -> None:
    policy = parse_policy("[models.m.checks.citation]\nzero_tolerance = true\n").models["m"]
    for metric, breaches in (("check:citation", 0), ("check:adequacy", 1)):
        watched = Promise("m", policy)
        watched.first = DAY
        found = [opened(f"i{number}", day) for number, day in enumerate(FIVE)]
        data = [msgspec.structs.replace(event.data, metric=metric) for event in found]
        watched.advance(START_MS + 1000 * DAY_MS, {}, [msgspec.structs.replace(e, data=d) for e, d in zip(found, data, strict=True)])
        assert sum(len(watched.decide(verdict(f"i{n}"))) for n in range(5)) == breaches


def test_alarms_that_were_real_or_that_nobody_judged_are_no_breach() -> None:
    watched = promise(FIVE)
    assert [watched.decide(verdict(f"i{n}", "true")) for n in range(5)] == [[]] * 5
    watched.decide(verdict("i0"))
    watched.decide(verdict("i0", "true"))  # the latest verdict counts
    assert [watched.decide(verdict(f"i{n}")) for n in range(1, 5)] == [[]] * 4
    assert watched.decide(verdict("unknown")) == []


def test_false_alarms_at_the_rate_declared_are_no_breach() -> None:
    watched = promise([*range(0, 900, 30)])
    assert [watched.decide(verdict(f"i{n}")) for n in range(30)] == [[]] * 30


def test_verdicts_in_any_order_tell_the_same_breach() -> None:
    told = []
    for order in ([0, 1, 2, 3, 4], [2, 0, 1, 4, 3], [1, 2, 0, 4, 3]):
        watched = promise(FIVE)
        told.append(findings([event for n in order for event in watched.decide(verdict(f"i{n}"))]))
    assert told[0]
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize(("times", "days"), [(1, None), (2, 345), (3, 100), (5, 36)])
def test_how_long_a_budget_is_overdrawn_until_it_is_told(times: int, days: int | None) -> None:
    false = {365 + round(30 / times * i): 1 for i in range(100)}
    told = (day for day, each in evidence_by_day(false, since=0, rate=RATE) if each >= THRESHOLD)
    assert next(told, None) == (None if days is None else 365 + days)


def test_another_budget_begins_anew() -> None:
    watched = promise(FIVE)
    watched.now_ms = START_MS + 420 * DAY_MS
    watched.use(
        msgspec.structs.replace(ModelPolicy(), budget=parse_policy("[defaults]\nbudget = { pages = 2, days = 30 }\n").defaults.budget)
    )
    assert [watched.decide(verdict(f"i{n}")) for n in range(3)] == [[]] * 3


def test_a_state_goes_on_where_it_was_taken() -> None:
    watched, again = promise(FIVE), Promise("m", ModelPolicy())
    for n in range(3):
        watched.decide(verdict(f"i{n}"))
    again.load(msgspec.msgpack.decode(msgspec.msgpack.encode(watched.to_state())))
    assert again.to_state() == watched.to_state()
    for each in (watched, again):
        each.decide(verdict("i3"))
    assert findings(again.decide(verdict("i4"))) == findings(watched.decide(verdict("i4"))) != []


def test_the_watch_tells_of_a_breach_and_keeps_it_in_the_audit_trail() -> None:
    policy = parse_policy("[defaults]\nbudget = { pages = 0.00001, days = 30 }\n")
    watch, events = fold(story(seed=1, days=75, per_day=60, change_day=50), policy=policy, close=False)
    incident = next(event.data.incident_id for event in events if event.type == EventType.DRIFT_OPENED)
    watch.ledger.take()
    again = Watch()
    again.load(watch.head_state(), {("m", name): watch.state_of("m", name) for name in ("1", "")})
    record = Forwarded(CONTROL, 1, 0, msgspec.json.encode(verdict(incident)))
    [event] = watch.apply(record)
    assert event.type == EventType.BUDGET_BREACHED
    assert watch.events[EventType.BUDGET_BREACHED.value] == 1
    assert any(b"budget.breached" in line.value for line in watch.ledger.take())
    assert findings(again.apply(record)) == findings([event])
    assert state(again) == state(watch)
