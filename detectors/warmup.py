"""River's drift detectors on the aggregate's rates: without paging while a baseline is made, or as the pager a policy chose."""

from typing import Any

from detectors.river.drift import RiverWatch

_MOST = 1_000  # zeros and ones of one pane; more are thinned evenly, which makes the watch slower, not faster
DEFAULT = "adwin"


class WarmUp:
    """One detector per (family, rung), fed in rung order with a pane's zeros and ones spread evenly."""

    def __init__(self) -> None:
        self.watches: dict[tuple[str, int], RiverWatch] = {}

    def step(self, key: tuple[str, int], n: int, x: int, *, detector: str, parameters: dict[str, Any]) -> bool:
        """Add ``x`` failures in ``n`` events; return whether the detector fired."""
        watch = self.watches.get(key)
        if watch is None:
            watch = self.watches[key] = RiverWatch(detector, parameters)
        if n > _MOST:
            n, x = _MOST, round(x * _MOST / n)
        return watch.step(n, x)

    def drop(self, family: str, rung: int) -> None:
        """End a watch: the baseline stands."""
        self.watches.pop((family, rung), None)

    def to_state(self) -> list[Any]:
        """Return the state as plain values and raw bytes."""
        return [[family, rung, watch.to_state()] for (family, rung), watch in sorted(self.watches.items())]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.watches = {(family, rung): RiverWatch.from_state(saved) for family, rung, saved in state}
