"""Which ages of predictions are read: declared by the policy, or learnt from the label delays of the version's first predictions."""

from functools import lru_cache
from typing import Any

import numpy as np

from detectors.fixed import Ints
from detectors.panes import MAX_CLASS, PANE_MS, floor_to, widest

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
WEEK_MS = 7 * DAY_MS
# fmt: off
GRID_MS = (
    90_000, 12 * MINUTE_MS, 75 * MINUTE_MS, 390 * MINUTE_MS, 26 * HOUR_MS, 78 * HOUR_MS,
    *(days * DAY_MS for days in (8, 15, 32, 63, 95, 190, 380, 760, 1140)),
)
# fmt: on
LEARN_FROM = 1_000  # predictions
MIN_COVERAGE = 0.05
MIN_RATIO, MIN_STEP = 1.25, 0.05  # what a rung must add to the one before it
SETTLED = 0.01  # a successor that adds less shows that the labels are in
PANE_SHARE = 0.12  # of the age: the pane that a rung reads
FIRST_PANE_EVENTS = 8  # predictions that a pane read at age 0 should hold

UNDECIDED, ENABLED, DISABLED = 0, 1, 2
ALWAYS = -(2**62)


@lru_cache(1_024)
def _width(age_ms: int) -> int:
    return widest(PANE_SHARE * age_ms)


