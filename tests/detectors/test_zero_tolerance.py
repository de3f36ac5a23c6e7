"""Checks of which no failure is tolerated: whose failures an incident is about, and when it is over."""

from typing import Any

import msgspec
import pytest
from support.stories import START_MS, Record, findings, fold, state, tick

from detectors.watch import Watch
from detectors.watch_report import report
from detectors.zero_tolerance import KEPT
from detectors.zero_tolerance import Record as Standing
from schemas.findings import Event
from schemas.policy import parse_policy
from schemas.scored import Forwarded, Origin
from streams.checkpoint_pack import Packer, Position, unpack

HOUR_MS = 3_600_000
STRICT = parse_policy("[defaults]\nlateness = '0s'\n[models.m.checks.citation]\nzero_tolerance = true\nclean = 50\n")


def made(name: str, hour: float) -> Record:
    at = START_MS + int(hour * HOUR_MS)
    return at, "predictions", {"request_id": name, "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9}


def seen(name: str, hour: float, passed: int) -> Record:
    at = START_MS + int(hour * HOUR_MS)
    return at, "outcomes", {"request_id": name, "timestamp": at, "checks": {"citation": [passed, 5]}}


def acknowledged(watch: Watch, event: Event, hour: float) -> list[Event]:
    at = START_MS + int(hour * HOUR_MS)
    text = f'{{"type":"ack","by":"ada","at":{at},"incident_id":"{event.data.incident_id}","model_id":"m"}}'
    return watch.apply(Forwarded(Origin("control", "c", 0), 1 + at % 10**9, 0, text.encode()))


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(e.type.value.rpartition(".")[2], e.data.incident_id) for e in events if getattr(e.data, "metric", "") == "check:citation"]


FIRST = [made("a", 0), seen("a", 1, 4)]


def one_in_hand() -> tuple[Watch, Event]:
    """A watch whose first incident, about document a, somebody has in hand."""
    watch, events = fold(FIRST, policy=STRICT, close=False)
    [opened] = [event for event in events if told([event])]
    assert told(acknowledged(watch, opened, 2)) == [("cleared", opened.data.incident_id)]
    return watch, opened


def test_a_correction_of_what_is_over_does_not_end_another_incident() -> None:
    watch, first = one_in_hand()
    records = [*FIRST, made("b", 3), seen("b", 4, 4), seen("a", 6, 5)]
    _, events = fold(records, policy=STRICT, watch=watch, close=False, chunk=1)
    [(what, second)] = told(events)
    assert (what, second != first.data.incident_id) == ("opened", True)
    _, more = fold([*records, seen("b", 7, 5)], policy=STRICT, watch=watch, close=False, chunk=1)
    assert told(more) == [("cleared", second)]


@pytest.mark.parametrize("chunk", [1, 100])
def test_a_correction_does_not_hide_a_failure_of_the_same_moment(chunk: int) -> None:
    watch, _ = one_in_hand()
    _, events = fold([*FIRST, made("b", 3), seen("a", 6, 5), seen("b", 6, 4)], policy=STRICT, watch=watch, close=False, chunk=chunk)
    watch.apply(tick(START_MS + 7 * HOUR_MS))
    assert [what for what, _ in told(events)] == ["opened"]
    [check] = report([watch]).models[0].checks
    assert (check.state, check.figures.documents_failed) == ("alarm", 1)


def test_a_failure_that_takes_the_place_of_another_keeps_the_incident_open() -> None:
    records = [*FIRST, made("b", 3), seen("a", 6, 5), seen("b", 6, 4)]
    watch, events = fold(records, policy=STRICT, close=False)
    [(what, incident)] = told(events)
    assert what == "opened"
    _, more = fold([*records, seen("b", 8, 5)], policy=STRICT, watch=watch, close=False)
    assert told(more) == [("cleared", incident)]


def test_a_document_corrected_from_one_failure_to_another_is_no_news() -> None:
    watch, _ = one_in_hand()
    _, events = fold([*FIRST, seen("a", 6, 3)], policy=STRICT, watch=watch, close=False)
    assert told(events) == []


def test_late_failures_at_one_watermark_are_incidents_with_names_of_their_own() -> None:
    before = [made("a", 0), made("b", 0.001), made("z", 20), seen("z", 20.001, 5)]
    watch, _ = fold(before, policy=STRICT, close=False)
    _, events = fold([*before, seen("a", 2, 4)], policy=STRICT, watch=watch, close=False, ticks=False)
    events += watch.apply(tick(START_MS + int(20.001 * HOUR_MS)))
    [opened] = [event for event in events if told([event])]
    acknowledged(watch, opened, 21)
    saved = unpack(Packer().pack(watch, Position("scored", 1, 0)))
    assert saved is not None
    for each in (watch, saved.watch):
        each.news.every_ms = None
        _, more = fold([*before, seen("a", 2, 4), seen("b", 3, 3)], policy=STRICT, watch=each, close=False, ticks=False)
        more += each.apply(tick(START_MS + int(20.001 * HOUR_MS)))
        [(what, second)] = told(more)
        assert (what, second != opened.data.incident_id) == ("opened", True)


def test_what_failed_is_part_of_the_state() -> None:
    records: list[Any] = [*FIRST, made("b", 3), seen("b", 4, 4), seen("a", 6, 5), seen("b", 7, 5)]
    whole, events = fold(records, policy=STRICT, close=False, chunk=1)
    half, first = fold(records[:4], policy=STRICT, close=False, chunk=1)
    saved = unpack(Packer().pack(half, Position("scored", 1, 0)))
    assert saved is not None
    saved.watch.news.every_ms = None
    _, rest = fold(records, policy=STRICT, watch=saved.watch, close=False, chunk=1)
    assert findings(first + rest) == findings(events)
    assert state(saved.watch) == state(whole)
    assert [what for what, _ in told(events)] == ["opened", "updated", "cleared"]


def test_no_more_is_taken_back_than_stands() -> None:
    """Two documents of one millisecond, of which one failed in an incident that is over, and both are corrected."""
    record = Standing()
    record.add({5: 1, 6: 1})
    record.take_back({5: 2})
    assert (record.failures, record.failed) == ({6: 1}, 1)


def test_of_very_many_failures_the_further_ones_are_counted_only() -> None:
    record = Standing()
    record.add(dict.fromkeys(range(KEPT + 5), 2))
    assert (record.failed, len(record.failures), record.further) == (2 * KEPT + 10, KEPT, 10)
    record.take_back({0: 2, KEPT + 1: 1, -7: 1})
    assert (record.failed, record.further) == (2 * KEPT + 6, 8)
    again = Standing(**msgspec.msgpack.decode(msgspec.msgpack.encode(msgspec.to_builtins(record))))
    assert again == record
