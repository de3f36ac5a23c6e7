"""The cost of a decision as a line in the stake: ``a + b * amount``, one per cell of the confusion matrix."""

import re

import msgspec

Line = tuple[float, float]  # cost = a + b * amount

_NUMBER = r"\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?"
_TERM = re.compile(
    rf"\s*(?P<sign>[+-])?\s*(?:(?P<factor>{_NUMBER})\s*\*\s*amount|amount\s*\*\s*(?P<times>{_NUMBER})|(?P<amount>amount)|(?P<number>{_NUMBER}))\s*"
)
_LARGEST = 1e10


class CostMatrix(msgspec.Struct, frozen=True, kw_only=True):
    """What each cell of the confusion matrix costs; negative is a benefit."""

    tp: Line = (0.0, 0.0)
    fp: Line = (0.0, 0.0)
    tn: Line = (0.0, 0.0)
    fn: Line = (0.0, 0.0)


def parse_line(cost: object) -> Line:
    """Return ``(a, b)`` of a cost written as a number, "amount", "0.3*amount", or a sum of such terms.

    Raises
    ------
    ValueError
        If it is written otherwise, or a coefficient is beyond 1e10.

    Examples
    --------
    >>> parse_line(5), parse_line("amount"), parse_line("25 - 0.3*amount")
    ((5.0, 0.0), (0.0, 1.0), (25.0, -0.3))

    """
    line: Line | None = None
    if isinstance(cost, int | float) and not isinstance(cost, bool):
        line = (float(cost), 0.0)
    elif isinstance(cost, str) and len(cost) <= 200:
        line = _sum_of_terms(cost)
    if line is None or not all(abs(coefficient) <= _LARGEST for coefficient in line):
        raise ValueError(f'expected a number up to 1e10, "amount", or a line such as "25 + 0.3*amount", got {cost!r}')
    return line


def _sum_of_terms(text: str) -> Line | None:
    at, a, b = 0, 0.0, 0.0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None or (at > 0 and match["sign"] is None):
            return None
        sign = -1.0 if match["sign"] == "-" else 1.0
        if match["number"] is not None:
            a += sign * float(match["number"])
        else:
            b += sign * float(match["factor"] or match["times"] or 1.0)
        at = match.end()
    return (a, b) if at > 0 and text.strip() else None
