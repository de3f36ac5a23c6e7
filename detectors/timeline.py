"""A model version over time: its figures per interval of prediction time, by the age of the labels. A pure function of its panes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detectors.baselines.wilson import wilson
from detectors.cells import BIN, CONFUSION, KNOWN, MADE, PANE_GRID, Layout, many_classes
from detectors.figures import believed, filled
from detectors.fixed import Floats, Ints, carry
from detectors.ladder import DAY_MS
from detectors.model_version import ModelVersion
from detectors.monitors import LEARNING
from detectors.panes import BIN_BITS, CLASS_BITS, MAX_CLASS, PANE_MS, SEGMENT_BITS, WIDTHS_MS, floor_to, grouped, pane_of
from detectors.statistics.cost import matrix_cost
from detectors.statistics.equal_mass import equal_mass_ece
from detectors.statistics.ratio import ratio
from detectors.timeouts import time_out
from detectors.version_sums import VersionSums
from schemas.cost import CostMatrix
from schemas.fields import FIRST_MS, LAST_MS, rfc3339
from schemas.report import ErrorInterval

MOST_BUCKETS = 160
MOST_AGES = 3
FEWEST = 30  # labels that half of the buckets should hold; without them buckets are made wider
FEWEST_BUCKETS = 6  # ... as long as so many are left
Z_95 = 1.959963984540054
_LABELLED = (*CONFUSION, "abstained")
_TOP = {"error": ("fp", "fn"), "fpr": ("fp",), "fnr": ("fn",), "base_rate": ("tp", "fn")}
_BOTTOM = {"error": CONFUSION, "fpr": ("fp", "tn"), "fnr": ("fn", "tp"), "base_rate": CONFUSION}


@dataclass(frozen=True)
class Line:
    """A figure per bucket: value and 95 % interval, NaN where undefined; each shape (buckets,)."""

    age_s: float | None  # labels known by that age of their prediction; None: all labels known so far
    n: Ints  # events behind each value
    value: Floats
    lo: Floats
    hi: Floats


@dataclass(frozen=True)
class Timeline:
    """Figures of a version's aggregate over time.

    ``start_ms``, ``end_ms`` are the bounds of each bucket, cut to the days that hold predictions; shape (buckets,). ``lines`` gives the
    lines of each figure: error, fpr, fnr, ece, base_rate, alert_rate, abstention_rate, label_coverage, cost_per_day, and expected_error,
    which the scores say of all predictions before any label; those that are undefined everywhere are left out. ``maturity`` says which
    share of the predictions was labelled by an age: (age s, share, predictions that have reached that age). ``watching`` is how many
    monitors have a baseline.
    """

    width_ms: int
    start_ms: Ints
    end_ms: Ints
    lines: dict[str, list[Line]] = field(default_factory=dict)
    maturity: list[tuple[float, float, int]] = field(default_factory=list)
    watching: int = 0


def timeline(version: ModelVersion) -> Timeline:
    """Return the figures of a version over time.

    >>> from schemas.policy_models import ModelPolicy
    >>> timeline(ModelVersion("m", "1", ModelPolicy(), distinct_scores=4)).lines
    {}
    """
    sums = version.sums
    watching = sum(
        int((panel.monitors.state[: panel.monitors.count] != LEARNING).sum()) for panels in version.bank.panels.values() for panel in panels
    )
    width, buckets, start, end = _buckets(sums)
    if not len(buckets):
        return Timeline(PANE_MS, start, end, watching=watching)
    made = _sums(sums, "made", width, buckets, MAX_CLASS)
    known_until = min(max(held_days(sums, "made_days")[1], held_days(sums, "label_days")[1]), version.watermark_ms)
    lines: dict[str, list[Line]] = {}
    for age_ms, rung in [*_ages(version), (None, MAX_CLASS)]:
        known = _sums(sums, "known", width, buckets, rung)
        bins = _sums(sums, "known_bins", width, buckets, rung)
        old = np.full(len(buckets), True) if age_ms is None else end + age_ms <= known_until
        if age_ms is not None and version.horizon_ms is not None and age_ms >= version.horizon_ms and version.on_timeout == "negative":
            known, bins = time_out(made, known, _sums(sums, "made_bins", width, buckets, MAX_CLASS), bins)
        age_s = None if age_ms is None else age_ms / 1000
        for name, line in _of_labels(version.policy.cost, age_s, made, (known, bins), (end - start) / DAY_MS).items():
            _add(lines, name, line, old)
    for name, cell in (("alert_rate", "alerted"), ("abstention_rate", "abstained")):
        if name == "alert_rate" or MADE.count(made, cell).any():
            _add(lines, name, _rate(None, MADE.count(made, cell), MADE.count(made, "n")), np.full(len(buckets), True))
    _add(lines, "expected_error", _expected(made), np.full(len(buckets), True))
    labelled = [
        sum(KNOWN.count(_sums(sums, "known", width, buckets, rung), cell) for cell in _LABELLED)
        for rung in range(1, len(version.ladder.ages) + 1)
    ]
    shares = _maturity([age / 1000 for age in version.ladder.ages], labelled, MADE.count(made, "n"), (known_until - end) / 1000)
    return Timeline(width, start, end, lines, shares, watching)


def errors_over_time(version: ModelVersion) -> list[ErrorInterval]:
    """Return the error rate of each bucket of the timeline, by all labels known so far, beside the one that the scores lead one to expect.

    >>> from schemas.policy_models import ModelPolicy
    >>> errors_over_time(ModelVersion("m", "1", ModelPolicy(), distinct_scores=4))
    []
    """
    width, buckets, start, end = _buckets(version.sums)
    if not len(buckets):
        return []
    known = _sums(version.sums, "known", width, buckets, MAX_CLASS)
    n = {cell: KNOWN.count(known, cell) for cell in CONFUSION}
    seen = _rate(None, n["fp"] + n["fn"], sum(n.values()))
    expected = _expected(_sums(version.sums, "made", width, buckets, MAX_CLASS))
    start, end = np.clip(start, FIRST_MS, LAST_MS), np.clip(end, FIRST_MS, LAST_MS)
    columns = (start, end, expected.n, seen.n, seen.value, seen.lo, seen.hi, expected.value)
    return [
        ErrorInterval(start=rfc3339(a), end=rfc3339(b), n=made, n_labelled=labelled, error=x, lo=lo, hi=hi, expected=hoped)
        for a, b, made, labelled, x, lo, hi, hoped in zip(*(filled(column) for column in columns), strict=True)
    ]


def _buckets(sums: VersionSums) -> tuple[int, Ints, Ints, Ints]:
    """Return how wide buckets are, and of each where it begins, and its bounds cut to the days that hold predictions."""
    times = _times(sums, "made")
    if not len(times):
        none = np.zeros(0, dtype=np.int64)
        return PANE_MS, none, none, none
    width = _width(sums, times)
    buckets = np.unique(floor_to(times, width))
    first, last = held_days(sums, "made_days")
    return width, buckets, np.maximum(buckets, first), np.minimum(buckets + width, last)


def _expected(made: Ints) -> Line:
    """Return the error rate if the scores are believed; NaN where a prediction brings none."""
    none = np.full(len(made), np.nan)
    decided = MADE.count(made, "n") - MADE.count(made, "abstained")
    return Line(None, decided, 1 - np.asarray(believed(made)["expected_accuracy"], dtype=np.float64), none, none)


def _add(lines: dict[str, list[Line]], name: str, line: Line, old: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    """Add a line, without the buckets that have not reached its age; one that says nothing is left out."""
    value, lo, hi = (np.where(old, column, np.nan) for column in (line.value, line.lo, line.hi))
    if np.isfinite(value).any():
        lines.setdefault(name, []).append(Line(line.age_s, line.n, value, lo, hi))


def _of_labels(
    cost: CostMatrix | None, age_s: float | None, made: Ints, known_and_bins: tuple[Ints, Ints], days: Floats
) -> dict[str, Line]:
    known, bins = known_and_bins
    n = {cell: KNOWN.count(known, cell) for cell in CONFUSION}
    binary = ~many_classes(made)  # of others, only the error means something
    out = {}
    for name, top in _TOP.items():
        x, events = sum(n[c] for c in top), sum(n[c] for c in _BOTTOM[name])
        out[name] = _rate(age_s, x, events) if name == "error" else _rate(age_s, x * binary, events * binary)
    labelled = sum(KNOWN.count(known, cell) for cell in _LABELLED)
    out["label_coverage"] = _rate(age_s, labelled, MADE.count(made, "n"))
    total = BIN.count(bins, "n").sum(axis=-1)
    ece = equal_mass_ece(BIN.count(bins, "n"), BIN.count(bins, "positive"), BIN.total(bins, "score"))
    out["ece"] = Line(age_s, total, ece.ece, ece.lo, ece.hi)
    realised = KNOWN.count(known, "realised")
    costs, events = KNOWN.total(known, "realised_cost"), realised
    if cost is not None:
        counts = {cell: KNOWN.count(known, f"matrix_{cell}").astype(np.float64) for cell in CONFUSION}
        costs = costs + matrix_cost(cost, counts, {cell: KNOWN.total(known, f"matrix_amount_{cell}") for cell in CONFUSION})
        events = events + sum(counts.values()).astype(np.int64)  # type: ignore[union-attr]  # four arrays
    money = np.where(events > 0, ratio(costs, days), np.nan)
    none = np.full(len(money), np.nan)
    out["cost_per_day"] = Line(age_s, events, money, none, none)
    return out


def _rate(age_s: float | None, top: Ints | int, bottom: Ints | int) -> Line:
    top, bottom = np.asarray(top), np.asarray(bottom)
    ends = [wilson(n, x, Z_95) if 0 <= x <= n and n else (np.nan, np.nan) for x, n in zip(top.tolist(), bottom.tolist(), strict=True)]
    lo, hi = np.array(ends, dtype=np.float64).reshape(-1, 2).T
    return Line(age_s, bottom, ratio(top, bottom), lo, hi)


def _ages(version: ModelVersion) -> list[tuple[int | None, int]]:
    """Return (age, rung) of the youngest rung that reads labels, the oldest, and one between."""
    rungs = [rung for rung in version.ladder.rungs() if rung]
    chosen = sorted({rungs[0], rungs[len(rungs) // 2], rungs[-1]}) if rungs else []
    return [(version.ladder.age_ms(rung), rung) for rung in chosen[:MOST_AGES]]


def _maturity(ages_s: list[float], labelled: Sequence[Ints | int], made: Ints, reached_s: Floats) -> list[tuple[float, float, int]]:
    """Return the share labelled by each age, of the buckets that have reached it."""
    out = []
    for age, n in zip(ages_s, labelled, strict=True):
        old = reached_s >= age
        if old.any():
            out.append((age, int(np.asarray(n)[old].sum()) / int(made[old].sum()), int(made[old].sum())))
    return out


def _bits(layout: Layout) -> int:
    return BIN_BITS if layout is BIN else 0


def aggregate(sums: VersionSums, name: str, top_class: int = MAX_CLASS) -> tuple[Ints, Ints]:
    """Return keys and rows of the aggregate's cells, of labels up to an age class."""
    table = sums.tables[name]
    bits = _bits(table.layout)
    of = (table.keys >> (CLASS_BITS + bits) & ((1 << SEGMENT_BITS) - 1) == 0) & (table.keys >> bits & MAX_CLASS <= top_class)
    return table.keys[of], table.rows[of]


