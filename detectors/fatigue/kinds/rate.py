"""More alerts, hour after hour, than people on duty can handle."""

from typing import Any, ClassVar

from detectors.fatigue import Kind, Turn
from detectors.fatigue.ledger import Ledger
from detectors.fatigue.recent import Settled
from detectors.fatigue.rolling import rolling
from detectors.ladder import DAY_MS, HOUR_MS
from detectors.panes import floor_to
from detectors.reading import BEFORE
from schemas.fatigue import FatigueKind
from schemas.policy_models import ModelPolicy

_CALM = 0.5  # of the threshold: six an hour are likely to be acceptable where twelve are the most that is manageable
_HOURS = DAY_MS // HOUR_MS


class Rate(Kind):
    """Alerts per hour and person on duty, over the day before each full hour; over when they have fallen below half of what is too many.

    Units without a name have no rate: who receives those alerts is not known.

    References
    ----------
    ANSI/ISA-18.2-2016, average alarm rates per operating position.

    """

    name: ClassVar[FatigueKind] = FatigueKind.RATE

    def __init__(self, ledger: Ledger, policy: ModelPolicy) -> None:
        super().__init__(ledger, policy)
        self.open: set[int] = set()

    def step(self, settled: Settled, until_ms: int) -> list[Turn]:
        """Look at every day that ends at a full hour by now."""
        wanted = self.policy.fatigue
        end = floor_to(until_ms, HOUR_MS)
        if end <= self.read_to:
            return []
        begin = max(self.read_to - DAY_MS, BEFORE)
        hours, units, _, counts = self.ledger.read("made", begin, end)
        told = rolling(hours, units, counts[:, 0], wanted=self.ledger.units.named(), since_ms=self.read_to, until_ms=end, width_ms=DAY_MS)
        self.read_to = end
        most = wanted.alerts_per_hour * wanted.people * _HOURS
        turns = []
        for unit, at, on, n in told.switches(above=most, below=_CALM * most, is_open=self.open):
            (self.open.add if on else self.open.discard)(unit)
            turns.append(self._turn(unit, at, n / (_HOURS * wanted.people), opened=on))
        return turns

    def _turn(self, unit: int, at_ms: int, rate: float, *, opened: bool) -> Turn:
        most = self.policy.fatigue.alerts_per_hour
        if opened:
            said = (
                f"{rate:.1f} alerts an hour and person at {{whom}} over the last day, where {most:g} are the most that is manageable. "
                "Raise the threshold, or send the least certain alerts to a list instead."
            )
        else:
            said = f"Alerts at {{whom}} are down to {rate:.1f} an hour and person over the last day."
        window = at_ms - DAY_MS, at_ms
        return Turn(time_ms=at_ms, kind=self.name, unit=unit, opened=opened, value=rate, threshold=most, window=window, said=said)

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return super().to_state() | {"open": sorted(self.open)}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.open = set(state["open"])


KIND = Rate
