"""Alerts that cost people more time than before, or than was planned."""

from typing import ClassVar

import numpy as np

from detectors.bets import Bet, Family
from detectors.bets.costs import CostBet
from detectors.cost_cells import CELLS
from detectors.fatigue.bets import BetKind, Told, in_time
from detectors.fixed import Floats, Ints
from detectors.incident_events import day, span
from schemas.fatigue import FatigueKind


class ReviewTime(BetKind):
    """The mean time that a person spends on an alert has risen; as heavy-tailed as it may be, so the bet is that on costs, in seconds."""

    name: ClassVar[FatigueKind] = FatigueKind.REVIEW_TIME
    bet: ClassVar[Bet] = CostBet()
    family: ClassVar[Family] = Family(name="review_time", kind="review_time", noun="mean review time", look="", tolerance=0.1)

    def promised(self) -> float | None:
        """Return the policy's threshold in seconds."""
        limit = self.policy.fatigue.review_ms
        return None if limit is None else limit / 1000

    def observe(self, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Return the reviews by cell and the sum of their seconds, of each unit."""
        unit, cell, rows = in_time(self.ledger, "reviews", start_ms, end_ms)
        units, inverse = np.unique(unit, return_inverse=True)
        counts = np.zeros((len(units), CELLS + 1))
        np.add.at(counts, (inverse, cell), rows[:, 0])
        np.add.at(counts[:, CELLS], inverse, rows[:, 1] / 1000)
        return units, np.maximum(counts, 0)

    def told(self, turn: Told) -> tuple[float, float, str]:
        """Say how long an alert takes now."""
        now, most = turn.current.value, turn.baseline.value
        words = span(round(now * 1000)), span(round(most * 1000))
        if not turn.opened:
            return now, most, f"A review of an alert at {{whom}} takes {words[0]} lately, as it should."
        said = (
            f"A review of an alert at {{whom}} takes {words[0]} on average since {day(turn.start_ms)}, where {words[1]} is "
            f"{'the most' if self.promised() is not None else 'usual'}. "
            "Look at what people have to find out for themselves before they decide."
        )
        return now, most, said


KIND = ReviewTime
