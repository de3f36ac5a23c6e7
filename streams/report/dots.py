"""Groups side by side: a row for each, a dot with its interval, on one scale. Names stay text of the page, in any script."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detectors.baselines.wilson import wilson
from detectors.figures import OF_BINARY
from detectors.timeline import Z_95
from schemas.drift import Interval
from schemas.figures import SegmentFigures
from streams.report.words import group, interval

MOST_GROUPS = 24  # shown, the largest
FEWEST = 10  # events that a rate must rest on to be drawn
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
METRICS = ("fpr", "fnr", "ppv", "alert_rate", "ece")


@dataclass(frozen=True)
class Row:
    """A group's figure: name, value and interval as text, and the drawing."""

    name: str
    value: str
    ends: str
    drawing: Markup
    of_group: bool = True


@dataclass(frozen=True)
class Panel:
    """A figure of all groups, on a scale from 0 to ``top``."""

    metric: str
    top: float
    rows: list[Row]


def panels(segments: Sequence[SegmentFigures]) -> list[Panel]:
    """Return a panel for each figure that some group has; the first segment is the aggregate."""
    if len(segments) < 2:
        return []
    whole, *groups = segments
    groups = sorted(groups, key=lambda one: (-one.n_predictions, group(one.segment)))[:MOST_GROUPS]
    groups.sort(key=lambda one: (sorted(one.segment), -one.n_predictions, group(one.segment)))
    out = []
    for metric in METRICS:
        estimates = [estimate(one, metric) for one in (whole, *groups)]
        drawn = [one for one in estimates if one.value is not None and one.n >= FEWEST]
        if not drawn:
            continue
        most = max(one.value if one.hi is None else min(one.hi, 2 * (one.value or 0) + 0.05) for one in drawn if one.value is not None)
        top = next(step for step in _STEPS if step >= min(most, 1.0))
        reference = estimates[0].value
        rows = [
            Row(group(one.segment), *_parted(interval(each, metric)), interval_drawing(each, top, reference), one is not whole)
            for one, each in zip((whole, *groups), estimates, strict=True)
        ]
        out.append(Panel(metric, top, rows))
    return out


def _parted(words: str) -> tuple[str, str]:
    """Return a figure and its interval apart, so that a narrow page breaks the line between them."""
    value, space, ends = words.partition(" (")
    return value, f"({ends}" if space else ""


def estimate(figures: SegmentFigures, metric: str) -> Interval:
    """Return a figure of a segment with its 95 % interval: Wilson's of a rate.

    >>> estimate(SegmentFigures(fp=1, tn=99, fpr=0.01), "fpr").n
    100
    """
    if metric == "ece":
        return figures.ece_em or Interval()
    counts = {
        "fpr": (figures.fp, figures.fp + figures.tn),
        "fnr": (figures.fn, figures.fn + figures.tp),
        "ppv": (figures.tp, figures.tp + figures.fp),
        "alert_rate": (figures.n_alerted, figures.n_predictions),
        "error": (figures.fp + figures.fn, figures.tp + figures.fp + figures.tn + figures.fn),
    }
    x, n = counts[metric]
    if metric in OF_BINARY and getattr(figures, metric) is None:  # of many classes it means nothing
        return Interval()
    if n <= 0 or not 0 <= x <= n:
        return Interval()
    lo, hi = wilson(n, x, Z_95)
    return Interval(value=x / n, lo=lo, hi=hi, n=n)


def interval_drawing(each: Interval, top: float, reference: float | None = None, *, alarm: bool = False) -> Markup:
    """Return a dot with its interval on a scale from 0 to ``top``, with a dashed line at a reference.

    Lines keep their width however the drawing is stretched: a dot is a line of no length with round ends.
    """
    parts = ['<svg class="dot" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">']
    parts.append('<path class="rail" d="M0 5H100"/>')
    if reference is not None:
        parts.append(f'<path class="reference" d="M{_at(reference, top)} 0V10"/>')
    kind = " alarm" if alarm else ""
    if each.value is not None and each.n >= FEWEST:
        if each.lo is not None and each.hi is not None:
            parts.append(f'<path class="range{kind}" d="M{_at(each.lo, top)} 5H{_at(each.hi, top)}"/>')
        parts.append(f'<path class="point{kind}" d="M{_at(each.value, top)} 5h0"/>')
    parts.append("</svg>")
    return Markup("".join(parts))  # noqa: S704  numbers only


def _at(value: float, top: float) -> str:
    return f"{100 * min(max(value / top, 0.0), 1.0):.2f}" if top > 0 else "0"
