"""Temporal decay: figures by the age of the model, where they are going, and when they will be past the policy's limit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detectors.cells import CONFUSION, KNOWN, many_classes
from detectors.companions import NEVER, Companion
from detectors.fixed import Floats, Ints
from detectors.ladder import DAY_MS, WEEK_MS
from detectors.model_version import ModelVersion
from detectors.statistics.confusion import rate
from detectors.statistics.cost import matrix_cost
from detectors.statistics.ratio import ratio
from detectors.statistics.trend import Trend, trend
from schemas.cost import CostMatrix
from schemas.drift import Interval
from schemas.fields import LAST_MS, rfc3339
from schemas.findings import Event
from schemas.policy_models import DECAY
from schemas.report import Decay, DecayWeek
from schemas.scored import Rows

FALLS = frozenset({"f1"})  # worse when lower


class ModelDecay(Companion):
    """Reads a version's sums by week of its age, as the mature rung saw them. It keeps and finds nothing itself."""

    name = "decay"
    moved = False

    def add(self, rows: Rows, where: Ints) -> None:
        """Keep nothing."""

    def next_ms(self, watermark_ms: int) -> int:
        """Return that nothing will be due."""
        return NEVER

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Find nothing."""
        return []

    def report(self, version: ModelVersion) -> list[Decay] | None:
        """Return each figure by week, its slope, and when it will cross its limit."""
        weeks, since_ms = version.mature_sums.weeks, version.ladder.weeks_since_ms(version.schedule.first_ms)
        if since_ms is None or not len(weeks.keys):
            return None
        figures = weekly(weeks.rows, self.policy.cost)
        if many_classes(version.mature_sums.made.dense(1)[0]):
            del figures["f1"]
        return [
            _decay(name, weeks.keys, figure, since_ms, self.policy.decay.get(name)) for name, figure in figures.items() if figure[1].any()
        ] or None

    def to_state(self) -> dict[str, Any] | None:
        """Return None: the sums are the version's."""
        return None

    def load(self, state: dict[str, Any]) -> None:
        """Refuse what it never gave.

        Raises
        ------
        ValueError
            Always.

        """
        raise ValueError(f"expected no state of decay, got {state!r}; replay from the log")


def weekly(known: Ints, cost: CostMatrix | None) -> dict[str, tuple[Floats, Floats]]:
    """Return each figure by row of ``cells.KNOWN``, and the number of events that it rests on; shape (weeks,).

    Of F1 each false one is half an event.
    """
    n = {cell: KNOWN.count(known, cell).astype(np.float64) for cell in CONFUSION}
    money, priced = KNOWN.total(known, "realised_cost"), KNOWN.count(known, "realised").astype(np.float64)
    if cost is not None:
        counts = {cell: KNOWN.count(known, f"matrix_{cell}").astype(np.float64) for cell in CONFUSION}
        money = money + matrix_cost(cost, counts, {cell: KNOWN.total(known, f"matrix_amount_{cell}") for cell in CONFUSION})
        priced = priced + np.sum(list(counts.values()), axis=0)
    scored = KNOWN.count(known, "scored").astype(np.float64)
    figures = {
        "error": (rate("error", **n), np.sum(list(n.values()), axis=0)),
        "f1": (rate("f1", **n), n["tp"] + (n["fp"] + n["fn"]) / 2),
        "brier": (ratio(KNOWN.total(known, "brier"), scored), scored),
        "cost": (ratio(money, priced), priced),
    }
    return {name: figures[name] for name in DECAY}


def _decay(name: str, week: Ints, figure: tuple[Floats, Floats], since_ms: int, limit: float | None) -> Decay:
    value, n = figure
    held = np.isfinite(value) & (n > 0)
    week, value, n = week[held], value[held], n[held]
    line = trend(np.asarray((week + 0.5) * (WEEK_MS / DAY_MS), dtype=np.float64), value, n)  # in days; a week stands at its middle
    crosses = earliest = latest = None
    if line is not None and limit is not None and (line.hi < 0 if name in FALLS else line.lo > 0):
        crosses = _date(line, limit, since_ms)
        ends = sorted((replace(line, slope=slope) for slope in (line.lo, line.hi)), key=lambda end: end.reaches(limit))
        earliest, latest = (_date(end, limit, since_ms) for end in ends)
    return Decay(
        metric=name,
        since=rfc3339(since_ms),
        weeks=[DecayWeek(week=w, value=v, n=round(e)) for w, v, e in zip(week.tolist(), value.tolist(), n.tolist(), strict=True)],
        slope=None if line is None else Interval(value=30 * line.slope, lo=30 * line.lo, hi=30 * line.hi, n=len(week)),
        fitted=None if line is None else line.value + line.slope * (float(week[-1]) * 7 + 3.5 - line.at),
        limit=limit,
        crosses=crosses,
        crosses_from=earliest,
        crosses_to=latest,
    )


def _date(line: Trend, limit: float, since_ms: int) -> str | None:
    at_ms = since_ms + max(line.reaches(limit), 0.0) * DAY_MS
    return rfc3339(round(at_ms)) if at_ms <= LAST_MS else None


COMPANION = ModelDecay
