"""The join of logs in one process, without a pending table of bytes: for replay.

It gives what ``Joiner`` gives with ``detectors.pending.DictTable``. A request's first record is kept as a number, and what the usual rows
need of it in columns; so where a prediction and a label meet, and nothing else has come, no log is written or read. Where anything
else comes the request's log is made of the frames that came, and from then on the rule goes by that. Frames are kept as columns, those of
many records together, and become bytes when one of them is needed.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.bulk_packing import LABEL_FRAME, Frames, Made, Packed
from detectors.contexts import Contexts
from detectors.entries import LEAST_48, MOST_48, VALUED
from detectors.first_seen import FirstSeen
from detectors.fixed import Ints
from detectors.intake import SourceBatch
from detectors.join_columns import Unusual, add_first, add_met_label, add_met_prediction
from detectors.joiner import Joined, Joiner
from detectors.pending import LARGEST_FRAME, MAX_BYTES, DictTable, Lookups
from detectors.scored_rows import RowsBuilder
from schemas.policy import Policy
from schemas.text_lines import TextLines

Bools = npt.NDArray[np.bool_]

_ROOM = 1 << 16
_ALONE, _LOGGED = -1, -2  # of a request's first record: nothing has met it; its request has a log
_PREDICTION, _LABEL, _OTHER = 0, 1, 2
_FIELDS: dict[str, str] = {"kind": "u1", "label": "u1", "epoch": "<u4", "met": "<i8"}
_MADE = {"at": "<i8", "score": "<f8", "flags": "u1", "amount": "<i8", "context": "<i4"}


class LocalJoin:
    """Joins predictions with their outcomes, once each.

    Parameters
    ----------
    policy
        As of ``Joiner``.
    room
        How many records will come, about.

    Examples
    --------
    >>> from schemas.scored import Origin
    >>> made = b'{"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 5, "score": 0.9}'
    >>> known = b'{"request_id": "a", "timestamp": 9, "true_label": 1}'
    >>> joined = LocalJoin(Policy()).join([
    ...     SourceBatch(Origin("predictions", "x", 0), [0], [5], [made]),
    ...     SourceBatch(Origin("outcomes", "y", 0), [0], [9], [known]),
    ... ])
    >>> [(rows.model_id, rows.n, rows.column("kind").tolist()) for rows in joined.rows]
    [('m', 2, [1, 2])]

    """

    def __init__(self, policy: Policy, room: int = _ROOM) -> None:
        self._joiner = Joiner(policy, None)
        self._first = FirstSeen(room)  # numbers the records by their requests
        self._begins: list[int] = []  # the first number of those whose frames are together
        self._frames: list[Frames | list[bytes]] = []
        # by number; room for more than there are. No zeros: numpy asks for large pages where it need not clear them.
        self._columns = {name: np.empty(room, dtype) for name, dtype in (_FIELDS | _MADE).items()}
        self._table = DictTable()  # of requests that are not usual
        self._contexts: Contexts | None = None
        self._epoch = 0  # of the contexts: records of another one are not usual

    def join(self, batches: Sequence[SourceBatch]) -> Joined:
        """Join batches; see ``Joiner.prepare`` and ``Joiner.assemble``."""
        prepared = self._joiner.prepare(batches, framed=False)
        if prepared.contexts is not self._contexts:
            self._contexts, self._epoch = prepared.contexts, self._epoch + 1
        keys, begin = prepared.lookups.keys, 0

        def rows_of(packed: Packed, builder: RowsBuilder) -> list[Unusual]:
            nonlocal begin
            begin += len(packed)
            return self._meet(packed, keys[begin - len(packed) : begin], prepared.contexts, builder)

        return self._joiner.assemble(prepared, rows_of)

    def _meet(self, packed: Packed, keys: list[bytes], contexts: Contexts, builder: RowsBuilder) -> list[Unusual]:
        """Add the rows of the usual ones among some arrivals; return the others, with their logs."""
        begin = len(self._first)
        large = self._keep(packed)
        number = np.arange(begin, begin + len(keys))
        first = self._first.add(keys)
        alone = (first == number) & ~large
        met = np.flatnonzero(first != number)
        met = met[self._pairs(first[met], number[met])]
        theirs = first[met]
        add_first(packed, np.flatnonzero(alone), contexts, builder)
        if packed.made is None:
            at, score, flags, amount, context = (self._columns[name][theirs] for name in _MADE)
            made = Made(at, score, flags.astype(np.int64), amount, context.astype(np.int64), [])
            add_met_prediction(packed, met, made, contexts, builder)
        else:
            labels = self._columns["at"][theirs], self._columns["label"][theirs].astype(np.int64)
            add_met_label(packed, met, labels, contexts, builder)
        alone[met] = True
        return [Unusual(i, self._log(keys[i], int(first[i]), begin + i)) for i in np.flatnonzero(~alone).tolist()]

    def _keep(self, packed: Packed) -> Bools:
        """Keep what is needed of arrivals; return which of them no log can hold."""
        begin, at = len(self._first), packed.arrivals.at_ms
        self._begins.append(begin)
        # columns are smaller than bytes, unless they hold on to the records
        self._frames.append(packed.frames if isinstance(packed.frames.raws, TextLines) else packed.frames.made())
        end, room = begin + len(packed), len(self._columns["at"])
        if end > room:
            grown = max(end, 2 * room) - room
            self._columns = {name: np.concatenate([column, np.empty(grown, column.dtype)]) for name, column in self._columns.items()}
        kept: dict[str, Any] = {"met": _ALONE, "epoch": self._epoch, "at": at, "kind": _OTHER}
        if packed.made is not None:
            kept["kind"] = np.where((packed.made.flags & VALUED == 0) & (at >= LEAST_48) & (at <= MOST_48), _PREDICTION, _OTHER)
            kept |= {name: getattr(packed.made, name) for name in ("score", "flags", "amount", "context")}
        elif packed.label is not None:
            kept |= {"kind": np.where(packed.label >= 0, _LABEL, _OTHER), "label": np.maximum(packed.label, 0)}
        for name, values in kept.items():
            self._columns[name][begin:end] = values
        large: Bools = np.zeros(end - begin, dtype=np.bool_)
        longest, usual = min(LARGEST_FRAME, MAX_BYTES), MAX_BYTES - LABEL_FRAME.itemsize  # with a longer one no label has room
        if packed.sizes.max(initial=0) > min(longest, usual):
            self._columns["kind"][begin:end][(packed.sizes > longest) | (packed.sizes > usual)] = _OTHER
            large = packed.sizes > longest
        return large

    def _pairs(self, first: Ints, number: Ints) -> Ints:
        """Return which of some records are a prediction and a label that meet, the only ones of their request; they are met from now on."""
        kind, epoch, met = (self._columns[name] for name in ("kind", "epoch", "met"))
        pairs = np.flatnonzero(
            (kind[first] + kind[number] == _PREDICTION + _LABEL) & (met[first] == _ALONE) & (epoch[first] == epoch[number])
        )
        before, met[first] = met[first], number
        if (met[first] != number).any():  # some of them meet the same one
            _, which, count = np.unique(first, return_inverse=True, return_counts=True)
            pairs = pairs[count[which[pairs]] == 1]
        others = np.ones(len(first), dtype=np.bool_)
        others[pairs] = False
        met[first[others]] = before[others]
        return pairs

    def _log(self, key: bytes, first: int, number: int) -> bytes | None:
        """Return a request's log up to its newest record; None: it is full."""
        met = int(self._columns["met"][first])
        numbers = [number] if met == _LOGGED or first == number else [first, number] if met == _ALONE else [first, met, number]
        self._columns["met"][first] = _LOGGED
        frames = list(map(self._frame, numbers))
        return list(self._table.exchange_now(Lookups([key] * len(frames), frames, [0] * len(frames))))[-1]

    def _frame(self, number: int) -> bytes:
        block = bisect_right(self._begins, number) - 1
        frames = self._frames[block]
        if isinstance(frames, Frames):
            frames = self._frames[block] = frames.made()
        return frames[number - self._begins[block]]
