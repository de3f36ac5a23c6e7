"""Where a finding came from, and what is known of a request: read from the topics and the tables, changing nothing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from detectors.entries import Entry, OutcomeEntry, PredictionEntry, decode_entry, subgroup_pairs
from detectors.keys import key_for
from detectors.pending import FRAME_BYTES, ORIGIN_BYTES, origin_prefix
from detectors.segments import OTHER
from detectors.trail import PaneEvidence, TracedWatch
from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.fields import rfc3339
from schemas.findings import Event, from_binary, to_json
from schemas.scored import Origin, decode
from streams.guard import REDIS_ERRORS, Facts
from streams.pending import RedisTable, _translated
from streams.producer import scored_partition
from streams.readers import Reader
from streams.settings import Settings
from streams.topics import SCORED, TIMED

FINDINGS = ("drift", "fatigue", "retrain")


def findings(settings: Settings, wanted: Callable[[Event], bool], topics: Sequence[str] = FINDINGS) -> list[Event]:
    """Return the findings that are kept and wanted, each once, in the order of their topics. Blocks.

    Raises
    ------
    ReadError
        If Kafka is away, or a topic missing.

    """
    found: dict[str, Event] = {}
    for name in topics:
        with Reader(settings, name) as reader:
            for record in reader.read(beginning=True, follow=False):
                try:
                    event = from_binary(record.headers, record.value or b"")
                except (msgspec.DecodeError, ValueError):
                    continue  # none of ours
                if wanted(event):
                    found.setdefault(event.id, event)
    return list(found.values())


def story(settings: Settings, ident: str) -> list[Event]:
    """Return the event of this id, or all of the incident or request of this id; empty: there is none. Raises as ``findings`` does."""
    same = findings(settings, lambda event: ident in (event.id, *_idents(event)))
    exact = [event for event in same if event.id == ident]
    return exact or same


def _idents(event: Event) -> tuple[str, ...]:
    return tuple(str(getattr(event.data, name)) for name in ("incident_id", "request_id") if hasattr(event.data, name))


class Replayed(NamedTuple):
    """A drift or fatigue event found once more, from the log."""

    trail: list[PaneEvidence]  # of the monitor that it speaks of; empty of fatigue, and where the log could not be replayed
    same: bool  # the replay gave the very bytes of the event
    why_not: str  # why there is no trail, or no such event; empty: there is


def replay(settings: Settings, event: Event, progress: Callable[[int, int], None] = lambda done, total: None) -> Replayed:
    """Fold the event's scored partition from its beginning up to the event. Blocks.

    Parameters
    ----------
    settings
        Names.
    event
        A drift or fatigue event.
    progress
        Called with how many records are done, and how many there are.

    Raises
    ------
    ReadError
        If Kafka is away, or the topic missing.

    """
    data = event.data
    if not isinstance(data, DriftData | FatigueData):
        raise TypeError(f"expected a drift or fatigue event, got {event.type.value}")
    if data.model_id == OTHER:
        return Replayed([], False, f"models beyond the cap share the name {OTHER}: their log lies in several partitions")
    with Reader(settings, SCORED) as all_of_it:
        count = len(all_of_it.partitions)
    with Reader(settings, SCORED, scored_partition(data.model_id, count)) as reader:
        first, end = reader.bounds(reader.partitions[0])
        if first > 0:
            text = (
                f"the log no longer reaches back: the scored partition begins at offset {first}; GNOMON_SCORED_RETENTION_DAYS says how far"
            )
            return Replayed([], False, text)
        watch = TracedWatch(data)
        for record in reader.read(beginning=True, follow=False):
            progress(record.offset + 1, end)
            for found in watch.apply(decode(record.value or b"")):
                if found.id == event.id:
                    same = to_json(found) == to_json(event)
                    return Replayed(watch.trail(), same, "" if same else "the replay gives an event of this id with another content")
    return Replayed(watch.trail(), False, "the replay does not give this event: the log was changed, or another version of Gnomon wrote it")


class Arrival(NamedTuple):
    """A record in a request's log."""

    topic: str  # logical name; empty: of a topic that is no longer there
    partition: int
    offset: int
    entry: Entry
    raw: bytes


