"""Replay: logs through the same join rule and the same fold, without a broker.

The logs are read whole and put in order of event time, whatever order they stand in; predictions or outcomes of equal time are put in
order of their bytes, so that two files with the same lines give the same replay. Control records of equal time keep the order of their
file. At the end of the logs the watermark goes to infinity, so every rung is read.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.codec import encode
from schemas.control import ship
from schemas.dead_letter import DeadLetter
from schemas.findings import Event
from schemas.policy import Policy, encode_policy
from schemas.reference import Reference
from schemas.report import Report
from schemas.scored import Forwarded, Origin
from streams import replay_join
from streams.apart import apart, possible
from streams.heap import collector_spared, keep_freed
from streams.logs import ReplayError
from streams.replay_join import Begun, Done, Files, Step, join

if TYPE_CHECKING:
    from detectors.watch import Watch

__all__ = ["ReplayError", "Replayed", "replay"]

LARGE = 4 << 20  # bytes of files; below, the other process costs what it saves
_POLICY = Origin("control", "replay", 1)  # beside the log, which is partition 0

Progress = Callable[[int, int], None]  # records done, records in all


@dataclass
class Replayed:
    """What a replay gave. The offset of a dead letter is its line in the file, from 0."""

    report: Report
    watch: "Watch"  # as it stood at the end
    events: list[Event] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    audit: list[bytes] = field(default_factory=list)  # the lines of the audit trail


def replay(
    predictions: Path,
    outcomes: Path,
    *,
    started_ms: int,
    policy: Policy | None = None,
    control: Path | None = None,
    references: Sequence[tuple[str, Reference]] = (),
    progress: Progress = lambda done, total: None,
    two: bool | None = None,
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
    two
        Whether a process of its own reads and joins while this one folds. None: where it may, and pays.

    Raises
    ------
    ReplayError
        If a file can't be read at all. A bad line is a dead letter.
    ApartError
        If the other process fails otherwise, or is killed.
    OSError
        If ``two`` is True and there can be no other process.

    """
    policy = policy or Policy()
    files = Files(predictions, outcomes, control)
    with collector_spared(), _steps(files, policy, started_ms, two=two) as steps:
        from detectors.watch import REPLAY_SCORES, Watch  # noqa: PLC0415  heavy: while the other process reads
        from detectors.watch_report import report  # noqa: PLC0415

        watch = Watch(distinct_scores=REPLAY_SCORES, statistics_every_ms=None)
        result = Replayed(report=Report(), watch=watch)
        done = total = 0
        for step in steps:
            if isinstance(step, Done):
                result.dead_letters += step.dead_letters
                done += step.records
                progress(done, total)
            elif isinstance(step, Begun):
                total = step.total
                decisions = [encode_policy(policy, by="replay", at=step.first_ms), *_shipped(references, step.first_ms)]
                for index, decision in enumerate(decisions):
                    watch.apply(Forwarded(_POLICY, 0, index, decision))
                progress(done, total)
            else:
                result.events += watch.apply(step)
                result.audit += [line.value for line in watch.ledger.take()]
        result.events += watch.close()
        result.audit += [line.value for line in watch.ledger.take()]
        result.report = report([watch])
    return result


@contextmanager
def _steps(files: Files, policy: Policy, started_ms: int, *, two: bool | None) -> Iterator[Iterator[Step]]:
    with ExitStack() as stack:
        parts = None
        if two or (two is None and files.bytes() >= LARGE and possible()):
            try:
                parts = stack.enter_context(apart(lambda: _encoded(files, policy, started_ms), ReplayError))
            except OSError:  # too little memory, or too many processes
                if two:
                    raise
        yield join(files, policy, started_ms) if parts is None else map(replay_join.decode, parts)


def _encoded(files: Files, policy: Policy, started_ms: int) -> Iterator[bytes]:
    """Join in a process of its own."""
    keep_freed()
    return map(replay_join.encode, join(files, policy, started_ms))


def _shipped(references: Sequence[tuple[str, Reference]], at_ms: int) -> list[bytes]:
    return [encode(ship(model_id, reference, by="replay", at_ms=at_ms)) for model_id, reference in references]
