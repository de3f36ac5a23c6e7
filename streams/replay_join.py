"""Logs on disk through the join rule, in the order of event time: what a replay folds, step by step.

Here is only what the join needs: it may run in a process of its own, beside the one that loads the watch, and folds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from detectors.intake import SourceBatch
from detectors.local_join import LocalJoin
from schemas.dead_letter import DeadLetter
from schemas.fields import FIRST_MS, LAST_MS
from schemas.policy import Policy
from schemas.scored import Origin, Scored, Tick
from streams.logs import UNREADABLE, Log, read_log

TIMED = ("predictions", "outcomes")
CHUNK = 16_384  # records that are joined together: more would not stay in a processor's cache
STEP = 65_536  # records after which the watermark moves, whole chunks: it costs the watch the same for few of them


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """The logs are read: how many records they hold, and the time of the earliest, epoch ms.

    The policy is in force from then on: two runs give the same.
    """

    total: int
    first_ms: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """So many more records are joined, and what was refused of them. The offset of a dead letter is its line in the file, from 0."""

    records: int
    dead_letters: list[DeadLetter]


Step = Begun | Done | Scored

encode = msgspec.msgpack.Encoder().encode  # of a step, as ``schemas.scored.encode`` of a scored record
decode = msgspec.msgpack.Decoder(Step).decode


@dataclass(frozen=True)
class Files:
    """The logs of a replay: JSON lines, gzipped or not, or Parquet."""

    predictions: Path
    outcomes: Path
    control: Path | None = None

    def bytes(self) -> int:
        """Return how large the two long ones are; what cannot be looked at counts nothing: to read it says why."""
        return sum(map(_bytes, (self.predictions, self.outcomes)))


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:  # a folder that may not be entered, a name that is too long
        return 0


def join(files: Files, policy: Policy, started_ms: int) -> Iterator[Step]:
    """Read logs and join them: yield ``Begun``, then for each chunk its scored records and ``Done``.

    Raises
    ------
    ReplayError
        If a file can't be read at all. A bad line is a dead letter.

    """
    logs = {"predictions": read_log(files.predictions).ordered(ties="bytes"), "outcomes": read_log(files.outcomes).ordered(ties="bytes")}
    if files.control is not None:
        logs["control"] = read_log(files.control).ordered(ties="place")
    total = sum(map(len, logs.values()))
    yield Begun(total, _first_ms(logs))
    local = LocalJoin(policy, room=total)
    read: dict[Origin, int] = {}
    for batches, high_ms in chunks(logs, started_ms):
        joined = local.join(batches)
        yield from joined.rows
        read |= {batch.origin: int(batch.offsets[-1]) for batch in batches if len(batch.offsets)}
        if high_ms is not None:
            yield Tick(dict.fromkeys(TIMED, 1), [(origin(name), high_ms) for name in TIMED], done=list(read.items()))
        yield from joined.forwarded
        yield Done(sum(len(batch.values) for batch in batches), [_in_file(letter, logs) for letter in joined.dead_letters])


def _first_ms(logs: dict[str, Log]) -> int:
    readable = [log.times[(log.times >= FIRST_MS) & (log.times <= LAST_MS)] for log in logs.values()]
    return min((int(times[0]) for times in readable if len(times)), default=0)


def origin(topic: str) -> Origin:
    """Return the origin that stands for a log."""
    return Origin(topic, "replay", 0)


def chunks(logs: dict[str, Log], started_ms: int) -> Iterator[tuple[list[SourceBatch], int | None]]:
    """Yield batches of ordered logs in order of event time, and the greatest time in them where the watermark moves to it.

    It does not move after each of them, and never to a time that no clock may follow.
    """
    names = list(logs)
    times = np.concatenate([log.times for log in logs.values()])
    source = np.repeat(np.arange(len(names)), [len(log) for log in logs.values()])
    order = np.argsort(times, kind="stable")
    offset = dict.fromkeys(names, 0)
    # A decision holds from its time on, however records are chunked: its chunk ends with it, and the watermark moves before it is taken.
    decisions = np.flatnonzero(source[order] == names.index("control")) + 1 if "control" in names else np.zeros(0, dtype=np.intp)
    cuts = np.union1d(np.arange(0, len(order), CHUNK), decisions)
    steps = {*range(0, len(order), STEP), *decisions.tolist(), len(order)}
    for start, end in pairwise([*cuts[cuts < len(order)].tolist(), len(order)]):
        chunk = order[start:end]
        counts = np.bincount(source[chunk], minlength=len(names)).tolist()
        batches = []
        for name, count in zip(names, counts, strict=True):
            first, offset[name] = offset[name], offset[name] + count
            if count:
                values = logs[name].between(first, offset[name])
                batches.append(SourceBatch(origin(name), np.arange(first, offset[name]), np.full(count, started_ms), values))
        high = int(times[chunk[-1]])
        yield batches, high if end in steps and UNREADABLE < high <= started_ms else None


def _in_file(letter: DeadLetter, logs: dict[str, Log]) -> DeadLetter:
    """Return a dead letter with the number of its line for its offset, and without the time of the run: two runs give the same."""
    return msgspec.structs.replace(letter, offset=int(logs[letter.topic].numbers[letter.offset]), at_ms=0)
