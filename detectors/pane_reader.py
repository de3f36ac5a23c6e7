"""Panes out of the sums: many at a time, since each would cost the same dozen calls on columns."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.cells import BIN, KNOWN, MADE, PANE_GRID
from detectors.cost_cells import PAIRS
from detectors.error_cells import ROWS
from detectors.fixed import Ints, carry
from detectors.panes import BIN_BITS, CLASS_BITS, MAX_CLASS, PANE_MS, SEGMENT_BITS, SumTable, cell_key, grouped, pane_index, pane_of
from detectors.segments import Segments

_AHEAD = 64
Span = tuple[int, int]


@dataclass(frozen=True)
class Step:
    """A pane that a rung is due to read."""

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


def read_panes(tables: Mapping[str, SumTable], segments: Segments, spans: list[Span], top_class: int) -> list[Pane]:
    """Return the panes of spans [start, end) of time, ascending and apart; labels up to an age class."""
    starts, ends = (np.array(edge, dtype=np.int64) for edge in zip(*spans, strict=True))
    keys, made = _grouped(tables["made"], starts, ends, MAX_CLASS)
    present = (made[:, MADE.at["n"]] != 0) & segments.real(keys & ((1 << SEGMENT_BITS) - 1))
    keys, made = keys[present], made[present]
    known, known_bins = KNOWN.zeros(len(keys)), np.zeros((len(keys), PANE_GRID, BIN.width), dtype=np.int64)
    if top_class:  # before any age there are no labels
        _place(known, keys, *_grouped(tables["known"], starts, ends, top_class))
        known_bins = _cells(keys, PANE_GRID, *_grouped(tables["known_bins"], starts, ends, top_class))
    cells = _cells(keys, PANE_GRID, *_grouped(tables["made_bins"], starts, ends, top_class)), known_bins
    empty = np.zeros((0, 0, 0), dtype=np.int64)
    costed = bool(len(tables["cost_cells"].keys) or len(tables["cost_twins"].keys))
    rare = [("cost_cells", PAIRS, costed), ("cost_twins", PAIRS, costed), ("error_cells", ROWS, bool(len(tables["error_cells"].keys)))]
    more = [_cells(keys, n, *_grouped(tables[name], starts, ends, top_class)) if there else empty for name, n, there in rare]
    edges = np.searchsorted(keys >> SEGMENT_BITS, np.arange(len(spans) + 1))
    numbers, panes = keys & ((1 << SEGMENT_BITS) - 1), []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        each = slice(first, last)
        panes.append(Pane(numbers[each], made[each], known[each], *(cell[each] for cell in (*cells, *more))))
    return panes


def read_ahead(
    steps: list[Step], span: Callable[[Step], Span], read: Callable[[list[Span], int], list[Pane]]
) -> Iterator[tuple[Step, Pane]]:
    """Yield what each step reads. A rung's panes are read many at a time: nothing that is stepped on the way may change the sums."""

    def of_rung(rung: int, mine: list[Step]) -> Iterator[Pane]:
        for first in range(0, len(mine), _AHEAD):
            yield from read([span(step) for step in mine[first : first + _AHEAD]], rung)

    by_rung: dict[int, list[Step]] = {}
    for step in steps:
        by_rung.setdefault(step.rung, []).append(step)
    panes = {rung: of_rung(rung, mine) for rung, mine in by_rung.items()}
    for step in steps:
        yield step, next(panes[step.rung])


def _grouped(table: SumTable, starts: Ints, ends: Ints, top_class: int) -> tuple[Ints, Ints]:
    """Return the sums by (span, segment), or by (span, segment, cell), packed into one key each, ascending."""
    bits = 0 if table.layout is MADE or table.layout is KNOWN else BIN_BITS
    within = table.span(cell_key(pane_index(int(starts[0])), 0) << bits, cell_key(pane_index(int(ends[-1])), 0) << bits)
    keys, rows = table.keys[within], table.rows[within]
    at = pane_of(keys, bits) * PANE_MS
    span = np.searchsorted(starts, at, side="right") - 1
    kept = (at < ends[span]) & ((keys >> bits & MAX_CLASS) <= top_class)
    if not kept.all():
        keys, rows, span = keys[kept], rows[kept], span[kept]
    segment = keys >> (CLASS_BITS + bits) & ((1 << SEGMENT_BITS) - 1)
    keys, rows = grouped((span << SEGMENT_BITS | segment) << bits | (keys & ((1 << bits) - 1)), rows)
    return keys, carry(rows, table.layout.lows) if len(rows) else rows


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
