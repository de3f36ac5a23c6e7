"""Spans of time as people write them: 90s, 5m, 1h, 7d."""

import re

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
LONGEST_MS = 100 * 366 * UNITS_MS["d"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", re.ASCII)


def parse_duration(text: str) -> int:
    """Return a duration in whole milliseconds.

    Raises
    ------
    ValueError
        If the text is not a number and one of the units ms, s, m, h, d, w, or if it is longer than a century.

    Examples
    --------
    >>> parse_duration("90s"), parse_duration("1.5h"), parse_duration("7d")
    (90000, 5400000, 604800000)
    >>> parse_duration("5 minutes")
    Traceback (most recent call last):
    ValueError: expected a duration such as "90s", "5m", "1h" or "7d", got '5 minutes'

    """
    match = _DURATION.fullmatch(text.strip()) if len(text) <= 32 else None
    if match is None:
        raise ValueError(f'expected a duration such as "90s", "5m", "1h" or "7d", got {text!r}')
    ms = round(float(match[1]) * UNITS_MS[match[2]])
    if ms > LONGEST_MS:
        raise ValueError(f"expected a duration of at most 100 years, got {text!r}")
    return ms


def format_duration(ms: int) -> str:
    """Return milliseconds in the largest unit, up to days, that writes them as a whole number.

    >>> format_duration(90_000), format_duration(604_800_000), format_duration(0)
    ('90s', '7d', '0s')
    """
    if ms == 0:
        return "0s"
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if ms % UNITS_MS[unit] == 0)
    return f"{ms // UNITS_MS[unit]}{unit}"
