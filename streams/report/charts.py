"""Charts of the web page: matplotlib's drawings as SVG that stands in the page.

They hold no text of a record, only numbers, dates and words of ours. Text becomes outlines, so a chart needs no font and reads the same
everywhere. The same figures give the same bytes.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from detectors.baselines.wilson import wilson
from detectors.fixed import Floats, Ints
from detectors.timeline import Z_95, Line, Timeline
from schemas.fields import FIRST_MS, LAST_MS, epoch_ms
from schemas.figures import Bin
from schemas.report import Decay
from streams.report.words import age, figure, short, thousands, when

# Okabe & Ito's palette: told apart with any kind of colour vision
INK, GREY, GRID = "#333333", "#767676", "#e3e3e3"
BLUE, ALARM = "#0072b2", "#d55e00"
YOUNGER = ("#e69f00", "#009e73", "#cc79a7")
DAY_MS = 86_400_000
SIZE = (4.0, 2.15)  # inches; a chart is drawn about 360 px wide, so that its text can be read on a telephone
_SHORTEST = 1e-4  # days that an axis spans at least
_STYLE: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "gnomon",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
}
_Locator: Any = AutoDateLocator  # these two have no types
_Formatter: Any = ConciseDateFormatter
_METADATA: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_IDS = re.compile(r'(\bid="|href="#|url\(#)')

DOTS = (1.0, 1.6)  # of the line of what is expected
FEWEST = 10  # events behind a point of a line of younger labels

Colours = dict[float | None, str]  # by age of the labels, s
Onset = tuple[int, str, bool]  # epoch ms, the incident's number, whether this chart shows the incident's figure


@contextmanager
def style() -> Iterator[None]:
    """Draw in our style, whatever the user's matplotlibrc says; it is as it was afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def colours_of(time: Timeline) -> Colours:
    """Return a colour for each age of labels that the charts of a version show, the same in all; None is all labels known so far."""
    ages = sorted({line.age_s for lines in time.lines.values() for line in lines if line.age_s is not None})
    return dict(zip(ages, YOUNGER, strict=False)) | {None: BLUE}


def epoch_ms_of(time: str) -> int:
    """Return an RFC 3339 time as epoch ms.

    >>> epoch_ms_of("1970-01-01T00:00:01.500Z")
    1500
    """
    return epoch_ms(datetime.fromisoformat(time))


def said(line: Line, time: Timeline, *, money: bool = False) -> str:
    """Say what a chart over time shows: first, last, least and greatest value."""
    at = np.flatnonzero(np.isfinite(line.value))
    if not len(at):
        return "no values"
    low, high = at[np.argmin(line.value[at])], at[np.argmax(line.value[at])]
    points = (("first", at[0]), ("last", at[-1]), ("lowest", low), ("highest", high))
    write = short if money else figure
    return "; ".join(f"{what} {write(float(line.value[i]))} on {when(int(time.start_ms[i]))[:10]}" for what, i in points)


