"""The join worker's step, with a table in memory and a producer that takes notes: what comes before what."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from detectors.joiner import Joiner
from detectors.pending import DictTable, Logs, Lookups
from schemas.policy import Policy
from schemas.scored import Forwarded, Origin, Rows, Tick, decode
from streams.batches import Batch
from streams.errors import StoreError, StoreUnavailable
from streams.guard import Facts
from streams.joining import CRASH_POINTS, Joining
from streams.producer import DeliveryError, Message, scored_partition
from streams.settings import Settings
from streams.ticks import Highs

FACTS = {"predictions": Facts("p", 2), "outcomes": Facts("o", 1), "control": Facts("c", 1), "scored": Facts("s", 4)}
ALL = [("gnomon.predictions", 0), ("gnomon.predictions", 1), ("gnomon.outcomes", 0), ("gnomon.control", 0)]


class Notes:
    """Takes down crash points and messages in their order."""

    def __init__(self, fail: str = "") -> None:
        self.seen: list[str] = []
        self.messages: list[Message] = []
        self.fail = fail

    async def produce(self, messages: Sequence[Message]) -> None:
        if any(message.topic.endswith(self.fail) for message in messages if self.fail):
            raise DeliveryError("told to")
        self.seen += [f"-> {message.topic}" for message in messages]
        self.messages += messages

    def scored(self) -> list[tuple[int | None, Rows | Tick | Forwarded]]:
        return [(m.partition, decode(m.value or b"")) for m in self.messages if m.topic == "gnomon.scored"]


class Weather(DictTable):
    """Is away for the first calls."""

    def __init__(self, errors: list[Exception]) -> None:
        super().__init__()
        self.errors = errors

    async def exchange(self, lookups: Lookups) -> Logs:
        if self.errors:
            raise self.errors.pop(0)
        return await super().exchange(lookups)


def joining(notes: Notes, table: DictTable | None = None, **fields: int | None) -> Joining:
    made = Joining(Settings(**fields), Joiner(Policy(), b"k"), table or DictTable(), notes, notes.seen.append)
    made.own(FACTS, ALL)
    return made


def batch(topic: str, *records: object, first: int = 0, partition: int = 0) -> Batch:
    values = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    n = len(values)
    return Batch(f"gnomon.{topic}", partition, np.arange(first, first + n), np.full(n, 10**6), values, 0)


def claim(ident: str, model: str, at: int = 7) -> dict[str, object]:
    return {"request_id": ident, "model_id": model, "model_version": "1", "timestamp": at, "score": 0.5}


async def test_dead_letters_are_confirmed_before_rows_and_rows_before_ticks() -> None:
    notes = Notes()
    stage = joining(notes)
    await stage.step([batch("predictions", claim("a", "m"), b"{")])
    await stage.tick()
    dead, rows = "-> gnomon.dead-letters", "-> gnomon.scored"
    assert notes.seen == ["read", "looked-up", dead, "dead-lettered", rows, rows, "produced", *[rows] * 4, "ticked"]
    assert {name for name in notes.seen if "->" not in name} == set(CRASH_POINTS)


async def test_rows_go_to_their_models_partition_and_say_where_they_came_from() -> None:
    notes = Notes()
    await joining(notes).step([batch("predictions", *(claim(str(i), f"m{i % 3}") for i in range(9)), first=5, partition=1)])
    rows = [(partition, record) for partition, record in notes.scored() if isinstance(record, Rows)]
    assert {record.model_id: partition for partition, record in rows} == {f"m{i}": scored_partition(f"m{i}", 4) for i in range(3)}
    assert {origin for _, record in rows for origin in record.origins} == {Origin("predictions", "p", 1)}
    assert sorted(o for _, record in rows for o in record.column("offset").tolist()) == list(range(5, 14))


async def test_control_records_go_to_their_model_or_to_all() -> None:
    notes = Notes()
    snooze = {"type": "snooze", "by": "ada", "at": 1, "incident_id": "i", "body": {"until": 2}}
    await joining(notes).step([batch("control", snooze | {"model_id": "m1"}, snooze)])
    assert [partition for partition, _ in notes.scored()] == [scored_partition("m1", 4), 0, 1, 2, 3]


async def test_a_table_that_is_away_is_waited_for_and_one_that_refuses_is_not() -> None:
    notes = Notes()
    await joining(notes, Weather([StoreUnavailable("away"), StoreUnavailable("loading")])).step([batch("predictions", claim("a", "m"))])
    assert len(notes.scored()) == 1
    refused = Notes()
    with pytest.raises(StoreError, match="no rights"):
        await joining(refused, Weather([StoreError("no rights")])).step([batch("predictions", claim("a", "m"))])
    assert refused.seen == ["read"]


@pytest.mark.parametrize("topic", ["dead-letters", "scored"])
async def test_what_is_not_delivered_moves_no_clock(topic: str) -> None:
    notes = Notes(fail=topic)
    stage = joining(notes)
    with pytest.raises(DeliveryError):
        await stage.step([batch("predictions", claim("a", "m"), b"{")])
    notes.fail = ""
    await stage.tick()
    assert not [record for _, record in notes.scored() if isinstance(record, Tick)]
    await stage.step([batch("predictions", claim("b", "m"), first=7)])
    notes.fail = topic
    with pytest.raises(DeliveryError):
        await stage.step([batch("predictions", claim("a", "m"), b"{", first=8)])
    notes.fail = ""
    await stage.tick()
    ticks = [record for _, record in notes.scored() if isinstance(record, Tick)]
    assert [tick.done for tick in ticks] == [[(Origin("predictions", "p", 0), 7)]] * 4


async def test_a_step_that_is_repeated_gives_the_same_rows() -> None:
    table, first, again = DictTable(), Notes(), Notes()
    batches = [
        batch("predictions", claim("a", "m"), claim("b", "m")),
        batch("outcomes", {"request_id": "a", "timestamp": 9, "true_label": 1}),
    ]
    await joining(first, table).step(batches)
    await joining(Notes(), table).step([batch("outcomes", {"request_id": "a", "timestamp": 11, "true_label": 0}, first=1)])
    await joining(again, table).step(batches)
    assert again.messages == first.messages


async def test_ticks_say_only_what_is_new_and_name_every_source() -> None:
    notes = Notes()
    stage = joining(notes)
    await stage.step([batch("predictions", claim("a", "m", 70)), batch("outcomes", {"request_id": "b", "timestamp": 90, "true_label": 1})])
    await stage.tick()
    await stage.tick()
    await stage.step([batch("predictions", claim("c", "m", 60), first=1)])  # older: nothing new
    await stage.tick()
    ticks = [record for _, record in notes.scored() if isinstance(record, Tick)]
    moved, rows = [(Origin("outcomes", "o", 0), 90), (Origin("predictions", "p", 0), 70)], list[tuple[Origin, int]]()
    assert [tick.highs for tick in ticks] == [moved] * 4 + [rows] * 4  # in each of four partitions; rows are followed, whatever their time
    assert {tuple(tick.partitions.items()) for tick in ticks} == {(("predictions", 2), ("outcomes", 1))}
    read, more = [(Origin("outcomes", "o", 0), 0), (Origin("predictions", "p", 0), 0)], [(Origin("predictions", "p", 0), 1)]
    assert [tick.done for tick in ticks] == [read] * 4 + [more] * 4


def test_the_last_tick_is_followed_by_one_more_and_no_others() -> None:
    origin, highs = Origin("predictions", "p", 0), Highs(None)
    highs.own([origin])
    highs.produced({origin: 500}, {})
    said = [(at, highs.tick({}, at)) for at in range(10_000, 20_000, 250)]
    assert [(at, tick.highs) for at, tick in said if tick] == [(10_000, [(origin, 500)]), (11_000, [])]
    assert all(tick.at_ms == at for at, tick in said if tick)


def test_a_partition_that_was_idle_and_is_not_any_more_waits_anew() -> None:
    origin = Origin("predictions", "p", 0)
    highs = Highs(1000)
    highs.own([origin])
    highs.at_end([origin], 10_000)
    highs.produced({origin: 500}, {})
    highs.at_end([origin], 10_999)  # at its end again, and only now
    assert highs.tick({}, 11_000) == Tick({}, [(origin, 500)], 11_000)
    highs.at_end([], 11_500)
    highs.at_end([origin], 12_000)
    assert highs.tick({}, 11_900) is None
    highs.at_end([origin], 13_000)
    assert highs.tick({}, 13_000) == Tick({}, [(origin, 12_000)], 13_000)


def test_no_idle_timeout_no_clock_and_lost_partitions_are_forgotten() -> None:
    mine, lost = Origin("predictions", "p", 0), Origin("predictions", "p", 1)
    highs = Highs(None)
    highs.own([mine, lost])
    highs.produced({mine: 5, lost: 6}, {})
    highs.own([mine])
    highs.at_end([mine], 10**9)
    highs.produced({lost: 7}, {})
    assert highs.tick({}, 9) == Tick({}, [(mine, 5)], 9)


async def test_records_of_a_time_that_has_passed_are_told_of_not_too_often(caplog: pytest.LogCaptureFixture) -> None:
    stage = joining(Notes())
    await stage.step([batch("predictions", claim("a", "m"))])
    await stage.step([batch("predictions", claim("b", "m"), first=1)])  # as old as what came before
    assert caplog.messages == []
    for clock in (0, 10 * 86_400_000):
        stage.at_end(ALL, clock)  # nothing comes for ten days, so time follows the clock
    await stage.step([batch("predictions", claim("c", "m"), first=2)])
    await stage.step([batch("predictions", claim("d", "m"), first=3)])
    [told] = caplog.messages
    assert told.startswith("predictions[0]: records are 10.0 days older than event time has come to.")
