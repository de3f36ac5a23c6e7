"""The budget of false pages, spread over monitors and time.

A monitor's evidence may grow in expectation by its deposits only, and an alarm takes one from it; so the expected number of false alarms
of a model is at most the sum of its deposits, for any dependence between its monitors. The rate is the declared budget: 40 % for the
aggregate, 40 % for the groups, 20 % for what needs no label, each split evenly over the monitors that stand at that moment.
"""

from typing import Any

import numpy as np

from detectors.fixed import Floats, Ints
from detectors.monitors import pack, unpack
from detectors.reading import BEFORE

AGGREGATE, GROUPS, LABEL_FREE = 0, 1, 2
SHARES = np.array([0.4, 0.4, 0.2])
DAY_MS = 86_400_000
_LONGEST_MS = 7 * DAY_MS  # what one deposit may cover; a gap in the data is not evidence


class Budget:
    """Pots that fill with time; a monitor that is touched takes what fell to it since it was touched last.

    ``pots`` is, per class, the integral of (rate of one monitor) over time, so what idle monitors are owed costs nothing until they are
    touched and is exact although the number of monitors changes meanwhile. The split is the one before the step: it is predictable.

    Parameters
    ----------
    pages, days
        The budget: expected false pages of the model per this many days.

    Examples
    --------
    >>> budget = Budget(pages=1, days=30)
    >>> budget.standing[AGGREGATE] = 2
    >>> budget.advance(0); budget.advance(30 * DAY_MS)
    >>> budget.pots.tolist()
    [0.2, 0.0, 0.0]

    """

    def __init__(self, *, pages: float, days: float) -> None:
        if not (pages > 0 and days > 0):
            raise ValueError(f"expected a budget of pages > 0 in days > 0, got {pages} in {days}")
        self.rate = pages / (days * DAY_MS)
        self.pots = np.zeros(3)
        self.standing = np.zeros(3, dtype=np.int64)  # monitors that are armed and silent
        self.now = BEFORE

    def advance(self, due_ms: int, share: float = 1.0) -> None:
        """Let time pass up to ``due_ms``; ``share`` is this version's part of the model's budget.

        Raises
        ------
        ValueError
            If time runs backwards: rungs must be stepped in due order.

        """
        if due_ms < self.now:
            raise ValueError(f"expected readings in due order, got one due at {due_ms} after one due at {self.now}")
        if self.now > BEFORE:
            elapsed = self.rate * share * (due_ms - self.now)
            if np.count_nonzero(self.standing):
                self.pots += np.where(self.standing > 0, elapsed * SHARES / np.maximum(self.standing, 1), 0.0)
        self.now = due_ms

    def owed(self, kinds: Ints, seen_ms: Ints, seen_pot: Floats) -> Floats:
        """Return what fell to monitors since they were touched, shape (k,); of a longer time than 7 d, the part of 7 d."""
        elapsed = np.maximum(self.now - seen_ms, 1)
        return np.asarray((self.pots[kinds] - seen_pot) * np.minimum(1.0, _LONGEST_MS / elapsed))

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and raw bytes."""
        return {"pots": pack(self.pots), "now": self.now}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave; ``standing`` is counted by the panels when they load."""
        self.pots, self.now = unpack(state["pots"]), int(state["now"])
