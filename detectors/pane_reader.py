"""Panes out of the sums: many at a time, since each would cost the same dozen calls on columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from detectors.cells import BIN, KNOWN, MADE, PANE_GRID
from detectors.cost_cells import PAIRS
from detectors.error_cells import ROWS
from detectors.fixed import Ints, carry
from detectors.panes import (
    BEGINNING,
    BIN_BITS,
    CLASS_BITS,
    END,
    MAX_CLASS,
    PANE_MS,
    SEGMENT_BITS,
    SumTable,
    cell_key,
    grouped,
    pane_index,
    pane_of,
)
from detectors.segments import Segments

AHEAD = 64  # panes of a rung that are read at once
_APART = END - BEGINNING  # times of one version do not reach those of the next
_COSTS = ("cost_cells", "cost_twins")
_BY_AGE = frozenset(["known", "known_bins", "made_bins", *_COSTS, "error_cells"])
Span = tuple[int, int]


class Step(NamedTuple):
    """A pane that a rung is due to read; in the order in which they are stepped."""

    due_ms: int
    rung: int
    start_ms: int


class Pane(NamedTuple):
    """What a span of time holds of real traffic, as in ``Reading``; ``costs``, ``twins`` and ``errors`` are empty where there are none."""

    segments: Ints
    made: Ints
    known: Ints
    made_bins: Ints
    known_bins: Ints
    costs: Ints
    twins: Ints
    errors: Ints


class Asked(NamedTuple):
    """Spans [start, end) of time of one version, ascending and apart."""

    tables: Mapping[str, SumTable]
    segments: Segments
    spans: Sequence[Span]


def held(tables: Mapping[str, SumTable]) -> tuple[bool, bool]:
    """Say whether tables hold sums of costs, and of errors: versions that do are read apart, since their panes are five times as wide."""
    return any(len(tables[name].keys) for name in _COSTS), len(tables["error_cells"].keys) > 0


def read_panes(tables: Mapping[str, SumTable], segments: Segments, spans: Sequence[Span], top_class: int) -> list[Pane]:
    """Return the panes of spans [start, end) of time, ascending and apart; labels up to an age class."""
    return next(read_many([Asked(tables, segments, spans)], top_class))


def read_many(asked: Sequence[Asked], top_class: int) -> Iterator[list[Pane]]:
    """Yield the panes of each version's spans; labels up to an age class."""
    spans = _Spans([each.spans for each in asked])

    def grouped_of(name: str) -> tuple[Ints, Ints]:
        return _grouped([each.tables[name] for each in asked], spans, top_class if name in _BY_AGE else MAX_CLASS)

    keys, made = grouped_of("made")
    present = made[:, MADE.at["n"]] != 0
    edges = np.searchsorted(keys >> SEGMENT_BITS, spans.first)
    for each, begin, end in zip(asked, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if each.segments.has_probes():
            present[begin:end] &= each.segments.real(keys[begin:end] & ((1 << SEGMENT_BITS) - 1))
    keys, made = keys[present], made[present]
    known, known_bins = KNOWN.zeros(len(keys)), np.zeros((len(keys), PANE_GRID, BIN.width), dtype=np.int64)
    if top_class:  # before any age there are no labels
        _place(known, keys, *grouped_of("known"))
        known_bins = _cells(keys, PANE_GRID, *grouped_of("known_bins"))
    cells = [made, known, _cells(keys, PANE_GRID, *grouped_of("made_bins")), known_bins]
    empty = np.zeros((0, 0, 0), dtype=np.int64)
    held = [[any(len(each.tables[name].keys) for name in names) for each in asked] for names in (_COSTS, _COSTS, ["error_cells"])]
    rare = [
        _cells(keys, n, *grouped_of(name)) if any(there) else empty
        for name, n, there in zip((*_COSTS, "error_cells"), (PAIRS, PAIRS, ROWS), held, strict=True)
    ]
    numbers = keys & ((1 << SEGMENT_BITS) - 1)
    edges = np.searchsorted(keys >> SEGMENT_BITS, np.arange(spans.n + 1)).tolist()
    for i, (begin, end) in enumerate(pairwise(spans.first.tolist())):
        more = [cell if there[i] else empty for cell, there in zip(rare, held, strict=True)]
        yield [
            Pane(numbers[first:last], *(cell[first:last] for cell in (*cells, *more))) for first, last in pairwise(edges[begin : end + 1])
        ]


def read_ahead(
    steps: list[Step], span: Callable[[Step], Span], read: Callable[[list[Span], int], list[Pane]]
) -> Iterator[tuple[Step, Pane]]:
    """Yield what each step reads. A rung's panes are read many at a time: nothing that is stepped on the way may change the sums."""

    def of_rung(rung: int, mine: list[Step]) -> Iterator[Pane]:
        for first in range(0, len(mine), AHEAD):
            yield from read([span(step) for step in mine[first : first + AHEAD]], rung)

    by_rung: dict[int, list[Step]] = {}
    for step in steps:
        by_rung.setdefault(step.rung, []).append(step)
    panes = {rung: of_rung(rung, mine) for rung, mine in by_rung.items()}
    for step in steps:
        yield step, next(panes[step.rung])


class _Spans:
    """The spans of several versions, those of one after those of another."""

    def __init__(self, spans: Sequence[Sequence[Span]]) -> None:
        self.first: Ints = np.cumsum([0, *map(len, spans)])  # of each version, and their number
        self.n = int(self.first[-1])
        self.starts, self.ends = (np.array(edge, dtype=np.int64) for edge in zip(*chain.from_iterable(spans), strict=True))
        self._bounds = [(each[0][0], each[-1][1]) for each in spans]
        self._places = self.starts + np.repeat(np.arange(len(spans)) * _APART, np.diff(self.first))

    def cut(self, tables: Sequence[SumTable], bits: int) -> tuple[Ints, Ints, Ints]:
        """Return what tables hold from the first start to the last end of their version: keys, rows, and the last span begun then."""
        found = [
            table.within(cell_key(pane_index(start), 0) << bits, cell_key(pane_index(end), 0) << bits)
            for table, (start, end) in zip(tables, self._bounds, strict=True)
        ]
        if len(found) == 1:
            [(keys, rows)] = found
            place = pane_of(keys, bits) * PANE_MS
        else:
            keys, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
            place = pane_of(keys, bits) * PANE_MS + np.repeat(np.arange(len(found)) * _APART, [len(each) for each, _ in found])
        return keys, rows, np.searchsorted(self._places, place, side="right") - 1


def _grouped(tables: Sequence[SumTable], spans: _Spans, top_class: int) -> tuple[Ints, Ints]:
    """Return the sums by (span, segment), or by (span, segment, cell), packed into one key each, ascending."""
    layout = tables[0].layout
    bits = 0 if layout is MADE or layout is KNOWN else BIN_BITS
    keys, rows, span = spans.cut(tables, bits)
    kept = (pane_of(keys, bits) * PANE_MS < spans.ends[span]) & ((keys >> bits & MAX_CLASS) <= top_class)
    if not kept.all():
        keys, rows, span = keys[kept], rows[kept], span[kept]
    segment = keys >> (CLASS_BITS + bits) & ((1 << SEGMENT_BITS) - 1)
    keys, rows = grouped((span << SEGMENT_BITS | segment) << bits | (keys & ((1 << bits) - 1)), rows)
    return keys, carry(rows, layout.first_high) if len(rows) else rows


def _cells(keys: Ints, count: int, found: Ints, rows: Ints) -> Ints:
    """Return the cells of (span, segment) keys, shape (n, count, width)."""
    out = np.zeros((len(keys), count, rows.shape[1]), dtype=np.int64)
    _place(out.reshape(-1, rows.shape[1]), (keys[:, np.newaxis] << BIN_BITS | np.arange(count)).ravel(), found, rows)
    return out


def _place(out: Ints, keys: Ints, found: Ints, rows: Ints) -> None:
    """Put rows where their key stands among ``keys``, ascending; keys that are not there are left out."""
    at = np.searchsorted(keys, found)
    inside = at < len(keys)
    at, found, rows = at[inside], found[inside], rows[inside]
    same = keys[at] == found
    out[at[same]] = rows[same]
