"""River's drift detectors on the aggregate: while a baseline is made, or as a policy chose: in place of the bank's monitor or beside it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from detectors.bets import Bet
from detectors.fixed import Floats
from detectors.monitors import ARMED, LEARNING
from detectors.panel import Crossing, Panel
from detectors.remarks import WARM_UP, WATCH
from detectors.river.drift import RiverWatch
from detectors.river.parameters import checked, kind_of
from detectors.signals import Note
from detectors.tracks import BANK, TAKEN, ZEROS_AND_ONES, Track

# Zeros and ones of one pane; more are thinned evenly, so that the work is per pane and not per event. That makes the watch slower, not
# quicker to fire. What is left over of the ones is carried to the next pane: rounded away, a rate below half a percent would read as none.
_MOST = 100
DEFAULT = "adwin"

Key = tuple[str, int]  # family and rung


class WarmUp:
    """One detector per (family, rung), fed in rung order with a pane's zeros and ones spread evenly, or with its mean."""

    def __init__(self) -> None:
        self.watches: dict[Key, RiverWatch] = {}
        self.carried: dict[Key, float] = {}  # ones that thinning still owes

    def listen(self, panel: Panel, obs: Floats, due_ms: int) -> tuple[list[Crossing], list[Note]]:
        """Feed the aggregate's observations, shape (families, width); return whom pagers have called out, and what watches have noted."""
        crossings: list[Crossing] = []
        notes: list[Note] = []
        sizes: list[float] = []
        for i, tracks in enumerate(panel.tracks_of):
            track, standing = panel.tracks[tracks[0]], _standing(panel, tracks[0])
            if not _runs(panel.bet, track, standing=standing):
                continue
            sizes = sizes or panel.bet.size(obs).tolist()
            if not sizes[i] > 0:
                continue
            if not self._feed((track.family.name, panel.rung), panel.bet, obs[i], track):
                continue
            if standing and track.paged_by != BANK:
                crossings += [panel.leading(int(panel.rows[t, 0])) for t in tracks if panel.monitors.state[panel.rows[t, 0]] == ARMED]
                continue
            text = f"{track.river or DEFAULT} sees a change of the {track.family.noun}; "
            text += "it watches beside the evidence bank and pages nobody" if standing else "no baseline stands yet, so nobody is paged"
            key = panel.key(int(panel.rows[tracks[0], 0]), 0)
            notes.append(Note(what=WATCH if standing else WARM_UP, key=key, due_ms=due_ms, text=text))
        return crossings, notes

    def _feed(self, key: Key, bet: Bet, obs: Floats, track: Track) -> bool:
        detector, parameters = track.river or DEFAULT, dict(track.parameters)
        if TAKEN.get(bet.name) == ZEROS_AND_ONES:
            return self.step(key, int(obs[0]), int(obs[1]), detector=detector, parameters=parameters)
        return self._watch(key, detector, parameters).step_mean(bet.mean(obs))

    def _watch(self, key: Key, detector: str, parameters: dict[str, Any]) -> RiverWatch:
        if key not in self.watches:
            self.watches[key] = RiverWatch(detector, parameters)
        return self.watches[key]

    def step(self, key: Key, n: int, x: int, *, detector: str, parameters: dict[str, Any]) -> bool:
        """Add ``x`` failures in ``n`` events; return whether the detector fired."""
        watch = self._watch(key, detector, parameters)
        if n > _MOST:
            owed = x * _MOST / n + self.carried.get(key, 0.0)
            n, x = _MOST, min(math.floor(owed), _MOST)
            self.carried[key] = owed - x
        return watch.step(n, x)

    def drop(self, family: str, rung: int) -> None:
        """End a watch: the baseline stands."""
        self.watches.pop((family, rung), None)
        self.carried.pop((family, rung), None)

    def keep(self, panels: Mapping[int, Iterable[Panel]]) -> None:
        """End the watches that the policy in force would not have made: of another detector, with other parameters, of what it drops."""
        wanted: dict[Key, Track] = {}
        for rung, each in panels.items():
            for panel in each:
                for first in (tracks[0] for tracks in panel.tracks_of):
                    if _runs(panel.bet, panel.tracks[first], standing=_standing(panel, first)):
                        wanted[panel.tracks[first].family.name, rung] = panel.tracks[first]
        for key, watch in list(self.watches.items()):
            track = wanted.get(key)
            name = kind_of(track.river or DEFAULT)[0] if track is not None else ""
            if track is None or (watch.name, watch.parameters) != (name, checked(name, track.parameters)):
                self.drop(*key)

    def to_state(self) -> list[Any]:
        """Return the state as plain values and raw bytes."""
        return [[*key, self.carried.get(key, 0.0), watch.to_state()] for key, watch in sorted(self.watches.items())]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.watches = {(family, rung): RiverWatch.from_state(saved) for family, rung, _, saved in state}
        self.carried = {(family, rung): carried for family, rung, carried, _ in state}


def _standing(panel: Panel, track: int) -> bool:
    row = int(panel.rows[track, 0])
    return row >= 0 and panel.monitors.state[row] != LEARNING


def _runs(bet: Bet, track: Track, *, standing: bool) -> bool:
    """Say whether a River detector runs on a family: the one that was chosen; and else on rates, until a baseline stands."""
    return bool(track.river) or (TAKEN.get(bet.name) == ZEROS_AND_ONES and not standing)
