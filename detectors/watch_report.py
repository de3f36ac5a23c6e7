"""The report of one watch, or of several that hold different scored partitions."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from detectors.cells import CONFUSION, KNOWN, MADE, many_classes
from detectors.claimed import claims_of
from detectors.fatigue.alarms import alarms_of
from detectors.fixed import Ints
from detectors.model_version import ModelVersion
from detectors.panes import CLASS_BITS, MAX_CLASS, PANE_MS, SEGMENT_BITS, pane_of
from detectors.progress import monitor_states
from detectors.river.metrics import label_metric
from detectors.segment_figures import mature_figures, total_figures
from detectors.timeline import errors_over_time
from detectors.watch import Watch
from schemas.figures import AgedFigures, SegmentFigures
from schemas.report import JoinCounts, ModelReport, Report, Rung
from schemas.scored import Status


def report(watches: Sequence[Watch]) -> Report:
    """Return what the watches know so far.

    >>> report([Watch()]).join.predictions
    0
    """
    versions = [(watch, version) for watch in watches for versions in watch.models.values() for version in versions.values()]
    versions.sort(key=lambda pair: (pair[1].model_id, pair[1].name))
    chosen = [(version, _reported(version)) for _, version in versions]
    events: Counter[str] = Counter()
    for watch in watches:
        events.update(watch.events)
    made = [version.sums.tables["made_days"].keys >> SEGMENT_BITS for _, version in versions]
    days = [int(day[end]) for day in made if len(day) for end in (0, -1)]
    return Report(
        join=_join(watches, [version for _, version in versions], [_watermark(watch, version) for watch, version in versions]),
        models=[
            _model(watch, version, mine, figures)
            for (watch, version), (_, mine), figures in zip(versions, chosen, total_figures(chosen), strict=True)
        ],
        events={name: events[name] for name in sorted(events)},
        alarms=alarms_of([watch.alarms for watch in watches], first_day=min(days, default=0), last_day=max(days, default=-1) + 1),
    )


def _join(watches: Sequence[Watch], versions: list[ModelVersion], watermarks: list[int]) -> JoinCounts:
    counts = np.zeros(len(Status), dtype=np.int64)
    for watch in watches:
        for each in watch.counts.values():
            counts += each
    n = {status: int(counts[status]) for status in Status}
    joined = sum(_labelled(version.sums.tables["total_known"].rows[_apart(version)]) for version in versions)
    fates = [_fates(version, watermark) for version, watermark in zip(versions, watermarks, strict=True)]
    expired = sum(fate[0] for fate in fates)
    return JoinCounts(
        predictions=n[Status.PREDICTION],
        outcomes=n[Status.JOINED] + n[Status.CORRECTION] + n[Status.WAITING],
        joined=joined,
        pending=n[Status.PREDICTION] - joined - expired,
        orphan=n[Status.WAITING],
        duplicate=n[Status.DUPLICATE],
        conflict=n[Status.CONFLICT],
        corrected=n[Status.SUPERSEDED],
        expired=expired,
        late=sum(fate[1] for fate in fates),
        dead_letter=n[Status.DEAD_LETTER],
    )


def _apart(version: ModelVersion) -> Ints:
    """Return which rows of the totals are disjoint and cover everything: the aggregate of real traffic, and each kind of probe."""
    keys = version.sums.tables["total_known"].keys
    return np.array(
        [i for i, segment in enumerate(keys.tolist()) if segment == 0 or version.sums.segments.is_probe(segment)], dtype=np.int64
    )


def _labelled(rows: Ints) -> int:
    return int(rows[..., [KNOWN.at[name] for name in (*CONFUSION, "abstained")]].sum())


def _watermark(watch: Watch, version: ModelVersion) -> int:
    time = watch.sources.time_ms()
    return version.watermark_ms if time is None else max(version.watermark_ms, time - version.policy.lateness_ms)


def _fates(version: ModelVersion, watermark_ms: int) -> tuple[int, int]:
    """Return how many predictions have expired without a label, and how many labels came after the horizon."""
    if version.horizon_ms is None:
        return 0, 0
    made, known = version.sums.tables["made"], version.sums.tables["known"]
    real = [segment == 0 or version.sums.segments.is_probe(segment) for segment in range(len(version.sums.segments))]
    kept = np.array(real, dtype=bool)

    def of(keys: Ints) -> tuple[Ints, Ints]:
        start = pane_of(keys) * PANE_MS
        width = np.full(len(keys), PANE_MS, dtype=np.int64)
        for wide, frontier in version.sums.frontiers.items():
            width[start < frontier] = wide
        past = start + width + version.horizon_ms <= watermark_ms
        return past, kept[keys >> CLASS_BITS & ((1 << SEGMENT_BITS) - 1)]

    past, apart = of(made.keys)
    predictions = int(made.rows[past & apart, MADE.at["n"]].sum())
    past, apart = of(known.keys)
    late = (known.keys & MAX_CLASS) > version.ladder.ages.index(version.horizon_ms) + 1
    return predictions - _labelled(known.rows[past & apart]), _labelled(known.rows[late & apart])


def _reported(version: ModelVersion) -> Ints:
    """Return the segments that a report tells of, by name."""
    # A value whose only prediction lost to another for the same slot has sums of zero, and would show only in some orders of arrival.
    n = version.sums.tables["total_made"].dense(len(version.sums.segments))[:, MADE.at["n"]]
    segments = [number for number in range(len(n)) if not number or (n[number] and not version.sums.segments.is_probe(number))]
    segments.sort(key=lambda number: sorted(version.sums.segments.name(number).items()))
    return np.array(segments, dtype=np.int64)


def _model(watch: Watch, version: ModelVersion, chosen: Ints, totals: Sequence[SegmentFigures]) -> ModelReport:
    companions = watch.companions[version.model_id]
    figures = [companions.filled(version, one) for one in totals]
    ladder, mature = version.ladder, []
    if ladder.mature is not None and len(version.mature_sums.made.keys):
        age_s = ladder.age_ms(ladder.mature) / 1000
        mature = [AgedFigures(**msgspec.structs.asdict(one), age_s=age_s, mature=True) for one in mature_figures(version, chosen)]
    counts, many = (
        {cell: int(getattr(figures[0], cell)) for cell in CONFUSION},
        bool(many_classes(version.sums.tables["total_made"].dense(1)[0])),
    )
    numbers = figures[0].regression
    beside = sum(each.model_version in (version.name, "") for each in companions.listed())  # those of all versions count for each
    return ModelReport(
        model_id=version.model_id,
        model_version=version.name,
        segments=figures,
        mature=mature,
        ladder=[_rung(version, rung) for rung in ladder.rungs()],
        state={
            "watermark_ms": version.watermark_ms,
            "open_incidents": len(version.incidents.open) + beside,
            "notes": len(version.notes),
        },
        monitors=monitor_states(version, watch.share(version.model_id, version.name)),
        errors=[] if numbers is not None and numbers.coverage is None else errors_over_time(version),  # else nothing is right or wrong
        claims=claims_of(version, next((one for one in mature if not one.segment), None)),
        river={name: None if many and name.lower() != "accuracy" else label_metric(name, **counts) for name in version.policy.metrics},
        **companions.report(version),
    )


def _rung(version: ModelVersion, rung: int) -> Rung:
    ladder = version.ladder
    coverage = ladder.coverage[rung - 1] if 0 < rung <= len(ladder.coverage) else None
    return Rung(age_s=ladder.age_ms(rung) / 1000, mature=rung == ladder.mature, label_coverage=coverage)