def over_time(
    line: Sequence[Line], time: Timeline, onsets: Sequence[Onset], *, colours: Colours, name: str, expected: Line | None = None
) -> Markup:
    """Draw a figure over time, one line for each age of the labels, and where incidents began; dotted, what was expected of it.

    ``colours`` is of ``colours_of``. ``name`` makes the identifiers of the drawing unlike those of the others in the page.
    """
    drawing, axes = _figure()
    x = _days((time.start_ms + time.end_ms) // 2)
    *younger, whole = line
    for one in younger:
        enough = np.where(one.n >= FEWEST, one.value, np.nan)
        axes.plot(x, enough, color=colours[one.age_s], linewidth=1.1, marker="." if len(x) < 40 else None, markersize=3)
    axes.fill_between(x, whole.lo, whole.hi, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(x, whole.value, color=BLUE, linewidth=1.4, marker="." if len(x) < 40 else None, markersize=3)
    if expected is not None:
        axes.plot(x, expected.value, color=INK, linewidth=1.1, linestyle=(0, DOTS))
    hoped = [] if expected is None else [expected.value]
    shown = np.concatenate([whole.value, *hoped, *(one.value[one.n >= FEWEST] for one in younger)])
    high = np.nanpercentile(whole.hi, 90) if np.isfinite(whole.hi).any() else 0.0
    axes.set_ylim(0, min(1.0, max(np.nanmax(shown), float(high), 1e-3) * 1.08) * 1.001)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.10g} %"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _time_axis(axes, time)
    _mark(axes, onsets, time)
    return _svg(drawing, name)


def cost_bars(line: Line, time: Timeline, onsets: Sequence[Onset], *, name: str) -> Markup:
    """Draw money per day, a bar for each bucket."""
    drawing, axes = _figure()
    axes.bar(_days(time.start_ms), np.nan_to_num(line.value), width=(time.end_ms - time.start_ms) / DAY_MS * 0.9, align="edge", color=BLUE)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _time_axis(axes, time)
    _mark(axes, onsets, time)
    return _svg(drawing, name)


def reliability(bins: Sequence[Bin], *, name: str) -> Markup:
    """Draw what the scores claim against what happened, with 95 % intervals, and how many predictions stand behind each bin."""
    drawing, axes = _figure((4.0, 3.6), left_inches=0.68, bottom=0.13)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    held = [one for one in bins if one.n and one.mean_score is not None and one.positive_rate is not None]
    most = max((one.n for one in held), default=1)
    for one in held:
        axes.bar(
            one.lo, 0.16 * one.n / most, width=one.hi - one.lo, align="edge", color="#d9d9d9", edgecolor="white", linewidth=0.5, zorder=1
        )
    claimed, seen = np.array([one.mean_score for one in held]), np.array([one.positive_rate for one in held])
    ends = np.array([wilson(one.n, round((one.positive_rate or 0.0) * one.n), Z_95) for one in held]).reshape(-1, 2)
    apart = np.maximum(np.abs(ends.T - seen), 0.0)
    axes.errorbar(claimed, seen, yerr=apart, color=BLUE, marker="o", markersize=4, linewidth=1.2, elinewidth=1.2, capsize=2.5, zorder=3)
    axes.set(xlim=(-0.015, 1.015), ylim=(0, 1.015), xlabel="score (claimed)", ylabel="positive (seen)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        axis.set_major_locator(MaxNLocator(5))
    axes.text(0.99, 0.18, f"grey: up to {thousands(most)} a bin", fontsize=7, color=GREY, ha="right")
    return _svg(drawing, name)


def maturity(shares: Sequence[tuple[float, float, int]], *, name: str) -> Markup:
    """Draw which share of the predictions had a label by an age."""
    drawing, axes = _figure((4.0, 3.6), bottom=0.19)
    first = next((i for i, (_, share, _) in enumerate(shares) if share > 0), len(shares) - 1)
    shown = shares[max(first - 1, 0) :]
    last = next((i for i, (_, share, _) in enumerate(shown) if share >= 0.999), len(shown) - 1)
    shown = shown[: last + 1]
    at, share = np.arange(len(shown)), np.array([one[1] for one in shown])
    ends = np.array([wilson(n, round(value * n), Z_95) for _, value, n in shown]).reshape(-1, 2)
    axes.fill_between(at, ends[:, 0], ends[:, 1], color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(at, share, color=BLUE, marker="o", markersize=4, linewidth=1.4)
    axes.set_ylim(0, 1.04)
    axes.set_xticks(at, [age(one[0], brief=True) for one in shown], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.4, len(shown) - 0.6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.set_xlabel("age of the prediction")
    return _svg(drawing, name)


def decay(one: Decay, *, name: str) -> Markup:
    """Draw a figure by the age of the model in weeks, the line through it, and the policy's limit."""
    drawing, axes = _figure(bottom=0.22)
    week, value = np.array([w.week for w in one.weeks]), np.array([w.value for w in one.weeks])
    axes.plot(week, value, color=BLUE, marker="o", markersize=3, linewidth=0)
    if one.slope is not None and one.slope.value is not None and one.fitted is not None:
        ends = np.array([week[0], week[-1]])
        axes.plot(ends, one.fitted + (ends - week[-1]) * one.slope.value * 7 / 30, color=BLUE, linewidth=1.4)
    if one.limit is not None:
        axes.axhline(one.limit, color=ALARM, linewidth=1, linestyle=(0, (4, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda at, _: short(at) if one.metric == "cost" else f"{100 * at:.10g} %"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("age of the model, weeks")
    return _svg(drawing, name)


def _figure(size: tuple[float, float] = SIZE, *, left_inches: float = 0.5, bottom: float = 0.16) -> tuple[Figure, Axes]:
    drawing = Figure(figsize=size)
    FigureCanvasSVG(drawing)
    wide, high = size
    left, top = left_inches / wide, 1 - 0.2 / high
    return drawing, drawing.add_axes((left, bottom, 1 - left - 0.24 / wide, top - bottom))


def _days(ms: Ints) -> Floats:
    return np.asarray(np.clip(ms, FIRST_MS, LAST_MS) / DAY_MS)


def _time_axis(axes: Axes, time: Timeline) -> None:
    first, last = _days(time.start_ms[:1])[0], _days(time.end_ms[-1:])[0]
    last = min(max(last, first + _SHORTEST), LAST_MS / DAY_MS)
    axes.set_xlim(min(first, last - _SHORTEST), last)
    locator = _Locator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(_Formatter(locator, show_offset=False, formats=_FORMATS, zero_formats=_ZERO_FORMATS))


_FORMATS = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
_ZERO_FORMATS = ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"]


def _mark(axes: Axes, onsets: Sequence[Onset], time: Timeline) -> None:
    """Draw a line where each incident began, with its number; solid where the chart shows the incident's own figure."""
    first, last = int(time.start_ms[0]), int(time.end_ms[-1])
    free = 0.0  # where the next number may stand
    for at, number, own in sorted(onsets):
        if not first <= at <= last:
            continue
        x = at / DAY_MS
        axes.axvline(x, color=ALARM if own else GREY, linewidth=1.3 if own else 0.8, linestyle="-" if own else (0, (2, 2)), zorder=2)
        share = (at - first) / max(last - first, 1)
        place = max(share, free)
        free = place + 0.035 * len(number)
        axes.text(
            place,
            1.005,
            number,
            transform=axes.transAxes,
            ha="center",
            va="bottom",
            fontsize=7.5,
            weight="bold" if own else "normal",
            color=ALARM if own else GREY,
        )


def _svg(drawing: Figure, name: str) -> Markup:
    """Return the drawing as an element of HTML: no prologue, comment or style sheet, and identifiers of its own."""
    out = StringIO()
    drawing.savefig(out, format="svg", metadata=_METADATA)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*" height="[^"]*"|(<svg\b[^>]*?) height="[^"]*"', r"\1\2", text, count=1)
    text = _IDS.sub(lambda match: f"{match[0]}{name}-", text)
    text = re.sub(r"<svg\b", '<svg aria-hidden="true" focusable="false"', text, count=1)
    return Markup(re.sub(r"\s*\n\s*", " ", text).strip())  # noqa: S704  matplotlib's own markup; no text of a record is in it
