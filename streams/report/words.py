"""Numbers and times as people read them."""

from collections.abc import Mapping

from detectors.families import BRIER, NAMED, families, family
from detectors.incident_events import span
from schemas.drift import Interval
from schemas.fields import rfc3339

NAMES = {
    "error": "Error rate",
    "fpr": "False-positive rate (FPR)",
    "fnr": "False-negative rate (FNR)",
    "ppv": "Positive predictive value (PPV)",
    "ece": "Calibration error (ECE)",
    "base_rate": "Base rate",
    "alert_rate": "Alert rate",
    "abstention_rate": "Abstention rate",
    "label_coverage": "Share labelled",
    "cost_per_day": "Cost per day",
}
_MONEY = {"cost", "regression", "cost_per_day"}
_BRIEF = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def noun(metric: str) -> str:
    """Return a watched quantity in words.

    >>> noun("fnr"), noun("claim:f1"), noun("check:citation"), noun("brier:1.4")
    ('False-negative rate', 'Claim:f1', 'Pass rate of citation', 'Brier score against version 1.4')
    """
    known = metric in families() or metric.partition(":")[0] in NAMED
    words = family(metric).noun if known else NAMES.get(metric, metric)
    return words[:1].upper() + words[1:]


def figure(value: float | None, metric: str = "") -> str:
    """Write a figure in its unit; a rate in per cent."""
    if value is None:
        return "–"  # noqa: RUF001  no figure
    return short(value) if _is_no_rate(metric) or abs(value) > 1 else percent(value)


def _is_no_rate(metric: str) -> bool:
    return metric in _MONEY or metric.startswith(f"{BRIER}:")


def percent(value: float | None, width: float | None = None) -> str:
    """Write a rate with as many decimals as an interval of that width can bear.

    >>> percent(0.3249, 0.4), percent(0.3249, 0.01), percent(0.00042), percent(None)
    ('32 %', '32.5 %', '0.04 %', '–')
    """
    if value is None:
        return "–"  # noqa: RUF001  no figure
    if width is None:
        width = 0.01 if abs(value) >= 0.01 or value == 0 else 0.001
    digits = 0 if width >= 0.05 else 1 if width >= 0.002 else 2
    return f"{100 * value:.{digits}f} %"


def interval(estimate: Interval | None, metric: str = "") -> str:
    """Write an estimate with its interval.

    >>> interval(Interval(value=0.069, lo=0.066, hi=0.072, n=9000), "fnr")
    '6.9 % (6.6 to 7.2 %)'
    >>> interval(Interval(value=0.1836, lo=0.166, hi=0.202, n=1764), "brier:1.4")
    '0.184 (0.166 to 0.202)'
    """
    if estimate is None or estimate.value is None:
        return "–"  # noqa: RUF001  no figure
    if estimate.lo is None or estimate.hi is None:
        return figure(estimate.value, metric)
    if _is_no_rate(metric) or max(abs(estimate.value), abs(estimate.hi)) > 1:
        return f"{short(estimate.value)} ({short(estimate.lo)} to {short(estimate.hi)})"
    width = estimate.hi - estimate.lo
    return f"{percent(estimate.value, width)} ({percent(estimate.lo, width)[:-2]} to {percent(estimate.hi, width)})"


def short(value: float | None) -> str:
    """Write a number in four figures or so, with a letter for thousands.

    >>> short(0.12345), short(1234.5), short(-2_500_000), short(0)
    ('0.123', '1,234', '-2.5 M', '0')
    """
    if value is None:
        return "–"  # noqa: RUF001  no figure
    for unit, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= unit:
            return f"{value / (1e3 if letter == ' k' else unit):.3g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def thousands(n: int) -> str:
    """Write a count."""
    return f"{n:,}"


def age(seconds: float | None, *, brief: bool = False) -> str:
    """Write an age.

    >>> age(5_400.0), age(0.0), age(5_400.0, brief=True)
    ('1.5 hours', '0 seconds', '90 min')
    """
    if seconds is None:
        return "any age"
    if not brief:
        return span(round(seconds * 1000))
    unit, letter = next((pair for pair in _BRIEF if seconds >= 2 * pair[0]), (1, "s"))
    count = seconds / unit
    return f"{count:,.0f} {letter}" if count >= 100 else f"{count:.3g} {letter}"


def when(time: int | str | None) -> str:
    """Write a time to the minute, UTC.

    >>> when(0), when("2024-03-01T10:20:30.000Z")
    ('1970-01-01 00:00', '2024-03-01 10:20')
    """
    if time is None:
        return "–"  # noqa: RUF001  unknown
    text = rfc3339(time) if isinstance(time, int) else time
    return text[:16].replace("T", " ")


def group(segment: Mapping[str, str]) -> str:
    """Write a segment.

    >>> group({"region": "north"}), group({})
    ('region = north', 'all')
    """
    return ", ".join(f"{dimension} = {value}" for dimension, value in segment.items()) or "all"