class Request(NamedTuple):
    """What the pending table knows of one row of a request."""

    arrivals: list[Arrival]  # in the order of arrival
    kept_ms: int | None  # how much longer; None: for ever

    @property
    def predictions(self) -> list[tuple[Arrival, PredictionEntry]]:
        """Its predictions."""
        return [(each, each.entry) for each in self.arrivals if isinstance(each.entry, PredictionEntry)]

    @property
    def outcomes(self) -> list[tuple[Arrival, OutcomeEntry]]:
        """Its outcomes, by when they became known."""
        found = [(each, each.entry) for each in self.arrivals if isinstance(each.entry, OutcomeEntry)]
        return sorted(found, key=lambda pair: (pair[1].at, pair[1].rank, pair[0].raw))

    def label_in_force(self) -> OutcomeEntry | None:
        """Return the outcome whose label counts: the highest version, ties by content."""
        labelled = [(entry.rank, each.raw, entry) for each, entry in self.outcomes if entry.label is not None]
        return max(labelled, key=lambda item: item[:2])[2] if labelled else None


async def request(client: Any, settings: Settings, facts: dict[str, Facts], request_id: str, row: int) -> Request | None:
    """Return what the pending table knows of a request; None: nothing.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off.
    settings
        The prefix, and the secret key of the workers.
    facts
        Of the source topics, as workers noted them.
    request_id, row
        Which.

    Raises
    ------
    StoreError
        If Redis is away, or refuses.

    """
    key = RedisTable(client, settings.prefix).key(key_for(request_id, row, settings.secret_key.encode()))
    try:
        log, kept = await client.get(key), await client.pttl(key)
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    return None if not log else Request(arrivals(log, facts), kept if kept >= 0 else None)


def arrivals(log: bytes, facts: dict[str, Facts]) -> list[Arrival]:
    """Return the records of a log that can be read, each with its place.

    >>> from detectors.entries import encode_entry
    >>> from detectors.pending import frame, record_origin
    >>> entry = encode_entry(OutcomeEntry(9, b"d", label=1))
    >>> log = frame(record_origin(origin_prefix(Origin("outcomes", "o", 3)), 7, 0), entry)
    >>> [(each.topic, each.partition, each.offset, each.entry.label) for each in arrivals(log, {"outcomes": Facts("o", 4)})]
    [('outcomes', 3, 7, 1)]
    """
    names = {origin_prefix(Origin(name, fact.topic_id, 0))[:4]: name for name, fact in facts.items() if name in TIMED}
    found, at = [], 0
    while at < len(log):
        start = at + FRAME_BYTES
        stop = start + int.from_bytes(log[at : at + 2], "little")
        origin = log[at + 2 : at + 2 + ORIGIN_BYTES]
        try:
            entry: Entry = decode_entry(log[start:stop])
        except (msgspec.MsgspecError, ValueError):
            pass  # of a version to come
        else:
            offset = int.from_bytes(origin[6:], "big") >> 16
            found.append(Arrival(names.get(origin[:4], ""), int.from_bytes(origin[4:6], "big"), offset, entry, log[start:stop]))
        at = stop
    return found


def fed(events: Sequence[Event], made: PredictionEntry) -> list[Event]:
    """Return the drift events that rest on cohorts with this prediction in them: made in the window, of a segment that it speaks of."""
    groups = dict(subgroup_pairs(made.subgroups))
    at = rfc3339(made.at)

    def covers(segment: dict[str, str]) -> bool:
        return all(groups.get(name) == value for name, value in segment.items())

    return [
        event
        for event in events
        if isinstance(event.data, DriftData)
        and (event.data.model_id, event.data.model_version) == (made.model, made.version)
        and event.data.window.from_ <= at < event.data.window.to
        and not made.probe
        and any(covers(segment) for segment in (event.data.segment, *event.data.affected))
    ]
