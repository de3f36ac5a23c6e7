"""Alerts that are wrong more often than before, or than was promised."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from detectors.bets import Bet, Family
from detectors.bets.rates import RateBet
from detectors.fatigue.bets import BetKind, Told, by_unit, rate_observations
from detectors.fixed import Floats, Ints
from detectors.incident_events import day, percent
from detectors.model_version import ModelVersion
from detectors.reading import BEFORE
from detectors.signals import Estimate
from schemas.fatigue import FatigueKind


class Ppv(BetKind):
    """The share of labelled alerts that were right has fallen; the bet is on its opposite, the share of false ones.

    Read at the oldest age that the policy declares, else at the one at which the labels of the model's first version to tell were in. Where
    an alert without a label counts as negative past the horizon, it does here.
    """

    name: ClassVar[FatigueKind] = FatigueKind.PPV
    bet: ClassVar[Bet] = RateBet()
    family: ClassVar[Family] = Family(name="ppv", kind="ppv", noun="share of false alerts", look="")

    learnt: tuple[int, int] | None = None

    def promised(self) -> float | None:
        """Return the largest share of false alerts."""
        ppv = self.policy.fatigue.ppv
        return None if ppv is None else 1 - ppv

    def age(self) -> tuple[int, int] | None:
        """Return the mature age."""
        ladder = self.ledger.ladder
        if ladder.mature is not None:
            return ladder.age_ms(ladder.mature), BEFORE
        return self.learnt

    def learn(self, versions: Mapping[str, ModelVersion]) -> None:
        """Take over the mature age of the version that knew its own first."""
        if self.learnt is not None or self.ledger.ladder.mature is not None:
            return
        settled = [version.ladder for version in versions.values() if version.ladder.mature]
        known = [(ladder.settled_ms(), ladder.age_ms(ladder.mature)) for ladder in settled if ladder.mature]
        if known:
            from_ms, age_ms = min(known)
            self.learnt, self.stepped = (age_ms, from_ms), True

    def observe(self, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Return (labelled, false) of each unit."""
        age = self.age()
        assert age is not None  # noqa: S101  nothing is read before
        oldest = int(np.searchsorted(np.array(self.ledger.ladder.ages), age[0], side="right"))
        _, unit, age_class, rows = self.ledger.read("known", start_ms, end_ms)
        young = age_class <= oldest
        units, known = by_unit(unit[young], rows[young])
        labelled, right = known.T
        horizon = self.policy.horizon_ms
        if self.policy.on_timeout == "negative" and horizon is not None and age[0] >= horizon:
            _, unit, _, rows = self.ledger.read("made", start_ms, end_ms)
            made_by, made = by_unit(unit, rows)
            all_right = np.zeros(len(made_by), dtype=np.int64)
            both = np.isin(units, made_by)
            all_right[np.searchsorted(made_by, units[both])] = right[both]
            units, labelled, right = made_by, made[:, 0], all_right
        return units, rate_observations(labelled, labelled - right)

    def shown(self, estimate: Estimate) -> Estimate:
        """Return the share of right ones."""
        return Estimate(1 - estimate.value, 1 - estimate.hi, 1 - estimate.lo, estimate.n)

    def told(self, turn: Told) -> tuple[float, float, str]:
        """Say how many alerts it takes to find one that is right."""
        now, base = self.shown(turn.current), self.shown(turn.baseline)
        if not turn.opened:
            return now.value, base.value, f"PPV of alerts at {{whom}} is back: {percent(now)} lately."
        each = f"{1 / now.value:.0f} alerts for one that is right" if now.value > 0 else "not one alert was right"
        said = (
            f"PPV of alerts at {{whom}} is {percent(now)} among those since {day(turn.start_ms)}, where {self._expected(base)}: {each}. "
            "Look at recent false alerts; raise the threshold there until the model is retrained."
        )
        return now.value, base.value, said

    def _expected(self, base: Estimate) -> str:
        return f"{100 * base.value:g} % is the least" if self.promised() is not None else f"it was {percent(base)}"

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return super().to_state() | {"learnt": None if self.learnt is None else list(self.learnt)}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.learnt = None if state["learnt"] is None else (state["learnt"][0], state["learnt"][1])


KIND = Ppv
