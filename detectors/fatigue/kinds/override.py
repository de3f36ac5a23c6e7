"""Alerts that people do not act upon."""

from typing import ClassVar

from detectors.bets import Bet, Family
from detectors.bets.rates import RateBet
from detectors.fatigue.bets import BetKind, Told, by_unit, in_time, rate_observations
from detectors.fatigue.ledger import DISPOSED
from detectors.fixed import Floats, Ints
from detectors.incident_events import day, percent
from schemas.fatigue import FatigueKind


class Override(BetKind):
    """The share of named actions that are "overridden", "dismissed" or "ignored" lies above the policy's threshold."""

    name: ClassVar[FatigueKind] = FatigueKind.OVERRIDE
    bet: ClassVar[Bet] = RateBet()
    family: ClassVar[Family] = Family(name="override", kind="override", noun="share of alerts not acted upon", look="")

    def promised(self) -> float | None:
        """Return the policy's threshold."""
        return self.policy.fatigue.override

    def observe(self, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Return (actions named, not acted) of each unit."""
        unit, _, rows = in_time(self.ledger, "disposed", start_ms, end_ms)
        units, done = by_unit(unit, rows)
        return units, rate_observations(DISPOSED.count(done, "named"), not_acted(done))

    def told(self, turn: Told) -> tuple[float, float, str]:
        """Say that people have stopped listening."""
        now, most = turn.current, turn.baseline.value
        if not turn.opened:
            return now.value, most, f"Alerts at {{whom}} are acted upon again: {percent(now)} were not, lately."
        said = (
            f"{percent(now)} of the alerts at {{whom}} since {day(turn.start_ms)} were overridden, dismissed or ignored, where "
            f"{100 * most:g} % is the most: people have stopped listening. Ask them which alerts they would miss, and drop the others."
        )
        return now.value, most, said


def not_acted(done: Ints) -> Ints:
    """Return how many dispositions name an action that is none."""
    return DISPOSED.count(done, "overridden") + DISPOSED.count(done, "dismissed") + DISPOSED.count(done, "ignored")


KIND = Override
