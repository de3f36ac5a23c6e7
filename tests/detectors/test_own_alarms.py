"""Our own alarms, held to what is asked of a model's: fifty models on one operator."""

import json
from collections import Counter

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, fold, story, tick

from detectors.fatigue.alarms import OwnAlarms, alarms_of
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.control import Control, ControlType
from schemas.drift import Window
from schemas.fatigue import AlarmFigures, FatigueData, FatigueKind
from schemas.fields import rfc3339
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.scored import Forwarded, Origin

MINUTE, HOUR_MS = 60_000, 3_600_000
DAY = START_MS // DAY_MS


def event(at: int, ident: str, *, opened: bool = True, unit: str = "icu") -> Event:
    window = Window(from_=rfc3339(at), to=rfc3339(at))
    data = FatigueData(
        incident_id=ident,
        model_id="m",
        model_version="",
        kind=FatigueKind.FLOOD,
        unit=unit,
        value=1,
        threshold=1,
        window=window,
        message="",
    )
    said = EventType.FATIGUE_OPENED if opened else EventType.FATIGUE_CLEARED
    return Event(id=ident + str(opened), type=said, subject="m", time_ms=at, data=data)


def reckoned(spans: list[tuple[int, int | None]], days: int) -> tuple[float, float, int]:
    """Return incidents an hour, share of windows with more than ten, most stale ones on a day; by looking at each window and day."""
    end = START_MS + days * DAY_MS
    windows = Counter(opened // (10 * MINUTE) for opened, _ in spans)
    crowded = sum(windows[START_MS // (10 * MINUTE) + i] > 10 for i in range(days * 144))
    stale = []
    for day in range(days):
        begin, stop = START_MS + day * DAY_MS, START_MS + (day + 1) * DAY_MS
        stale.append(sum(opened + DAY_MS < stop and (done or end) > max(begin, opened + DAY_MS) for opened, done in spans))
    return len(spans) / days / 24, crowded / days / 144, max(stale)


@pytest.mark.parametrize("seed", range(5))
def test_the_load_is_what_looking_at_each_window_and_day_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    days, spans, events = 6, [], []
    for i in range(60):
        at = START_MS + (int(rng.integers(0, 6 * DAY_MS)) if i % 3 else 2 * DAY_MS + int(rng.integers(0, 15 * MINUTE)))
        done = at + int(rng.exponential(2) * DAY_MS) if rng.random() < 0.8 else None
        done = None if done is None or done >= START_MS + days * DAY_MS else done
        spans.append((at, done))
        events.append(event(at, str(i), unit=str(i)))
        if done is not None:
            events.append(event(done, str(i), opened=False, unit=str(i)))
    events.sort(key=lambda each: each.time_ms)
    alarms, other = OwnAlarms(), OwnAlarms()
    for each in events:  # two watches share them
        (alarms if int(each.data.incident_id) % 2 else other).add([each])  # type: ignore[union-attr]
    saved = OwnAlarms.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(alarms.to_state())))
    got = alarms_of([saved, other], first_day=DAY, last_day=DAY + days)
    assert (got.per_hour, got.crowded_share, got.stale) == pytest.approx(reckoned(spans, days))
    assert (got.incidents, got.fatigue, got.drift) == (60, 60, 0)


def test_the_third_of_a_kind_within_a_minute_is_chatter() -> None:
    alarms = OwnAlarms()
    for i, at in enumerate([0, 20_000, 59_999, 60_000, 300_000]):
        alarms.add([event(START_MS + at, str(i))])
    alarms.add([event(START_MS + 300_001, "x", unit="er"), event(START_MS + 300_002, "y", unit="er")])
    assert alarms.chatter == 2


def test_whoever_acknowledges_an_incident_ends_its_being_stale() -> None:
    alarms = OwnAlarms()
    alarms.add([event(START_MS, "a"), event(START_MS, "b", unit="er")])
    alarms.heed(Control(type=ControlType.ACK, by="ada", at=START_MS + HOUR_MS, incident_id="a"))
    assert alarms_of([alarms], first_day=DAY, last_day=DAY + 5).stale == 1


def test_fifty_models_some_of_them_failing_do_not_tire_one_operator() -> None:
    """Far below six incidents an hour, no window with more than ten, none chatters; fewer than five stale where people take note."""
    text = "[defaults]\nages = ['2d']\nbaseline = { days = 10, labels = 20, failures = 2 }\n"
    failing = dict.fromkeys(range(0, 50, 10), 20)
    streams = [
        story(seed=1_000 + i, days=36, per_day=3, model=f"m{i}", change_day=failing.get(i), error=0.2, error_after=0.95) for i in range(50)
    ]
    records = sorted((record for stream in streams for record in stream), key=lambda record: record[0])
    watch, events = fold(records, policy=parse_policy(text), chunk=5_000)
    opened = [each for each in events if each.type == EventType.DRIFT_OPENED]
    assert {each.data.model_id for each in opened} >= {f"m{i}" for i in failing}  # type: ignore[union-attr]
    told = report([watch]).alarms
    assert told.incidents == told.drift == len(opened)
    assert told.per_hour == pytest.approx(
        len(opened) / 24 / (max(at // DAY_MS for at, topic, _ in records if topic == "predictions") + 1 - DAY)
    )
    assert told.per_hour <= 6
    assert told.crowded_share is not None
    assert told.crowded_share < 0.01
    assert told.chatter == 0
    assert told.stale >= 1  # nobody took note
    for each in opened:
        watch.alarms.heed(Control(type=ControlType.ACK, by="ada", at=each.time_ms + HOUR_MS, incident_id=each.data.incident_id))  # type: ignore[union-attr]
    assert report([watch]).alarms.stale < 5


def test_acknowledgements_reach_it_through_the_log() -> None:
    watch = Watch(statistics_every_ms=None)
    watch.alarms.add([event(START_MS, "a")])
    record = json.dumps({"type": "ack", "by": "ada", "at": START_MS + 1, "incident_id": "a"}).encode()
    watch.apply(Forwarded(Origin("control", "c", 0), 0, 0, record))
    assert not watch.alarms.open
    assert watch.apply(tick(START_MS)) == []
    assert report([Watch()]).alarms == AlarmFigures(per_hour=None)


def test_what_people_say_of_our_alarms_is_counted_once_each_and_survives_a_restart() -> None:
    """Verdicts go to every watch; the one that opened the incident counts them, and the latest of two holds."""
    alarms, other = OwnAlarms(), OwnAlarms()
    for i in range(4):
        alarms.add([event(START_MS + i * HOUR_MS, str(i), unit=str(i))])
    other.add([event(START_MS, "far", unit="far")])

    def say(kind: ControlType, ident: str, minutes: int, **body: str) -> None:
        for each in (alarms, other):
            each.heed(Control(type=kind, by="ada", at=START_MS + minutes * MINUTE, incident_id=ident, body=dict(body)))

    say(ControlType.ACK, "0", 10)
    say(ControlType.VERDICT, "0", 30, verdict="false")  # an answer after the first is none that was waited for
    say(ControlType.VERDICT, "1", 60 + 20, verdict="false")
    say(ControlType.VERDICT, "1", 60 + 25, verdict="true")
    alarms.add([event(START_MS + 3 * HOUR_MS, "2", opened=False)])
    say(ControlType.VERDICT, "2", 400, verdict="true")  # it was over already, and is judged all the same
    say(ControlType.VERDICT, "nobody's", 400, verdict="true")
    again = OwnAlarms.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(alarms.to_state())))
    assert again.to_state() == alarms.to_state()
    told = alarms_of([again, other], first_day=DAY, last_day=DAY + 73)
    assert (told.judged, told.ppv, told.nne, told.top_10_share) == (3, pytest.approx(2 / 3), 1.5, 1.0)
    assert told.false_per_year == pytest.approx(5, rel=0.01)  # one in a fifth of a year
    assert told.mean_response_s == 15 * 60  # 10 and 20 minutes
    nothing = alarms_of([OwnAlarms()], first_day=DAY, last_day=DAY + 73)
    assert (nothing.ppv, nothing.nne, nothing.false_per_year, nothing.mean_response_s, nothing.top_10_share) == (None,) * 5
