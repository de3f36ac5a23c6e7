"""Replay: logs through the same join rule and the same fold, without a broker.

The logs are read whole and put in order of event time, whatever order they stand in; what is equal in time keeps the order of its file.
At the end of the logs the watermark goes to infinity, so every rung is read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detectors.joiner import Joiner, SourceBatch
from detectors.pending import DictTable
from detectors.watch import REPLAY_SCORES, Watch
from detectors.watch_report import report
from schemas.dead_letter import DeadLetter
from schemas.findings import Event
from schemas.policy import Policy, encode_policy
from schemas.report import Report
from schemas.scored import Forwarded, Origin, Tick
from streams.logs import Log, read_log

CHUNK = 4_096  # records that are joined and folded together, then the watermark moves
_POLICY = Origin("control", "policy", 0)

Progress = Callable[[int, int], None]  # records done, records in all


@dataclass
class Replayed:
    """What a replay gave."""

    report: Report
    events: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


def replay(
    predictions: Path,
    outcomes: Path,
    *,
    started_ms: int,
    policy: Policy | None = None,
    control: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Replayed:
    """Run logs through join and watch.

    Parameters
    ----------
    predictions, outcomes, control
        JSON lines, gzipped or not, or Parquet.
    started_ms
        When the run began, epoch ms: no event time may lie more than a day after it.
    policy
        None: the defaults; nothing expires, ages are learnt.
    progress
        Called after every chunk.

    Raises
    ------
    ReplayError
        If a file can't be read at all. A bad line is a dead letter.

    """
    policy = policy or Policy()
    joiner, table = Joiner(policy, b"replay"), DictTable()
    watch = Watch(distinct_scores=REPLAY_SCORES, statistics_every_ms=None)
    result = Replayed(report=Report())
    watch.apply(Forwarded(_POLICY, 0, 0, encode_policy(policy, by="replay", at=started_ms)))
    logs = {"predictions": read_log(predictions), "outcomes": read_log(outcomes)}
    if control is not None:
        logs["control"] = read_log(control)
    done, total = 0, sum(len(log.lines) for log in logs.values())
    for batches, high_ms, lines in _chunks(logs, started_ms):
        prepared = joiner.prepare(batches)
        joined = joiner.finish(prepared, table.exchange_now(prepared.lookups))
        result.dead_letters += [_at_line(letter, lines) for letter in joined.dead_letters]
        for record in (*joined.rows, *joined.forwarded):
            result.events += watch.apply(record)
        if high_ms is not None:
            highs = [(origin(name), high_ms) for name in ("predictions", "outcomes")]
            result.events += watch.apply(Tick({"predictions": 1, "outcomes": 1}, highs))
        done += sum(len(batch.values) for batch in batches)
        progress(done, total)
    result.events += watch.close()
    result.report = report([watch])
    return result


def origin(topic: str) -> Origin:
    """Return the origin that stands for a log."""
    return Origin(topic, "replay", 0)


def _chunks(logs: dict[str, Log], started_ms: int) -> Iterator[tuple[list[SourceBatch], int | None, dict[str, np.ndarray]]]:
    """Yield batches in order of event time, the greatest time in them, and which line each offset is."""
    names = list(logs)
    times = np.concatenate([log.times for log in logs.values()])
    source = np.repeat(np.arange(len(names)), [len(log.lines) for log in logs.values()])
    line = np.concatenate([np.arange(len(log.lines)) for log in logs.values()])
    order = np.lexsort((line, source, times))
    lines = {name: line[order][source[order] == i] for i, name in enumerate(names)}
    offset = dict.fromkeys(names, 0)
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        batches = []
        for i, name in enumerate(names):
            picked = line[chunk[source[chunk] == i]].tolist()
            if picked:
                first = offset[name]
                offset[name] = first + len(picked)
                values = [logs[name].lines[number] for number in picked]
                batches.append(SourceBatch(origin(name), range(first, offset[name]), [started_ms] * len(picked), values))
        high = int(times[chunk[-1]])
        yield batches, high if high <= started_ms else None, lines


def _at_line(letter: DeadLetter, lines: dict[str, np.ndarray]) -> DeadLetter:
    """Return a dead letter with the number of its line, from 0, for its offset."""
    import msgspec

    return msgspec.structs.replace(letter, offset=int(lines[letter.topic][letter.offset]))



