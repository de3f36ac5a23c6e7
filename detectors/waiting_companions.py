"""The companions of a model, and the rows and the watermark that wait for them alone."""

from collections.abc import Sequence

from detectors.fixed import Ints
from detectors.model_companions import ModelCompanions
from detectors.panes import BEGINNING
from detectors.waiting import Waiting
from schemas.scored import Rows

MOST_ROWS = 1_000  # that wait; then they are counted


class WaitingCompanions:
    """Those that watch beside the versions have something due far more rarely: what these have counted waits for them on its own.

    Parameters
    ----------
    companions
        What is told of rows and time, once they are settled.

    """

    def __init__(self, companions: ModelCompanions) -> None:
        self.unsettled = companions
        self.passed_ms = BEGINNING  # a watermark that nothing of them was due at
        self._ahead = False  # whether they have counted the first message that versions have not
        self._waiting = Waiting()  # counted by the versions

    def settled(self) -> ModelCompanions:
        """Return the companions with all rows counted that the versions have, and the time passed that has."""
        self._count()
        if self.passed_ms > BEGINNING:
            self.unsettled.take_back_time(self.passed_ms)
            self.passed_ms = BEGINNING
        return self.unsettled

    def passes(self, watermark_ms: int) -> None:
        """Take note of a watermark that nothing is due at."""
        self.passed_ms = max(watermark_ms, self.passed_ms)

    def add_ahead(self, rows: Rows, where: Ints) -> None:
        """Count a message now, before the versions do; it is the first that waits for them."""
        self.unsettled.add(rows, where)
        self._ahead = True

    def follow(self, messages: Sequence[Rows], together: Rows | None = None) -> None:
        """Let messages wait that the versions have counted, as one if they are given so; not the first, if it was counted already."""
        ahead, self._ahead = self._ahead, False
        for rows in messages[ahead:] if ahead or together is None else [together]:
            if not self._waiting.fits(rows):
                self._count()
            self._waiting.add(rows)
            if self._waiting.n >= MOST_ROWS:
                self._count()

    def _count(self) -> None:
        if self._waiting.n:
            self.unsettled.add(*self._waiting.take())
