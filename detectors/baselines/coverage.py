"""Whether labels come at another pace than they did: then a young rung sees other labels, not another world."""

import math

from detectors.reading import BEFORE

DAY_MS = 86_400_000
_DAYS = 7
_SHIFT = 0.2  # logits


class CoverageGuard:
    """Share of predictions labelled by one age: of the baseline's days against the last seven days of predictions.

    Examples
    --------
    >>> guard = CoverageGuard(days=28)
    >>> for day in range(28): guard.step(day * DAY_MS, 100, 50)
    >>> guard.shifted()
    False
    >>> for day in range(28, 35): guard.step(day * DAY_MS, 100, 30)
    >>> guard.shifted()
    True

    """

    def __init__(self, *, days: float) -> None:
        self.span_ms = int(days * DAY_MS)
        self.first_ms = BEFORE
        self.base = [0, 0]
        self.recent: list[list[int]] = []  # day, predictions, labelled; ascending

    def step(self, start_ms: int, n: int, labelled: int) -> None:
        """Add one pane."""
        if self.first_ms == BEFORE:
            self.first_ms = start_ms
        if start_ms - self.first_ms < self.span_ms:
            self.base[0] += n
            self.base[1] += labelled
        day = start_ms // DAY_MS
        if self.recent and self.recent[-1][0] == day:
            self.recent[-1][1] += n
            self.recent[-1][2] += labelled
        else:
            self.recent.append([day, n, labelled])
            self.recent = [item for item in self.recent if day - item[0] < _DAYS]

    def shifted(self, onset_ms: int = BEFORE) -> bool:
        """Say whether the last days differ from the baseline by more than 0.2 in logits, and by more than chance.

        The last seven days are looked at, and those of them since ``onset_ms``: an alarm may come before a week is full of the new pace.
        """
        return any(self._differs([item for item in self.recent if item[0] >= day]) for day in (BEFORE // DAY_MS, onset_ms // DAY_MS))

    def _differs(self, days: list[list[int]]) -> bool:
        n, labelled = (sum(item[i] for item in days) for i in (1, 2))
        if not n or not self.base[0]:
            return False
        noise = math.sqrt(1 / (labelled + 0.5) + 1 / (n - labelled + 0.5))
        return abs(_logit(n, labelled) - _logit(*self.base)) > max(_SHIFT, 2 * noise)

    def to_state(self) -> list[object]:
        """Return the state as plain values."""
        return [self.first_ms, self.base, self.recent]

    def load(self, state: list[object]) -> None:
        """Take back what ``to_state`` gave."""
        self.first_ms, self.base, self.recent = state  # type: ignore[assignment]  # as ``to_state`` wrote them


def _logit(n: int, x: int) -> float:
    return math.log((x + 0.5) / (n - x + 0.5))
