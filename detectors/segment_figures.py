"""Figures of segments: over all labels known so far, as the mature rung read them, and in statistics events.

Those of many versions are worked out together, which costs hardly more than those of one; every figure is a function of its segment's row
alone, so it is the same in any company.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from detectors.cells import BIN, CONFUSION, GRID, KNOWN, MADE, many_classes
from detectors.error_cells import FINE_BITS
from detectors.figures import Figures, Review, many_figures
from detectors.panes import BIN_BITS, SumTable
from detectors.statistics.regression import regression_figures, rung_figures
from detectors.statistics.shrunk_rates import Prior, prior_of, shrunk
from schemas.drift import Interval
from schemas.figures import RegressionFigures, SegmentFigures, StatisticsData
from schemas.findings import Event, EventType, subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from detectors.fixed import Floats, Ints
    from detectors.model_version import ModelVersion

    Filled = Callable[[SegmentFigures], SegmentFigures]

PUBLISHED_GROUPS = 20  # groups, by size, in statistics events
_TOTAL_BINS = 64  # of a segment, in the keys of ``total_bins``
_TOGETHER = 256  # segments that are worked out at once: more would not stay in the processor's cache
_OF_INTERVALS = ("accuracy", "fpr", "fnr", "ppv", "npv", "f1", "nne", "base_rate", "selective_risk", "net_benefit")
_RATES = {"error": (("fp", "fn"), ("tp", "tn")), "fpr": (("fp",), ("tn",)), "fnr": (("fn",), ("tp",))}
_FIFTEEN = ("ece_15", "rms_ce_15", "mce_15")  # not to be had from a grid of 20


class _Asked(NamedTuple):
    """Segments of a version whose figures are wanted, and the sums of all of its segments, shape (segments, width)."""

    version: ModelVersion
    chosen: Ints
    made: Ints
    known: Ints


def statistics_events(versions: Sequence[tuple[ModelVersion, Filled]], time_ms: int) -> list[Event]:
    """Return provisional figures, all labels known so far: of each version the aggregate and the largest groups.

    With each version comes what adds to a segment's figures what companions know of it.
    """
    asked = [_asked(version, _largest(version)) for version, _ in versions]
    events = []
    for (version, filled), one, figures in zip(versions, asked, _total_figures(asked, intervals=False), strict=True):
        about = subject(version.model_id, version.name)
        events += [
            Event(
                id=f"{about}/{time_ms}/{number}",
                type=EventType.STATISTICS,
                subject=about,
                time_ms=time_ms,
                data=StatisticsData(model_id=version.model_id, model_version=version.name, **msgspec.structs.asdict(filled(each))),
            )
            for number, each in zip(one.chosen.tolist(), figures, strict=True)
        ]
    return events


def _largest(version: ModelVersion) -> Ints:
    size = version.sums.tables["total_made"].dense(len(version.sums.segments))[:, MADE.at["n"]]
    size[~version.sums.segments.real(np.arange(len(size)))] = 0
    size[0] = np.iinfo(np.int64).max  # the aggregate is always among them
    largest = np.argsort(-size, kind="stable")[: PUBLISHED_GROUPS + 1]
    return np.sort(largest[size[largest] > 0])


def _asked(version: ModelVersion, chosen: Ints) -> _Asked:
    tables, n = version.sums.tables, len(version.sums.segments)
    return _Asked(version, chosen, tables["total_made"].dense(n), tables["total_known"].dense(n))


def total_figures(versions: Sequence[tuple[ModelVersion, Ints]]) -> Iterator[list[SegmentFigures]]:
    """Yield the figures of the chosen segments of each version over all labels known so far."""
    return _total_figures([_asked(version, chosen) for version, chosen in versions], intervals=True)


def _total_figures(asked: Sequence[_Asked], *, intervals: bool) -> Iterator[list[SegmentFigures]]:
    """Yield the figures of each version's chosen segments; ``intervals`` as of ``many_figures``."""
    for batch in _batches(asked):
        policy = batch[0].version.policy
        bins = [_bins(each.version.sums.tables["total_bins"], each.chosen, len(each.made)) for each in batch]
        figures = iter(
            many_figures(
                np.concatenate([each.made[each.chosen] for each in batch]),
                np.concatenate([each.known[each.chosen] for each in batch]),
                known_bins=np.concatenate(bins)[:, :GRID],
                areas=None if intervals else np.concatenate([each.version.sums.scores.areas(each.chosen) for each in batch]),
                distributions=[one for each in batch if intervals for one in each.version.sums.scores.distributions(each.chosen.tolist())],
                cost=policy.cost,
                threshold=policy.threshold,
                review=_review(batch[0].version),
                intervals=intervals,
            )
        )
        for each, grid, drawn in zip(batch, bins, _shrunk(batch), strict=True):
            errors = each.version.sums.tables["total_errors"]
            yield [
                _figures(
                    each.version,
                    segment,
                    next(figures)
                    | {"shrunk": shrunken}
                    | (_numbers(regression_figures(cells, *_of(errors, segment, FINE_BITS))) if len(errors.keys) else {}),
                )
                for segment, cells, shrunken in zip(each.chosen.tolist(), grid, drawn, strict=True)
            ]


