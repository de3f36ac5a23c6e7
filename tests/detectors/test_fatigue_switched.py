"""Alert fatigue under a policy that changes: switched off and on again, and with another idea of what a flood is."""

from collections.abc import Callable, Sequence

import msgspec
import pytest
from support.stories import DAY_MS, START_MS, Record, batches_of, tick
from support.wards import HOUR_MS, MINUTE_MS, alert, outcome, wards

from detectors.companions.fatigue import Fatigue
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.fatigue import AlertFigures, FatigueData, FatigueFigures
from schemas.fields import rfc3339
from schemas.findings import Event
from schemas.policy import encode_policy, parse_policy
from schemas.scored import Forwarded, Origin
from streams.checkpoint_pack import Packer, Position, unpack

ON, OFF = "[models.m]\n", "[models.m.fatigue]\nenabled = false\n"
Said = tuple[str, str, str, int]  # opened or cleared, kind, unit, at


class Run:
    """A fold under policies that change on the way."""

    def __init__(self, records: Sequence[Record], text: str = ON, *, chunk: int = 1) -> None:
        self.records, self.chunk = sorted(records, key=lambda record: record[0]), chunk
        self.joiner, self.table, self.offsets = Joiner(parse_policy(text), b"k"), DictTable(), {"predictions": 0, "outcomes": 0}
        self.watch = Watch(statistics_every_ms=None)
        self.events: list[Event] = []
        self.policies = 0
        self.policy(text)

    def policy(self, text: str) -> list[Event]:
        record = encode_policy(parse_policy(text), by="test", at=START_MS)
        events = self.watch.apply(Forwarded(Origin("control", "c", 0), self.policies, 0, record))
        self.policies += 1
        self.events += events
        return events

    def until(self, at_ms: int) -> list[Event]:
        """Fold what comes before a time, with a tick after each chunk."""
        events: list[Event] = []
        while self.records and self.records[0][0] < at_ms:
            part = [record for record in self.records[: self.chunk] if record[0] < at_ms]
            del self.records[: len(part)]
            prepared = self.joiner.prepare(batches_of([(topic, record) for _, topic, record in part], self.offsets))
            for rows in self.joiner.finish(prepared, self.table.exchange_now(prepared.lookups)).rows:
                events += self.watch.apply(rows)
            events += self.watch.apply(tick(part[-1][0]))
        self.events += events
        return events

    def restarted(self) -> None:
        saved = unpack(Packer().pack(self.watch, Position("scored", 1, 0)))
        assert saved is not None
        assert packed(saved.watch) == packed(self.watch)
        self.watch = saved.watch

    def figures(self) -> FatigueFigures:
        figures = report([self.watch]).models[0].fatigue
        assert figures is not None
        return figures

    def unit(self, name: str = "icu") -> AlertFigures:
        [figures] = [each for each in self.figures().units if each.unit == name]
        return figures


def member(watch: Watch) -> Fatigue:
    companion = watch.companions["m"].members["fatigue"]
    assert isinstance(companion, Fatigue)
    return companion


def packed(watch: Watch) -> bytes:
    return msgspec.msgpack.encode(watch.state_of("m", ""))


def said(events: Sequence[Event]) -> list[Said]:
    return [
        (event.type.rpartition(".")[2], event.data.kind.value, event.data.unit, event.time_ms)
        for event in events
        if isinstance(event.data, FatigueData)
    ]


def many() -> list[Record]:
    """Twenty alerts an hour for ten days, at no unit's flood."""
    return [alert(i, START_MS + i * 3 * MINUTE_MS) for i in range(10 * 24 * 20)]


def left_open() -> list[Record]:
    """Eight alerts a day that nobody deals with, but for one."""
    records = [alert(f"{day}-{i}", START_MS + day * DAY_MS + i * 3 * HOUR_MS) for day in range(10) for i in range(8)]
    return [*records, outcome("0-0", START_MS + MINUTE_MS, action_taken="acted")]


