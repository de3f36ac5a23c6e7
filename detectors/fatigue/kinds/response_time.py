"""Alerts that people take longer to respond to."""

from typing import Any, ClassVar

import numpy as np

from detectors.bets import Bet, Family
from detectors.bets.rates import RateBet
from detectors.cells import Layout
from detectors.fatigue.bets import BetKind, Told, by_unit, in_time, rate_observations
from detectors.fatigue.durations import CELLS, cell_of, middle_s, quantile, quantile_cell
from detectors.fatigue.ledger import Ledger
from detectors.fixed import Floats, Ints
from detectors.incident_events import day, span
from detectors.panes import SumTable
from schemas.fatigue import FatigueKind
from schemas.policy_models import ModelPolicy

_N = Layout(counts=("n",), sums={})
_HALF = 0.5


class ResponseTime(BetKind):
    """More than half of the responses take longer than the policy's median; or more than before take longer than a unit's old median.

    Free of any law of the times: the bet is on the share of those above. Without a threshold a unit's median is taken from its first
    dispositions, as many as a baseline needs, and its baseline is the share above it after that. Of the alerts dealt with in time; the
    others are stale.
    """

    name: ClassVar[FatigueKind] = FatigueKind.RESPONSE_TIME
    bet: ClassVar[Bet] = RateBet()
    family: ClassVar[Family] = Family(name="response_time", kind="response_time", noun="share of slow responses", look="")

    def __init__(self, ledger: Ledger, policy: ModelPolicy) -> None:
        super().__init__(ledger, policy)
        self.medians: dict[int, int] = {}  # by unit: a cell
        self.first = SumTable(_N)  # responses of units without a median, by unit and cell

    def promised(self) -> float | None:
        """Return a half, if the policy says of what."""
        return None if self.policy.fatigue.response_ms is None else _HALF

    def declared(self) -> float | None:
        """Return the policy's median."""
        return self.policy.fatigue.response_ms

    def observe(self, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Return (responses, slow ones) of each unit whose median is known."""
        unit, cell, rows = in_time(self.ledger, "responses", start_ms, end_ms)
        edges = np.full(len(self.ledger.units), CELLS)
        if self.policy.fatigue.response_ms is not None:
            edges[:] = int(cell_of(np.array(self.policy.fatigue.response_ms)))
        else:
            edges[list(self.medians)] = list(self.medians.values())
            self._learn_medians(unit, cell, rows)
        known = edges[unit] < CELLS
        slow = np.where(cell > edges[unit], rows[:, 0], 0)
        units, counts = by_unit(unit[known], np.stack([rows[:, 0], slow], axis=1)[known])
        return units, rate_observations(*counts.T)

    def _learn_medians(self, unit: Ints, cell: Ints, rows: Ints) -> None:
        new = ~np.isin(unit, list(self.medians))
        self.first.add(unit[new] * CELLS + cell[new], rows[new])
        for each in np.unique(unit[new]).tolist():
            mine = self.first.span(each * CELLS, (each + 1) * CELLS)
            counts = self.first.rows[mine, 0]
            if counts.sum() >= self.policy.baseline.labels:
                median = quantile_cell(self.first.keys[mine] - each * CELLS, counts, _HALF)
                assert median is not None  # noqa: S101  there are some
                self.medians[each] = median
                self.first.keys, self.first.rows = np.delete(self.first.keys, mine), np.delete(self.first.rows, mine, axis=0)

    def told(self, turn: Told) -> tuple[float, float, str]:
        """Say how long people take now."""
        limit_ms = self.policy.fatigue.response_ms
        most = limit_ms / 1000 if limit_ms is not None else middle_s(self.medians[turn.unit])
        unit, cell, rows = in_time(self.ledger, "responses", turn.start_ms, turn.end_ms)
        now = quantile(cell[unit == turn.unit], rows[unit == turn.unit, 0], _HALF) or 0.0
        words = span(round(now * 1000)), span(round(most * 1000))
        if not turn.opened:
            return now, most, f"Responses at {{whom}} are as fast as they were: median {words[0]} lately."
        said = (
            f"Alerts at {{whom}} since {day(turn.start_ms)} wait longer for a response: median {words[0]}, where {words[1]} is "
            f"{'the most' if limit_ms is not None else 'usual'}; {100 * turn.current.value:.0f} % take longer than that. "
            "Look at how many alerts come at a time, and who is on duty."
        )
        return now, most, said

    def relearn(self, unit: int) -> bool:
        """Learn a unit's median anew as well."""
        if self.promised() is None:
            self.medians.pop(unit, None)
        return super().relearn(unit)

    def reset(self) -> bool:
        """Learn every unit's median anew as well."""
        self.medians, self.first = {}, SumTable(_N)
        return super().reset()

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return super().to_state() | {"medians": sorted(self.medians.items()), "first": self.first.to_state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.medians, self.first = dict(state["medians"]), SumTable.from_state(_N, state["first"])


KIND = ResponseTime
