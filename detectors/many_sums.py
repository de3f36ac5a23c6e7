"""Rows of many small versions, counted in one go: the dozens of calls on columns cost the same for a thousand versions as for one.

The segments of the versions stand one version after another, so that each table of all of them is one grouped sum; then each version is
handed its slice. Sums are of integers: they are those that ``VersionSums.add`` makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.cell_sums import BELOW, LAYOUTS, is_known, is_made, known_cells, made_cells
from detectors.crowds import NONE, Cells, Crowds
from detectors.fixed import Ints, carry
from detectors.panes import PANE_MS, SEGMENT_BITS, floor_to, pane_index
from detectors.picked import Picked
from detectors.spans import spans_of
from schemas.scored import Rows

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from detectors.cell_sums import Deposit
    from detectors.model_version import ModelVersion

MOST_ROWS = 32_000  # at once: more would only need more memory
MOST_SEGMENTS = 1 << (SEGMENT_BITS - 1)
_MOST_ORIGINS = 256  # a row says which in one byte
_NAMED = frozenset(["index", "version", "said", "truth", "action"])  # columns that no sum looks at


class Lot(NamedTuple):
    """Rows of one message that are of one version, few and plain (``detectors.waiting``)."""

    version: ModelVersion
    rows: Rows
    where: Ints  # positions in the message, shape (k,)
    members: npt.NDArray[np.int32]  # the segments of each, the aggregate first, NONE for none; shape (k, 1 + dimensions)


def add_lots(lots: Sequence[Lot]) -> None:
    r"""Add rows to their versions' sums and spans. Those of a version stand in the order of the log.

    >>> from detectors.model_version import ModelVersion
    >>> from schemas.policy_models import ModelPolicy
    >>> from schemas.scored import Origin
    >>> rows = Rows("m", [Origin("predictions", "x", 0)], 1, {"kind": b"\x01", "score": np.array([0.7]).tobytes()}, versions=["1"])
    >>> one, other = (ModelVersion("m", name, ModelPolicy(), 64) for name in "12")
    >>> add_lots([Lot(version, rows, np.array([0]), np.zeros((1, 1), "i4")) for version in (one, other, other)])
    >>> [int(version.sums.tables["total_made"].rows[0, 0]) for version in (one, other)]
    [1, 2]
    """
    alike: dict[Hashable, list[Lot]] = {}
    for lot in lots:
        sums = lot.version.sums
        alike.setdefault((lot.version.ladder.ages, sums.cost, sums.timeouts), []).append(lot)
    for those in alike.values():
        for batch in _batches(those):
            _Together(batch).count()


def _batches(lots: Sequence[Lot]) -> Iterator[list[Lot]]:
    batch: list[Lot] = []
    rows = segments = 0
    for lot in lots:
        if batch and (rows > MOST_ROWS or segments > MOST_SEGMENTS):
            yield batch
            batch, rows, segments = [], 0, 0
        rows += lot.rows.n
        segments += len(lot.version.sums.segments)
        batch.append(lot)
    if batch:
        yield batch


class _Together:
    """Lots whose versions have the same ages, costs and timeouts."""

    def __init__(self, lots: Sequence[Lot]) -> None:
        self.lots = lots
        self.versions = list(dict.fromkeys(lot.version for lot in lots))
        numbers = {version: i for i, version in enumerate(self.versions)}
        sizes = np.array([len(version.sums.segments) for version in self.versions])
        self.base = np.cumsum(sizes) - sizes  # the aggregate of each version
        self.segments = int(sizes.sum())
        self.rows = _joined([lot.rows for lot in lots])
        n = [len(lot.where) for lot in lots]
        begin = np.cumsum([0, *(lot.rows.n for lot in lots[:-1])])
        self.where = np.concatenate([lot.where for lot in lots]) + np.repeat(begin, n)
        self.lot = np.repeat(np.arange(len(lots)), n)
        self.version = np.repeat([numbers[lot.version] for lot in lots], n)
        self.local = _stacked([lot.members for lot in lots], len(self.where))
        members = np.where(self.local == NONE, NONE, self.local + self.base[self.version][:, np.newaxis])
        self.crowds = Crowds(np.arange(len(self.where)), members)

    def count(self) -> None:
        kind = self.rows.column("kind")[self.where]
        ladder, sums = self.versions[0].ladder, self.versions[0].sums
        if (made := is_made(kind)).any():
            cells = self._cells(made, np.zeros(int(made.sum()), dtype=np.int64))
            self._hand_out(made_cells(Picked(self.rows, self.where[made]), cells, sums.cost, timeouts=sums.timeouts))
            self._note_spans(np.flatnonzero(made))
        if (known := is_known(kind)).any():
            at = self.where[known]
            age = ladder.age_class(self.rows.column("known_at")[at] - self.rows.column("predicted_at")[at])
            self._hand_out(known_cells(Picked(self.rows, at), self._cells(known, age), sums.cost, timeouts=sums.timeouts))
            self._note_scores(np.flatnonzero(known))

    def _cells(self, chosen: Any, age_class: Ints) -> Cells:
        of = np.flatnonzero(chosen)
        return Cells(self.crowds._replace(of=of), self.segments, pane_index(self._pane_start(of)), age_class)

    def _pane_start(self, of: Ints) -> Ints:
        """Return the start of the pane of each of some rows, as the panes of its version are merged now."""
        predicted_at = self.rows.column("predicted_at")[self.where[of]]
        start = np.asarray(floor_to(predicted_at, PANE_MS))
        version = self.version[of]
        merged = np.array([max(each.sums.frontiers.values()) for each in self.versions])
        for number in np.unique(version[predicted_at < merged[version]]).tolist():
            mine = version == number
            start[mine] = self.versions[number].sums.pane_start(predicted_at[mine])
        return start

    def _hand_out(self, deposits: Iterator[Deposit]) -> None:
        for table, all_keys, all_sums in deposits:
            below = BELOW[table]
            number = np.searchsorted(self.base, all_keys >> below & ((1 << SEGMENT_BITS) - 1), side="right") - 1
            order = np.argsort(number, kind="stable")
            number = number[order]
            keys, sums = all_keys[order] - (self.base[number] << below), carry(all_sums[order], LAYOUTS[table].first_high)
            for version, each in self._by_version(number):
                version.sums.tables[table].deposit(keys[each].copy(), sums[each].copy())  # a view would keep those of all in memory

    def _by_version(self, number: Ints) -> Iterator[tuple[ModelVersion, slice]]:
        """Yield each version in a rising column of their numbers, and where it stands."""
        first = np.flatnonzero(np.concatenate(([True], number[1:] != number[:-1]))) if len(number) else number
        for version, begin, end in zip(number[first].tolist(), first.tolist(), [*first[1:].tolist(), len(number)], strict=False):
            yield self.versions[version], slice(begin, end)

    def _note_scores(self, of: Ints) -> None:
        score, scored = Picked(self.rows, self.where[of]).labelled_scores()
        of = of[scored]
        order = np.argsort(self.version[of], kind="stable")
        of, score = of[order], score[order]
        at, segments = self.where[of], self.local[of]
        label, sign = self.rows.column("label")[at], self.rows.column("sign")[at].astype(np.int64)
        for version, each in self._by_version(self.version[of]):
            version.sums.note_scores(segments[each].astype(np.int64), score[each].copy(), label[each].copy(), sign[each].copy())

    def _note_spans(self, of: Ints) -> None:
        at = self.where[of]
        code = self.lot[of] * _MOST_ORIGINS + self.rows.column("origin")[at]
        for number, begin, span in spans_of(code, self.rows.column("predicted_at")[at], self.rows.column("offset")[at]):
            lot = self.lots[number // _MOST_ORIGINS]
            lot.version.spans.note(lot.rows.origins[number % _MOST_ORIGINS], begin, span)


def _joined(messages: Sequence[Rows]) -> Rows:
    """Return the columns of messages of any models, one after another; what points into texts and origins keeps its meaning in its own."""
    names = {name for rows in messages for name in rows.columns} - _NAMED
    columns = {name: b"".join(rows.columns.get(name) or rows.column(name).tobytes() for rows in messages) for name in names}
    return Rows("", [], sum(rows.n for rows in messages), columns)


def _stacked(members: Sequence[npt.NDArray[np.int32]], n: int) -> npt.NDArray[np.int32]:
    """Return the segments of the rows of all, NONE where there are fewer."""
    if len({each.shape[1] for each in members}) == 1:
        return np.concatenate(members)
    out = np.full((n, max(each.shape[1] for each in members)), NONE, dtype=np.int32)
    begin = 0
    for each in members:
        out[begin : begin + len(each), : each.shape[1]] = each
        begin += len(each)
    return out
