"""When each rung of a version reads which pane."""

from collections.abc import Callable
from typing import Any

from detectors.cells import MADE
from detectors.fixed import Ints
from detectors.ladder import DAY_MS, LEARN_FROM, Ladder
from detectors.pane_reader import Span, Step
from detectors.panes import BEGINNING, WIDTHS_MS, floor_to, next_end
from detectors.reading import Reading

Starts = Callable[[int, int, int], Ints]  # as ``VersionSums.starts``


class Schedule:
    """The ladder's rungs, and how far each has read.

    Parameters
    ----------
    ladder
        Which rungs there are.

    Examples
    --------
    >>> import numpy as np
    >>> schedule = Schedule(Ladder((60_000,)))
    >>> schedule.due(80_000, lambda width_ms, since_ms, until_ms: np.arange(0, until_ms, width_ms))[-1]
    Step(due_ms=80000, rung=1, start_ms=10000)

    """

    def __init__(self, ladder: Ladder) -> None:
        self.ladder = ladder
        self.read_to: dict[int, int] = {0: BEGINNING}  # by rung: panes that begin before it have been read
        self.first_ms: int | None = None  # of the version's first predictions ...
        self._count = 0  # ... how many have been counted

    def due(self, until_ms: int, starts: Starts) -> list[Step]:
        """Return what is due by a time and has not been read, in due order; ``starts`` says where panes hold predictions."""
        steps = []
        for rung in self.ladder.rungs():
            width, age = self.ladder.width_ms(rung), self.ladder.age_ms(rung)
            since = self.read_to.setdefault(rung, BEGINNING)
            end = floor_to(until_ms - age, width)
            if end > since:
                found = starts(width, since, end)
                # a rung that was decided late reads what is overdue now, not in the past
                dues = (found + width + age).clip(self.ladder.enabled_ms[rung - 1] if rung else BEGINNING)
                steps += [Step(due, rung, start) for due, start in zip(dues.tolist(), found.tolist(), strict=True)]
        return sorted(steps)

    def span(self, step: Step) -> Span:
        """Return the time that a step reads: less than the rung's width where that has just changed."""
        return max(step.start_ms, self.read_to[step.rung]), step.start_ms + self.ladder.width_ms(step.rung)

    def lately(self, rung: int) -> Span | None:
        """Return the last one to two weeks that a rung has read, however panes have merged; None: it has read nothing."""
        end = self.read_to.get(rung, BEGINNING)
        return None if end <= BEGINNING else (int(floor_to(end - WIDTHS_MS[-1], WIDTHS_MS[-1])), end)

    def next_ms(self, watermark_ms: int, *, silence: bool) -> int:
        """Return when something is due next, now that the watermark is here; ``silence``: the end of it too, which closes incidents."""
        ladder = self.ladder
        ends = [next_end(watermark_ms, ladder.width_ms(rung), ladder.age_ms(rung)) for rung in ladder.rungs()]
        if silence:  # so many whole days after the last prediction, and the oldest age
            ends.append(next_end(watermark_ms, DAY_MS, ladder.oldest_ms(watermark_ms)))
        decision = ladder.next_decision()
        return min(ends) if decision is None else min(*ends, decision[0])

    def count(self, reading: Reading) -> bool:
        """Count the first predictions, as they are read at age 0; return whether they are complete now, so that other panes are due."""
        if reading.rung != 0 or self.ladder.learnt_ms is not None:
            return False
        if self.first_ms is None:
            self.first_ms = reading.start_ms
        if len(reading.segments) and reading.segments[0] == 0:
            self._count += int(reading.made[0, MADE.at["n"]])
        if self._count < LEARN_FROM:
            return False
        self.ladder.start(self.first_ms, reading.end_ms)
        return True

    def count_no_more(self) -> bool:
        """Take the predictions there are for the first ones, when no more will come; return whether other panes are due now."""
        if self.ladder.learnt_ms is not None or self.first_ms is None:
            return False
        self.ladder.start(self.first_ms, self.read_to[0])
        return True

    def close(self, watermark_ms: int) -> dict[int, int]:
        """Close what the watermark has passed, where later predictions are late.

        Returns before which time panes may merge to each width, ms: all rungs that read narrower ones have read those.
        """
        rungs = self.ladder.rungs()
        for rung in rungs:
            passed = floor_to(watermark_ms - self.ladder.age_ms(rung), self.ladder.width_ms(rung))
            self.read_to[rung] = max(self.read_to.get(rung, BEGINNING), passed)
        open_ended = self.ladder.to_come()
        if self.ladder.learnt_ms is None:
            open_ended.append(0)  # read pane by pane until its width is known
        narrowest = min((self.ladder.width_ms(rung) for rung in open_ended), default=None)
        frontiers = {}
        for width in WIDTHS_MS[1:]:
            if narrowest is not None and width > narrowest:
                break
            # a rung whose width has just changed begins within a pane of any width: what it has yet to read must not fall before it
            unread = [self.read_to[rung] for rung in rungs if self.ladder.width_ms(rung) < width or self.read_to[rung] % width]
            frontiers[width] = floor_to(min(unread, default=self.read_to[rungs[-1]]), width)
        return frontiers

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {"ladder": self.ladder.to_state(), "read_to": list(self.read_to.items()), "first": [self.first_ms, self._count]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Schedule":
        """Return the schedule that ``to_state`` wrote."""
        schedule = cls(Ladder.from_state(state["ladder"]))
        schedule.read_to = dict(state["read_to"])
        schedule.first_ms, schedule._count = state["first"]
        return schedule