def _batches(asked: Iterable[_Asked]) -> Iterator[list[_Asked]]:
    """Yield versions next to each other that have the same policy, as many as are worked out at once."""
    batch: list[_Asked] = []
    for each in asked:
        full = sum(len(one.chosen) for one in batch) + len(each.chosen) > _TOGETHER
        if batch and (full or each.version.policy != batch[0].version.policy):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _bins(table: SumTable, chosen: Ints, segments: int) -> Ints:
    """Return the cells of the chosen of so many segments, shape (chosen, 64, width)."""
    place = np.full(segments, -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    at = place[table.keys // _TOTAL_BINS]
    mine = at >= 0
    out = np.zeros((len(chosen), _TOTAL_BINS, BIN.width), dtype=np.int64)
    out[at[mine], table.keys[mine] % _TOTAL_BINS] = table.rows[mine]
    return out


def mature_figures(version: ModelVersion, chosen: Ints) -> list[SegmentFigures]:
    """Return the figures of the chosen segments as the mature rung read them: labels known by its age only."""
    n, sums = len(version.sums.segments), version.mature_sums
    bins = np.zeros((n, GRID, BIN.width), dtype=np.int64)
    coarse = sums.bins.dense(n * 20).reshape(n, 20, BIN.width)
    bins[:, 2::3] = coarse  # each in the last of the three cells that it covers: bins of 10 and 20 are exact
    asked = _Asked(version, chosen, sums.made.dense(n), sums.known.dense(n))
    figures = many_figures(
        asked.made[chosen],
        asked.known[chosen],
        known_bins=bins[chosen],
        cost=version.policy.cost,
        threshold=version.policy.threshold,
        review=_review(version),
    )
    [drawn] = _shrunk([asked])
    return [
        _figures(
            version,
            segment,
            one | dict.fromkeys(_FIFTEEN) | {"shrunk": each} | _numbers(rung_figures(bins[segment], *_of(sums.errors, segment, BIN_BITS))),
        )
        for segment, one, each in zip(chosen.tolist(), figures, drawn, strict=True)
    ]


def _shrunk(batch: Sequence[_Asked]) -> list[list[dict[str, Interval]]]:
    """Return the shrunk rates of the chosen segments of each version, by name.

    Of segments that answer with one of many classes only the error means something.
    """
    out: list[list[dict[str, Interval]]] = [[{} for _ in each.chosen] for each in batch]
    told: list[tuple[str, dict[str, Interval]]] = []
    columns: list[tuple[Floats, Floats, Prior]] = []
    for each, mine in zip(batch, out, strict=True):
        n = {cell: KNOWN.count(each.known, cell).astype(np.float64) for cell in CONFUSION}
        parts = {name: [np.sum([n[cell] for cell in part], axis=0) for part in cells] for name, cells in _RATES.items()}
        place = np.full(len(each.known), -1, dtype=np.int64)
        place[each.chosen] = np.arange(len(each.chosen))
        many = many_classes(each.made)
        few = None if not many.any() else ~many
        for numbers in each.version.sums.segments.by_dimension():
            for name, (failed, right) in parts.items():
                among = numbers if few is None or name == "error" else numbers[few[numbers]]
                at = place[among]
                wanted = at >= 0
                if not wanted.any():
                    continue
                x, events = failed[among], failed[among] + right[among]
                prior = prior_of(x, events)
                if prior is not None:
                    columns.append((x[wanted], events[wanted], prior))
                    told += [(name, mine[row]) for row in at[wanted].tolist()]
    if columns:
        x, events = (np.concatenate([column[i] for column in columns]) for i in range(2))
        count = [len(column[0]) for column in columns]
        prior = Prior(*(np.repeat([column[2][i] for column in columns], count) for i in range(2)))
        for (name, into), (value, lo, hi), size in zip(told, shrunk(x, events, prior).tolist(), events.tolist(), strict=True):
            into[name] = Interval(value=value, lo=lo, hi=hi, n=int(size))
    return out


def _of(table: SumTable, segment: int, bits: int) -> tuple[Ints, Ints]:
    """Return a segment's cells, or rows, of errors and their sums; so many bits of a key name them."""
    within = table.span(segment << bits, (segment + 1) << bits)
    return table.keys[within] & ((1 << bits) - 1), table.rows[within]


def _numbers(found: RegressionFigures | None) -> Figures:
    """Return a segment's figures with those of predicted numbers, {} where there are none; without intervals nothing is right or wrong."""
    if found is None:
        return {}
    return {"regression": found} | ({} if found.coverage else dict.fromkeys(_OF_INTERVALS) | {"shrunk": {}})


def _review(version: ModelVersion) -> Review:
    return Review(version.policy.review_cost_per_hour, version.policy.review_baseline_ms)


def _figures(version: ModelVersion, segment: int, figures: Figures) -> SegmentFigures:
    return SegmentFigures(segment=version.sums.segments.name(segment), **figures)