class Ladder:
    """The rungs of one model version, frozen once decided.

    Rung 0 is age 0, before any label; rung k + 1 is ``ages[k]``. A label's age class is the first rung by which it was known, or one more
    than the last.

    Without declared ages those of a fixed grid are decided one by one, each when the first 1,000 predictions have all reached the next:
    one is read if it adds enough labels, and the first whose successor adds under 1 % is the mature one and the last.

    Parameters
    ----------
    ages
        Declared ages, ms, ascending; None: learn them.
    horizon_ms
        After which no label is waited for: the mature rung, learnt or not; None: there is none.

    Raises
    ------
    ValueError
        If there are more ages than classes, or they do not ascend.

    Examples
    --------
    >>> ladder = Ladder((3_600_000, 86_400_000))
    >>> ladder.age_class(np.array([-5, 3_600_000, 3_600_001, 10**9])).tolist(), ladder.mature
    ([1, 1, 2, 3], 2)

    """

    def __init__(self, ages: tuple[int, ...] | None = None, horizon_ms: int | None = None) -> None:
        self.ages = GRID_MS if ages is None else ages
        if horizon_ms is not None:
            shorter = (age for age in self.ages if ages is not None or age < horizon_ms)
            self.ages = tuple(sorted({*shorter, horizon_ms}))
        if len(self.ages) > MAX_CLASS - 1 or list(self.ages) != sorted(set(self.ages)):
            raise ValueError(f"expected at most {MAX_CLASS - 1} ages, ascending, got {self.ages}")
        self.status = [ENABLED if ages is not None or age == horizon_ms else UNDECIDED for age in self.ages]
        self.coverage: list[float] = []  # share of the first predictions labelled, by age decided
        self.learnt_ms: int | None = None  # end of the first predictions' panes
        self.mature: int | None = len(self.ages) if self.status[-1] == ENABLED else None
        self.first_width_ms = PANE_MS
        self.enabled_ms = [ALWAYS] * len(self.ages)  # from when on each age is read
        self._bounds = np.array(self.ages, dtype=np.int64)
        self._widths = [_width(age) for age in self.ages]
        self._rungs: list[int] | None = None  # that are read, while nothing is decided

    def age_class(self, age_ms: Ints) -> Ints:
        """Return the class of each age: 1 up to the first age, and so on."""
        return (1 + np.searchsorted(self._bounds, age_ms, side="left")).astype(np.int64)

    def rungs(self) -> list[int]:
        """Return the rungs that are read, ascending."""
        if self._rungs is None:
            self._rungs = [0, *(k + 1 for k, status in enumerate(self.status) if status == ENABLED)]
        return self._rungs

    def undecided(self) -> list[int]:
        """Return the rungs that may yet be read; the one decided last may still turn out to be the mature one."""
        last = [len(self.coverage)] if self.coverage and self.mature is None else []
        return last + [k + 1 for k, status in enumerate(self.status) if status == UNDECIDED]

    def to_come(self) -> list[int]:
        """Return the rungs that may yet be read, and then from the first pane on.

        >>> ladder, idle = Ladder(), Ladder()
        >>> for each, coverage in ((ladder, 0.9), (idle, 0.0)):  # one that is read already, one that has too few labels ever to be
        ...     each.start(0, 10_000)
        ...     each.decide(coverage, 100_000)
        ...     each.undecided()[:2], each.to_come()[:2]
        ([1, 2], [2, 3])
        ([1, 2], [2, 3])
        """
        never = len(self.coverage) if self.coverage and self.coverage[-1] < MIN_COVERAGE else 0
        return [rung for rung in self.undecided() if rung != never and self.status[rung - 1] != ENABLED]

    def age_ms(self, rung: int) -> int:
        """Return a rung's age."""
        return 0 if rung == 0 else self.ages[rung - 1]

    def oldest_ms(self, at_ms: int) -> int:
        """Return the oldest age that is read at a time: one that was decided later is none yet."""
        return max((self.age_ms(rung) for rung in self.rungs()[1:] if self.enabled_ms[rung - 1] <= at_ms), default=0)

    def width_ms(self, rung: int) -> int:
        """Return how wide the panes are that a rung reads."""
        return self.first_width_ms if rung == 0 else self._widths[rung - 1]

    def weeks_since_ms(self, first_ms: int | None) -> int | None:
        """Return when the first week of a version's age began: with the pane, as the mature rung reads it, of its first prediction."""
        return None if first_ms is None or self.mature is None else int(floor_to(first_ms, self.width_ms(self.mature)))

    def settled_ms(self) -> int:
        """Return at which event time the mature age was known, however far the watermark has jumped; of one that was declared, always."""
        k = len(self.coverage) - 1
        return ALWAYS if k < 0 or self.learnt_ms is None else int(-floor_to(-self.learnt_ms, self.width_ms(k + 1)) + self.ages[k])

    def start(self, first_ms: int, end_ms: int) -> None:
        """Note when the first predictions were made; panes read at age 0 become as wide as their rate asks for."""
        self.learnt_ms = end_ms
        per_event = max(end_ms - first_ms, 1) / LEARN_FROM
        self.first_width_ms = min(widest(FIRST_PANE_EVENTS * per_event), DAY_MS)

    def next_decision(self) -> tuple[int, int] | None:
        """Return when the next age can be decided and the end of the first predictions' panes as it reads them; None: nothing is left."""
        k = len(self.coverage)
        if self.learnt_ms is None or k == len(self.ages) or self.status[k] != UNDECIDED:
            return None
        end_ms = -floor_to(-self.learnt_ms, self.width_ms(k + 1))
        return end_ms + self.ages[k], end_ms

    def decide(self, coverage: float, now_ms: int) -> None:
        """Decide the next age from the share of the first predictions that were labelled by it."""
        k = len(self.coverage)
        self._rungs = None
        self.coverage.append(coverage)
        before = self.coverage[k - 1] if k else 0.0
        if self.mature is None and k and before >= MIN_COVERAGE and coverage - before < SETTLED:
            self._settle(k - 1, now_ms)
            return
        last = next((self.coverage[i] for i in range(k - 1, -1, -1) if self.status[i] == ENABLED), 0.0)
        enough = coverage >= max(MIN_COVERAGE, MIN_RATIO * last, last + MIN_STEP)
        self.status[k] = DISABLED
        if enough:
            self._enable(k, now_ms)
        if k == len(self.ages) - 1:
            self._settle(k, now_ms)

    def _enable(self, k: int, now_ms: int) -> None:
        if self.status[k] != ENABLED:
            self.status[k], self.enabled_ms[k] = ENABLED, now_ms

    def _settle(self, k: int, now_ms: int) -> None:
        self._enable(k, now_ms)
        self.status[k + 1 :] = [DISABLED] * (len(self.ages) - k - 1)
        self.mature = k + 1

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "ages": list(self.ages),
            "status": list(self.status),
            "coverage": list(self.coverage),
            "learnt_ms": self.learnt_ms,
            "mature": self.mature,
            "first_width_ms": self.first_width_ms,
            "enabled_ms": list(self.enabled_ms),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Ladder":
        """Return the ladder that ``to_state`` wrote."""
        ladder = cls(tuple(state["ages"]))  # the status says which are learnt
        ladder.status, ladder.coverage = list(state["status"]), list(state["coverage"])
        ladder.learnt_ms, ladder.mature = state["learnt_ms"], state["mature"]
        ladder.first_width_ms, ladder.enabled_ms = state["first_width_ms"], list(state["enabled_ms"])
        return ladder
