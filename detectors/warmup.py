"""River's drift detectors on the aggregate's rates: without paging while a baseline is made, or as the pager a policy chose."""

import math
from typing import Any

from detectors.river.drift import RiverWatch

# Zeros and ones of one pane; more are thinned evenly, so that the work is per pane and not per event. That makes the watch slower, not
# quicker to fire. What is left over of the ones is carried to the next pane: rounded away, a rate below half a percent would read as none.
_MOST = 100
DEFAULT = "adwin"


class WarmUp:
    """One detector per (family, rung), fed in rung order with a pane's zeros and ones spread evenly."""

    def __init__(self) -> None:
        self.watches: dict[tuple[str, int], RiverWatch] = {}
        self.carried: dict[tuple[str, int], float] = {}  # ones that thinning still owes

    def step(self, key: tuple[str, int], n: int, x: int, *, detector: str, parameters: dict[str, Any]) -> bool:
        """Add ``x`` failures in ``n`` events; return whether the detector fired."""
        watch = self.watches.get(key)
        if watch is None:
            watch = self.watches[key] = RiverWatch(detector, parameters)
        if n > _MOST:
            owed = x * _MOST / n + self.carried.get(key, 0.0)
            n, x = _MOST, min(math.floor(owed), _MOST)
            self.carried[key] = owed - x
        return watch.step(n, x)

    def drop(self, family: str, rung: int) -> None:
        """End a watch: the baseline stands."""
        self.watches.pop((family, rung), None)
        self.carried.pop((family, rung), None)

    def to_state(self) -> list[Any]:
        """Return the state as plain values and raw bytes."""
        return [[*key, self.carried.get(key, 0.0), watch.to_state()] for key, watch in sorted(self.watches.items())]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.watches = {(family, rung): RiverWatch.from_state(saved) for family, rung, _, saved in state}
        self.carried = {(family, rung): carried for family, rung, carried, _ in state}
