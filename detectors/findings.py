"""From what the fold found to what goes out: drift events and statistics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detectors.cells import BIN, GRID, KNOWN, MADE, many_classes
from detectors.error_cells import FINE_BITS
from detectors.figures import Figures, Review, many_figures
from detectors.incident_events import MOST_EVIDENCE
from detectors.panes import BIN_BITS, SumTable
from detectors.statistics.regression import regression_figures, rung_figures
from detectors.statistics.shrunk_rates import prior_of, shrunk
from schemas.drift import Direction, DriftData, GroupRates, Impact, Interval, Kind, Monitor, Scope, Severity, Window
from schemas.fields import rfc3339
from schemas.figures import RegressionFigures, SegmentFigures, StatisticsData
from schemas.findings import Event, EventType, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from detectors.fixed import Ints
    from detectors.incident_events import IncidentEvent
    from detectors.model_version import ModelVersion
    from detectors.segments import Segments
    from detectors.signals import Estimate
    from detectors.spans import Found

PUBLISHED_MONITORS = 20  # of an incident, in its events
PUBLISHED_GROUPS = 20  # groups, by size, in statistics events
_OF_INTERVALS = ("accuracy", "fpr", "fnr", "ppv", "npv", "f1", "nne", "base_rate", "selective_risk", "net_benefit")
_RATES = {"error": (("fp", "fn"), ("tp", "tn")), "fpr": (("fp",), ("tn",)), "fnr": (("fn",), ("tp",))}
_FIFTEEN = ("ece_15", "rms_ce_15", "mce_15")  # not to be had from a grid of 20


def drift_event(version: ModelVersion, event: IncidentEvent) -> Event:
    """Return an incident's event as a finding; its id is the same whenever the same log is folded."""
    version.said += 1
    return _finding(version, event, str(version.said))


def unsaid_event(version: ModelVersion, event: IncidentEvent) -> Event:
    """Return what a snooze keeps from people, for whatever in the fold goes by it; it never goes out."""
    return _finding(version, event, "unsaid")


def _finding(version: ModelVersion, event: IncidentEvent, number: str) -> Event:
    name = version.sums.segments.name
    data = drift_data(event, version.model_id, version.name, name, version.spans.between(*event.window, event.time_ms))
    return Event(
        id=f"{event.incident_id}-{number}",
        type=EventType(f"gnomon.drift.{event.event}"),
        subject=subject(version.model_id, version.name),
        time_ms=event.time_ms,
        data=data,
    )


def drift_data(event: IncidentEvent, model_id: str, model_version: str, name: Callable[[int], dict[str, str]], origins: Found) -> DriftData:
    """Return the data of an incident's event; ``name`` gives a segment by its number."""
    start_ms, end_ms = event.window
    return DriftData(
        incident_id=event.incident_id,
        kind=Kind(event.kind),
        scope=Scope(event.scope),
        model_id=model_id,
        model_version=model_version,
        segment=name(event.segment),
        metric=event.metric,
        direction=Direction(event.direction),
        age_s=event.age_s,
        severity=Severity(event.severity),
        baseline=interval(event.baseline),
        current=interval(event.current),
        onset=rfc3339(event.onset_ms),
        evidence=event.evidence,
        threshold=event.threshold,
        affected=[name(segment) for segment in event.affected],
        window=Window(from_=rfc3339(start_ms), to=rfc3339(end_ms)),
        origins=origins,
        impact=None if event.impact is None else Impact(money_per_day=event.impact),
        rates=None if event.rates is None else GroupRates(group=event.rates[0], rest=event.rates[1]),
        message=event.message,
        unconfirmed=event.unconfirmed,
        why=event.why,
        monitors=[
            Monitor(
                metric=alarm.key.family,
                direction=Direction(alarm.direction),
                segment=name(alarm.key.segment),
                age_s=alarm.age_ms / 1000,
                kind=Kind(alarm.kind),
                onset=rfc3339(alarm.onset_ms),
                evidence=math.exp(min(alarm.log_evidence, MOST_EVIDENCE)),
            )
            for alarm in event.alarms[:PUBLISHED_MONITORS]
        ],
    )


def statistics_events(version: ModelVersion, time_ms: int, filled: Callable[[SegmentFigures], SegmentFigures]) -> list[Event]:
    """Return provisional figures, all labels known so far: the aggregate and the largest groups; ``filled`` adds what companions know."""
    made = version.sums.tables["total_made"].dense(len(version.sums.segments))
    size = made[:, MADE.at["n"]].copy()
    size[~version.sums.segments.real(np.arange(len(size)))] = 0
    size[0] = np.iinfo(np.int64).max  # the aggregate is always among them
    largest = np.argsort(-size, kind="stable")[: PUBLISHED_GROUPS + 1]
    chosen = np.sort(largest[size[largest] > 0])
    about = subject(version.model_id, version.name)
    return [
        Event(
            id=f"{about}/{time_ms}/{number}",
            type=EventType.STATISTICS,
            subject=about,
            time_ms=time_ms,
            data=StatisticsData(model_id=version.model_id, model_version=version.name, **msgspec.structs.asdict(filled(figures))),
        )
        for number, figures in zip(chosen.tolist(), total_figures(version, chosen, intervals=False), strict=True)
    ]


