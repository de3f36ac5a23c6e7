"""Replay: logs through the same join rule and the same fold, without a broker.

The logs are read whole and put in order of event time, whatever order they stand in; predictions or outcomes of equal time are put in
order of their bytes, so that two files with the same lines give the same replay. Control records of equal time keep the order of their
file. At the end of the logs the watermark goes to infinity, so every rung is read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import REPLAY_SCORES, Watch
from detectors.watch_report import report
from schemas.codec import encode
from schemas.control import ship
from schemas.dead_letter import DeadLetter
from schemas.fields import FIRST_MS, LAST_MS
from schemas.findings import Event
from schemas.policy import Policy, encode_policy
from schemas.reference import Reference
from schemas.report import Report
from schemas.scored import Forwarded, Origin, Scored, Tick
from streams.logs import UNREADABLE, Log, ReplayError, read_log

__all__ = ["ReplayError", "Replayed", "replay"]

TIMED = ("predictions", "outcomes")
CHUNK = 65_536  # records that are joined and folded together, then the watermark moves
_POLICY = Origin("control", "replay", 1)  # beside the log, which is partition 0

Progress = Callable[[int, int], None]  # records done, records in all


@dataclass
class Replayed:
    """What a replay gave. The offset of a dead letter is its line in the file, from 0."""

    report: Report
    events: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    audit: list[bytes] = field(default_factory=list)  # the lines of the audit trail
    watch: Watch = field(default_factory=Watch)  # as it stood at the end


def replay(
    predictions: Path,
    outcomes: Path,
    *,
    started_ms: int,
    policy: Policy | None = None,
    control: Path | None = None,
    references: Sequence[tuple[str, Reference]] = (),
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
    references
        Model, and what a reference set says of its versions: shipped with the policy.
    progress
        Called after every chunk.

    Raises
    ------
    ReplayError
        If a file can't be read at all. A bad line is a dead letter.

    """
    policy = policy or Policy()
    joiner, table = Joiner(policy, None), DictTable()
    watch = Watch(distinct_scores=REPLAY_SCORES, statistics_every_ms=None)
    result = Replayed(report=Report(), watch=watch)
    logs = {"predictions": read_log(predictions).ordered(ties="bytes"), "outcomes": read_log(outcomes).ordered(ties="bytes")}
    if control is not None:
        logs["control"] = read_log(control).ordered(ties="place")
    first_ms = _first_ms(logs)
    for index, decision in enumerate([encode_policy(policy, by="replay", at=first_ms), *_shipped(references, first_ms)]):
        watch.apply(Forwarded(_POLICY, 0, index, decision))
    done, total = 0, sum(len(log.lines) for log in logs.values())
    progress(done, total)
    for batches, high_ms in chunks(logs, started_ms):
        prepared = joiner.prepare(batches)
        joined = joiner.finish(prepared, table.exchange_now(prepared.lookups))
        result.dead_letters += joined.dead_letters
        ticks = [] if high_ms is None else [Tick(dict.fromkeys(TIMED, 1), [(origin(name), high_ms) for name in TIMED])]
        records: list[Scored] = [*joined.rows, *ticks, *joined.forwarded]
        for record in records:
            result.events += watch.apply(record)
            result.audit += [line.value for line in watch.ledger.take()]
        done += sum(len(batch.values) for batch in batches)
        progress(done, total)
    result.events += watch.close()
    result.audit += [line.value for line in watch.ledger.take()]
    result.dead_letters = [_in_file(letter, logs) for letter in result.dead_letters]
    result.report = report([watch])
    return result


def _first_ms(logs: dict[str, Log]) -> int:
    """Return the time of the earliest record, from which on the policy is in force: two runs give the same."""
    readable = [log.times[(log.times >= FIRST_MS) & (log.times <= LAST_MS)] for log in logs.values()]
    return min((int(times[0]) for times in readable if len(times)), default=0)


def origin(topic: str) -> Origin:
    """Return the origin that stands for a log."""
    return Origin(topic, "replay", 0)


def _shipped(references: Sequence[tuple[str, Reference]], at_ms: int) -> list[bytes]:
    return [encode(ship(model_id, reference, by="replay", at_ms=at_ms)) for model_id, reference in references]


def chunks(logs: dict[str, Log], started_ms: int) -> Iterator[tuple[list[SourceBatch], int | None]]:
    """Yield batches of ordered logs in order of event time, and the greatest time in them; None: a time that no clock may follow."""
    names = list(logs)
    times = np.concatenate([log.times for log in logs.values()])
    source = np.repeat(np.arange(len(names)), [len(log.lines) for log in logs.values()])
    order = np.argsort(times, kind="stable")
    offset = dict.fromkeys(names, 0)
    # A decision holds from its time on, however records are chunked: its chunk ends with it, and the watermark moves before it is taken.
    decisions = np.flatnonzero(source[order] == names.index("control")) + 1 if "control" in names else np.zeros(0, dtype=np.intp)
    cuts = np.union1d(np.arange(0, len(order), CHUNK), decisions)
    for start, end in pairwise([*cuts[cuts < len(order)].tolist(), len(order)]):
        chunk = order[start:end]
        counts = np.bincount(source[chunk], minlength=len(names)).tolist()
        batches = []
        for name, count in zip(names, counts, strict=True):
            first, offset[name] = offset[name], offset[name] + count
            if count:
                values = logs[name].lines[first : offset[name]]
                batches.append(SourceBatch(origin(name), np.arange(first, offset[name]), np.full(count, started_ms), values))
        high = int(times[chunk[-1]])
        yield batches, high if UNREADABLE < high <= started_ms else None


def _in_file(letter: DeadLetter, logs: dict[str, Log]) -> DeadLetter:
    """Return a dead letter with the number of its line for its offset, and without the time of the run: two runs give the same."""
    return msgspec.structs.replace(letter, offset=int(logs[letter.topic].numbers[letter.offset]), at_ms=0)
