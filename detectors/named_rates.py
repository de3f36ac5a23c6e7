"""Rates with names that nobody knows beforehand: of checks, of kinds of probes. The bank's machinery, one panel a name.

Evidence is on the share of events that failed, so that a baseline asks for failures and a rise of them is what is watched; people are
told of the share that passed. An event may fail in part (three of ten citations): it is one event with a share between 0 and 1. A
bet ``(p/m0)**x * ((1-p)/(1-m0))**(1-x)`` is convex in ``x``, so it is fair for any such share whose mean is at most ``m0``, however the
parts of one event hang together.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from detectors.bank import Bank
from detectors.baselines.coverage import CoverageGuard
from detectors.bets import Family
from detectors.bets.rates import RateBet
from detectors.cells import BIN, KNOWN, MADE
from detectors.families import family
from detectors.fixed import Floats, Ints
from detectors.monitors import ACTIVE
from detectors.panel import Crossing, Panel
from detectors.reading import Reading
from detectors.signals import Alarm, Cleared, Estimate, Moved, Signal
from detectors.tracks import Track

PART = 0.1  # of the model's budget, for each companion that watches rates by name
SHARE_BITS = 20
SHARE_UNIT = 2.0**-SHARE_BITS  # of an event's failed share


@dataclass(frozen=True, kw_only=True)
class RateReading(Reading):
    """What a rung sees of one pane: by name, (events, failed shares in ``SHARE_UNIT``) of each segment, shape (s, 2)."""

    counts: Mapping[str, Ints] = field(default_factory=dict)


def rate_reading(
    *, rung: int, age_ms: int, start_ms: int, end_ms: int, mature: bool, segments: Ints, counts: Mapping[str, Ints]
) -> RateReading:
    """Return what a rung sees of one pane, given by name; of the sums that other bets read there are none."""
    none = np.zeros((0, 0, BIN.width), dtype=np.int64)
    return RateReading(
        rung=rung,
        age_ms=age_ms,
        start_ms=start_ms,
        end_ms=end_ms,
        due_ms=end_ms + age_ms,
        mature=mature,
        segments=segments,
        made=MADE.zeros(0),
        known=KNOWN.zeros(0),
        made_bins=none,
        known_bins=none,
        counts=counts,
    )


class NamedRateBet(RateBet):
    """``RateBet`` on the failures of one name.

    >>> bet = NamedRateBet("check:citation")
    >>> bet.name, bet.families[0].noun
    ('check:citation', 'pass rate of citation')
    """

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]  # of the object: there is one bet for each name
        self.families = (family(name),)  # type: ignore[misc, assignment]

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return (events, failures), shape (1, segments, 2).

        A correction can outrun what it corrects, where two workers wrote them; what is less than nothing until then is taken for nothing.
        """
        out = np.zeros((1, len(reading.segments), 2))
        counts = reading.counts.get(self.name) if isinstance(reading, RateReading) else None
        if counts is not None:
            out[0, :, 0] = np.maximum(counts[:, 0], 0)
            out[0, :, 1] = np.clip(counts[:, 1] * SHARE_UNIT, 0.0, out[0, :, 0])
        return out


class NamedBank(Bank):
    """A bank whose panels are made as names appear; who inherits says by which rule each is watched."""

    part = PART

    @abstractmethod
    def track(self, name: str) -> Track | None:
        """Return how a name is watched; None: not at all."""

    def _panels(self, reading: Reading) -> list[Panel]:
        panels = self.panels.setdefault(reading.rung, [])
        self.mature[reading.rung] = reading.mature
        known = {panel.bet.name for panel in panels}
        for name in sorted(reading.counts) if isinstance(reading, RateReading) else ():
            if name not in known:
                panels += self._build(reading.rung, reading.mature, (name,))
        return panels

    def _build(self, rung: int, mature: bool, names: Sequence[str] = ()) -> list[Panel]:
        tracks = [(name, self.track(name)) for name in names]
        return [Panel(NamedRateBet(name), [track], rung=rung, rule=self.rule) for name, track in tracks if track is not None]

    def sizes(self, reading: Reading) -> tuple[Ints | None, Ints | None]:
        """Return the events of all names by segment: there are no predictions beside them."""
        counts = reading.counts.values() if isinstance(reading, RateReading) else ()
        events = np.sum([np.maximum(each[:, 0], 0) for each in counts], axis=0) if counts else None
        return events if reading.rung == 0 else None, events if reading.mature else None

    def _guard(self, reading: Reading) -> CoverageGuard | None:
        return None

    def _river(self, panel: Panel, obs: Floats, reading: Reading, signals: list[Signal]) -> list[Crossing]:
        return []


def named_track(name: str, *, baseline: float | None, tolerance: float | None) -> Track:
    """Return the track of a name; ``baseline`` is the share that was promised to pass."""
    watched = family(name)
    return Track(
        family=watched,
        direction=watched.directions[0],
        tolerance=watched.tolerance if tolerance is None else tolerance,
        contract=None if baseline is None else 1 - baseline,
    )


def as_told(signal: Signal) -> Signal:
    """Return a signal in terms of what passed: the evidence is on what failed."""
    if isinstance(signal, Alarm):
        return replace(signal, direction="down", baseline=passed(signal.baseline), current=passed(signal.current))
    if isinstance(signal, Moved):
        return replace(signal, baseline=passed(signal.baseline), current=passed(signal.current))
    return replace(signal, current=passed(signal.current)) if isinstance(signal, Cleared) else signal


def passed(failed: Estimate) -> Estimate:
    """Return the share that passed, of the share that failed.

    >>> passed(Estimate(0.25, 0.125, 0.5, 40))
    Estimate(value=0.75, lo=0.5, hi=0.875, n=40)
    """
    return Estimate(1 - failed.value, 1 - failed.hi, 1 - failed.lo, failed.n)


def standing(bank: Bank, name: str) -> tuple[str, Estimate | None]:
    """Return what the monitors of a name's aggregate are at, and the baseline of the oldest age that has one."""
    state, baseline = "learning", None
    for _, panels in sorted(bank.panels.items()):
        for panel in panels:
            if panel.bet.name == name and len(panel.rows) and panel.rows[0, 0] >= 0:
                row = int(panel.rows[0, 0])
                code = int(panel.monitors.state[row])
                if code:
                    baseline = passed(Estimate(*panel.monitors.base[row].tolist()))
                    state = "alarm" if code == ACTIVE or state == "alarm" else "watching"
    return state, baseline