def total_figures(version: ModelVersion, chosen: Ints, *, intervals: bool = True) -> list[SegmentFigures]:
    """Return the figures of the chosen segments over all labels known so far; ``intervals`` as of ``many_figures``."""
    sums, n = version.sums, len(version.sums.segments)
    bins = np.zeros((n, 64, BIN.width), dtype=np.int64)
    flat = sums.tables["total_bins"].dense(n * 64)
    bins[:] = flat.reshape(n, 64, BIN.width)
    figures = many_figures(
        sums.tables["total_made"].dense(n)[chosen],
        sums.tables["total_known"].dense(n)[chosen],
        known_bins=bins[chosen, :GRID],
        distributions=[*sums.scores.distributions(chosen.tolist())],
        cost=version.policy.cost,
        threshold=version.policy.threshold,
        review=_review(version),
        intervals=intervals,
    )
    many, errors = many_classes(sums.tables["total_made"].dense(n)), sums.tables["total_errors"]
    drawn = shrunk_figures(sums.tables["total_known"].dense(n), sums.segments, chosen, many)
    return [
        _figures(version, segment, one | each | _numbers(regression_figures(bins[segment], *_of(errors, segment, FINE_BITS))))
        for segment, one, each in zip(chosen.tolist(), figures, drawn, strict=True)
    ]


def mature_figures(version: ModelVersion, chosen: Ints) -> list[SegmentFigures]:
    """Return the figures of the chosen segments as the mature rung read them: labels known by its age only."""
    n, sums = len(version.sums.segments), version.mature_sums
    bins = np.zeros((n, GRID, BIN.width), dtype=np.int64)
    coarse = sums.bins.dense(n * 20).reshape(n, 20, BIN.width)
    bins[:, 2::3] = coarse  # each in the last of the three cells that it covers: bins of 10 and 20 are exact
    figures = many_figures(
        sums.made.dense(n)[chosen],
        sums.known.dense(n)[chosen],
        known_bins=bins[chosen],
        cost=version.policy.cost,
        threshold=version.policy.threshold,
        review=_review(version),
    )
    drawn = shrunk_figures(sums.known.dense(n), version.sums.segments, chosen, many_classes(sums.made.dense(n)))
    return [
        _figures(
            version,
            segment,
            one | dict.fromkeys(_FIFTEEN) | each | _numbers(rung_figures(bins[segment], *_of(sums.errors, segment, BIN_BITS))),
        )
        for segment, one, each in zip(chosen.tolist(), figures, drawn, strict=True)
    ]


def shrunk_figures(known: Ints, segments: Segments, chosen: Ints, many: npt.NDArray[np.bool_]) -> list[dict[str, dict[str, Interval]]]:
    """Return the shrunk rates of the chosen segments; ``known`` are the sums of all, shape (segments, width).

    ``many`` says which of them answer with one of many classes: of those only the error means something.
    """
    of: dict[str, list[int]] = {}
    for number, pair in sorted(enumerate(segments.pairs), key=lambda item: item[1] or ("", "")):  # by name: sums of floats have an order
        if pair is not None and not segments.is_probe(number):
            of.setdefault(pair[0], []).append(number)
    cells = {name: [known[:, [KNOWN.at[cell] for cell in part]].sum(axis=1) for part in parts] for name, parts in _RATES.items()}
    place = {number: at for at, number in enumerate(chosen.tolist())}
    out: list[dict[str, Interval]] = [{} for _ in place]
    for numbers in of.values():
        for name, (failed, right) in cells.items():
            among = [number for number in numbers if name == "error" or not many[number]]
            mine = [number for number in among if number in place]
            x, n = failed.astype(np.float64), (failed + right).astype(np.float64)
            prior = prior_of(x[among], n[among]) if mine else None
            if prior is not None:
                for number, (value, lo, hi) in zip(mine, shrunk(x[mine], n[mine], prior).tolist(), strict=True):
                    out[place[number]][name] = Interval(value=value, lo=lo, hi=hi, n=int(n[number]))
    return [{"shrunk": each} for each in out]


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


def interval(estimate: Estimate) -> Interval:
    """Return an estimate as it goes out: what is not finite is null."""
    value, lo, hi = (None if not np.isfinite(x) else float(x) for x in estimate[:3])
    return Interval(value=value, lo=lo, hi=hi, n=round(estimate.n))