def _times(sums: VersionSums, name: str) -> Ints:
    keys, _ = aggregate(sums, name)
    return np.asarray(pane_of(keys) * PANE_MS)


def _sums(sums: VersionSums, name: str, width_ms: int, buckets: Ints, top_class: int) -> Ints:
    """Return the aggregate's sums per bucket, shape (buckets, width), or (buckets, 20, width) of a calibration grid."""
    layout = sums.tables[name].layout
    keys, rows = aggregate(sums, name, top_class)
    bits = _bits(layout)
    start = floor_to(pane_of(keys, bits) * PANE_MS, width_ms)
    there = np.isin(start, buckets)  # a label may come before its prediction, by a step of the join
    keys, rows, at = keys[there], rows[there], np.searchsorted(buckets, start[there])
    at, rows = grouped(at << bits | keys & ((1 << bits) - 1), rows)
    out = layout.zeros(len(buckets) << bits)
    out[at] = carry(rows, layout.first_high) if len(rows) else rows
    if layout is not BIN:
        return out
    return out.reshape(len(buckets), 1 << BIN_BITS, BIN.width)[:, :PANE_GRID]


def _width(sums: VersionSums, times: Ints) -> int:
    """Return how wide buckets are: not narrower than a pane, not too many, and if possible with enough labels in each."""
    widest = max((width for width, frontier in sums.frontiers.items() if frontier > times[0]), default=PANE_MS)
    wider = [WIDTHS_MS[-1] * 4]
    while len(np.unique(floor_to(times, wider[-1]))) > MOST_BUCKETS:
        wider.append(wider[-1] * 2)
    fits = [w for w in (*WIDTHS_MS, *wider) if w >= widest and len(np.unique(floor_to(times, w))) <= MOST_BUCKETS]
    keys, rows = aggregate(sums, "known")
    at, labelled = pane_of(keys) * PANE_MS, sum(KNOWN.count(rows, cell) for cell in _LABELLED)
    for width in fits:
        index, n = grouped(floor_to(at, width), np.asarray(labelled).reshape(-1, 1))
        if len(index) and np.median(n) >= FEWEST and len(index) >= FEWEST_BUCKETS:
            return width
    return fits[0]


def held_days(sums: VersionSums, name: str) -> tuple[int, int]:
    """Return the bounds of the days that hold something, epoch ms."""
    keys = sums.tables[name].keys
    if not len(keys):
        return 0, -(2**62)
    return int(keys[0] >> SEGMENT_BITS) * DAY_MS, int((keys[-1] >> SEGMENT_BITS) + 1) * DAY_MS