def repeated() -> list[Record]:
    """A key that chatters every six hours."""
    return [alert(f"{n}-{i}", START_MS + n * 6 * HOUR_MS + i * 10_000, key="bed 1") for n in range(40) for i in range(3)]


def flooded() -> list[Record]:
    """An alert every half minute, from half an hour before the switch to half an hour after it is switched back."""
    return [alert(i, START_MS + 3 * DAY_MS - HOUR_MS // 2 + i * MINUTE_MS // 2) for i in range(13 * 120)]


LASTING: dict[str, tuple[Callable[[], list[Record]], int]] = {  # and within which time it opens again
    "rate": (many, HOUR_MS),
    "stale": (left_open, 3 * HOUR_MS),
    "chatter": (repeated, 6 * HOUR_MS),
    "flood": (flooded, MINUTE_MS),
}


@pytest.mark.parametrize("kind", LASTING)
def test_what_lasts_when_fatigue_is_switched_on_again_opens_again_at_once(kind: str) -> None:
    make, within = LASTING[kind]
    run = Run(make(), chunk=60)
    off, on = START_MS + 3 * DAY_MS, START_MS + 3 * DAY_MS + DAY_MS // 2
    run.until(off)
    assert [each[0] for each in said(run.events) if each[1] == kind] == ["opened"]
    assert [each[0] for each in said(run.policy(OFF)) if each[1] == kind] == ["cleared"]
    assert said(run.until(on)) == []
    assert said(run.policy(ON)) == []
    now = member(run.watch).now_ms
    [(what, _, unit, at)] = [each for each in said(run.until(START_MS + 8 * DAY_MS)) if each[1] == kind]
    assert (what, unit) == ("opened", "icu")
    assert now <= at <= now + within
    ids = [event.data.incident_id for event in run.events if isinstance(event.data, FatigueData) and event.data.kind == kind]
    assert ids[0] == ids[1] != ids[2]


def test_what_ends_while_fatigue_is_switched_off_is_not_told() -> None:
    run = Run([alert(i, START_MS + i * 1_000) for i in range(20)] + [alert(i, START_MS + i * HOUR_MS, "er") for i in (20, 21)], OFF)
    run.until(START_MS + 20 * HOUR_MS + 1)
    run.policy(ON)
    run.until(START_MS + DAY_MS)
    assert said(run.events) == []
    assert run.unit().floods == 1


@pytest.mark.parametrize("chunk", [1, 7, 500])
@pytest.mark.parametrize("restart", [False, True])
def test_a_flood_that_began_unwatched_is_told_with_the_next_alert_that_is_too_much(chunk: int, restart: bool) -> None:
    times = [START_MS + HOUR_MS + i * 20_000 for i in range(40)]
    records = [alert(i, at) for i, at in enumerate(times)] + [alert("end", START_MS + 3 * HOUR_MS, "er")]
    run = Run(records, OFF, chunk=chunk)
    run.until(times[25])
    if restart:
        run.restarted()
    run.policy(ON)
    if restart:
        run.restarted()
    run.until(START_MS + 4 * HOUR_MS)
    opened, cleared = [event.data for event in run.events if isinstance(event.data, FatigueData)]
    told = times[24]  # a watermark says that all before it is there: the alert of its own time comes after it
    assert said(run.events)[0] == ("opened", "flood", "icu", told)
    assert (opened.value, opened.threshold, opened.window.to) == (25, 10, rfc3339(told + 1))
    assert cleared.window.from_ == rfc3339(times[10])
    assert "40 alerts" in cleared.message
    assert opened.incident_id == cleared.incident_id
    assert run.unit().floods == 1


@pytest.mark.parametrize("seed", range(3))
def test_floods_and_chatter_are_reported_whether_fatigue_is_watched_or_not(seed: int) -> None:
    records = wards(seed, days=4, alerts=200, bursts=12, keys=3).records
    watched, unwatched, switched = Run(records, chunk=15), Run(records, OFF, chunk=15), Run(records, chunk=15)
    for i in range(1, 17):
        for run in (watched, unwatched, switched):
            run.until(START_MS + i * 6 * HOUR_MS)
        switched.policy((OFF, ON)[i % 2])
    assert watched.figures() == unwatched.figures() == switched.figures()
    assert watched.figures().overall.floods > 3
    assert watched.figures().overall.chatter > 3
    assert said(unwatched.events) == []


def test_a_flood_ends_while_fatigue_is_switched_off() -> None:
    run = Run([alert(i, START_MS + i * 10_000) for i in range(20)] + [alert(f"d{d}", START_MS + d * DAY_MS) for d in range(1, 11)])
    run.until(START_MS + HOUR_MS)
    run.policy(OFF)
    run.until(START_MS + 11 * DAY_MS)
    figures = run.unit()
    assert figures.floods == 1
    assert figures.flood_share is not None
    assert figures.flood_share < 0.002


@pytest.mark.parametrize("text", ["flood_window = '10m'", "flood_window = '60m'\nflood_start = 15", "flood_window = '60m'\nflood_end = 3"])
def test_another_idea_of_a_flood_ends_one_that_is_open(text: str) -> None:
    times = [START_MS + HOUR_MS + i * 10_000 for i in range(20)]
    records = [alert(i, at) for i, at in enumerate(times)] + [alert("near", START_MS + 90 * MINUTE_MS, "er")]
    records += [alert(f"d{d}", START_MS + d * DAY_MS, "er") for d in range(1, 6)]
    run = Run(records, "[models.m.fatigue]\nflood_window = '60m'\n")
    run.until(START_MS + 2 * HOUR_MS)
    assert said(run.events) == [("opened", "flood", "icu", times[10])]
    now = member(run.watch).now_ms
    assert said(run.policy(f"[models.m.fatigue]\n{text}\n")) == [("cleared", "flood", "icu", now)]
    run.restarted()
    assert said(run.until(START_MS + 6 * DAY_MS)) == []
    figures = run.unit()
    assert figures.floods == 1
    assert figures.flood_share == pytest.approx((now - times[10]) / (5 * DAY_MS), rel=0.02)


def test_a_flood_goes_on_under_a_policy_that_changes_something_else() -> None:
    run = Run([alert(i, START_MS + i * 10_000) for i in range(60)])
    run.until(START_MS + 4 * MINUTE_MS)
    assert said(run.policy("[models.m.fatigue]\nchatter = 5\n")) == []
    run.until(START_MS + HOUR_MS)
    assert [each[0] for each in said(run.events)] == ["opened"]
    assert run.unit().floods == 1


def test_a_flood_that_lasts_by_the_new_idea_of_one_is_another() -> None:
    run = Run([alert(i, START_MS + i * 10_000) for i in range(80)] + [alert("end", START_MS + 3 * HOUR_MS, "er")])
    run.until(START_MS + 5 * MINUTE_MS)
    run.policy("[models.m.fatigue]\nflood_window = '5m'\n")
    run.until(START_MS + 4 * HOUR_MS)
    assert [each[0] for each in said(run.events)] == ["opened", "cleared", "opened", "cleared"]
    assert run.unit().floods == 2


def test_before_what_is_due_next_a_watermark_brings_nothing_but_time_while_switched_off() -> None:
    run = Run([alert(i, START_MS + i * 7 * MINUTE_MS, None) for i in range(40)], OFF)
    run.until(START_MS + 3 * HOUR_MS)
    saved = unpack(Packer().pack(run.watch, Position("scored", 1, 0)))
    assert saved is not None
    once, again = member(run.watch), member(saved.watch)
    at = once.next_ms(once.now_ms) - 1
    assert at > once.now_ms
    assert once.advance(at, {}, []) == []
    again.take_back_time(at)
    assert once.to_state() == again.to_state()
