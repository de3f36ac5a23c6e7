"""River's drift detectors, made fit to be replayed.

River's detectors cannot be stored without pickle, and one NaN silences most of them. So what is kept is their input: the steps since the
last detection, at most a fixed number of events. A detector is rebuilt by feeding it these again. The live one obeys the same bound: when
the log has grown to twice the bound it is cut, and the live detector rebuilt from what is left. So stopping and starting changes nothing.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from river import base

from detectors.river.parameters import Value, checked, kind_of
from detectors.state_version import expect_version

STATE_VERSION = 1
STEP_LIMIT = 10_000  # events that one step feeds at most

_Step = tuple[int, int, int] | float  # events, ones among them, events left out at the start; or a mean


class RiverWatch(base.DriftDetector):  # type: ignore[misc]  # River's classes are Any to mypy
    """A River drift detector by name, stepped on panes.

    A step of n zeros and ones feeds them one by one, the ones spread evenly: a pane has no order, and this gives it the same one
    every time. More than 10,000 events in a step are fed as 10,000 in the same proportion. Not additive, not mergeable: order matters
    to every one of these detectors.

    Parameters
    ----------
    name
        adwin, page-hinkley, kswin, ddm, eddm, hddm-a, hddm-w or fhddm.
    parameters
        The detector's own; the others, and those that are None, keep River's defaults (KSWIN's seed is 0).

    Attributes
    ----------
    direction
        "up", "down" or "both": the changes of the mean that it looks for. FHDDM looks for a fall of what it is fed; it is fed 1 - x here,
        so that a rise of errors is found as its documentation promises.

    Raises
    ------
    ValueError
        If the name or a parameter is unknown or a parameter out of range.

    References
    ----------
    Bifet & Gavaldà, SDM 2007 (ADWIN); Page, Biometrika 41 (1954); Raab, Heusinger & Schleif, Neurocomputing 2020 (KSWIN); Gama et al.,
    SBIA 2004 (DDM); Baena-García et al., IWKDDS 2006 (EDDM); Frías-Blanco et al., TKDE 27 (2015) (HDDM); Pesaranghader & Viktor, ECML 2016
    (FHDDM).

    Examples
    --------
    >>> watch = RiverWatch("adwin", {"delta": 0.01})
    >>> any(watch.step(n=100, ones=5) for pane in range(20)), watch.direction
    (False, 'both')
    >>> [watch.step(n=100, ones=25) for pane in range(3)]
    [True, False, False]

    """

    def __init__(self, name: str, parameters: Mapping[str, Value] | None = None) -> None:
        super().__init__()
        self.name, self._kind = kind_of(name)
        self.parameters = checked(name, {given: value for given, value in (parameters or {}).items() if value is not None})
        self.direction = self._kind.direction(self.parameters)
        self.n_detections = 0
        self._restart([])

    def step(self, n: int, ones: int) -> bool:
        """Feed n events, ``ones`` of them 1 and the rest 0; return whether it detected a change at any of them.

        Raises
        ------
        ValueError
            If they are not whole numbers with 0 <= ones <= n; nothing is fed.

        """
        if not (_whole(n) and _whole(ones) and 0 <= ones <= n):
            raise ValueError(f"expected whole numbers with 0 <= ones <= n, got n = {n!r} and ones = {ones!r}")
        n, ones = int(n), int(ones)
        if n > STEP_LIMIT:
            n, ones = STEP_LIMIT, (2 * ones * STEP_LIMIT + n) // (2 * n)
        return self._take((n, ones, 0)) if n else self._nothing()

    def step_mean(self, mean: float) -> bool:
        """Feed one value, the mean of a pane; return whether it detected a change.

        Raises
        ------
        ValueError
            If the value is not finite, or the detector takes zeros and ones only; nothing is fed.

        """
        if self._kind.binary:
            raise ValueError(f"{self.name} takes zeros and ones, not means: use step(n, ones)")
        if isinstance(mean, bool) or not math.isfinite(mean):
            raise ValueError(f"expected a finite mean, got {mean!r}")
        return self._take(float(mean))

    def update(self, x: float) -> None:
        """Feed one value, as River does; see ``drift_detected``."""
        if self._kind.binary:
            if x not in (0, 1):
                raise ValueError(f"{self.name}: expected 0 or 1, got {x!r}")
            self.step(1, int(x))
        elif isinstance(x, float | int | np.number | np.bool_):
            self.step_mean(float(x))
        else:
            raise ValueError(f"{self.name}: expected a number, got {x!r}")

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain data: version, name, parameters and the steps that the detector is rebuilt from.

        Steps are [times, mean] or [times, n, ones, left out]; equal neighbours are one.
        """
        runs: list[list[float]] = []
        for entry in self._log:
            step = list(entry) if isinstance(entry, tuple) else [entry]
            if runs and runs[-1][1:] == step:
                runs[-1][0] += 1
            else:
                runs.append([1, *step])
        return {
            "version": STATE_VERSION,
            "name": self.name,
            "parameters": dict(self.parameters),
            "n_detections": self.n_detections,
            "detected": self._drift_detected,
            "steps": runs,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the detector whose state ``to_state`` gave.

        Raises
        ------
        ValueError
            If the state is of another version, or its parameters would be refused.

        """
        expect_version(state, STATE_VERSION, "a detector's state", then="feed it again")
        watch = cls(state["name"], state["parameters"])
        log: list[_Step] = []
        for times, *step in state["steps"]:
            entry: _Step = float(step[0]) if len(step) == 1 else (int(step[0]), int(step[1]), int(step[2]))
            log.extend([entry] * int(times))
        watch._restart(log)
        watch.n_detections = int(state["n_detections"])
        watch._drift_detected = bool(state["detected"])
        return watch

    def _nothing(self) -> bool:
        self._drift_detected = False
        return False

    def _take(self, step: _Step) -> bool:
        self._drift_detected = False
        while True:
            at = self._feed(step)
            if at is None:
                break
            self._drift_detected = True
            self.n_detections += 1
            self._restart([])
            if not isinstance(step, tuple) or at + 1 == step[0]:
                return True
            step = (step[0], step[1], at + 1)
        self._log.append(step)
        self._events += _size(step)
        if self._events > 2 * self._kind.memory:
            self._cut()
        return self._drift_detected

    def _feed(self, step: _Step) -> int | None:
        """Feed a step; return the position of the first detection, where feeding ended."""
        if not isinstance(step, tuple):
            self._detector.update(step)
            return 0 if self._detector.drift_detected else None
        n, ones, skip = step
        detector, flipped = self._detector, self._kind.flipped
        before = skip * ones // n
        for at in range(skip, n):
            upto = (at + 1) * ones // n
            detector.update(1 - upto + before if flipped else upto - before)
            if detector.drift_detected:
                return at
            before = upto
        return None

    def _restart(self, log: list[_Step]) -> None:
        """Begin anew and feed a log; what is detected on the way was reported before, or is an effect of the cut."""
        given = {name: value for name, value in self.parameters.items() if value is not None}
        self._detector = self._kind.make(**given)
        self._log = log
        self._events = sum(map(_size, log))
        for step in log:
            at = self._feed(step)
            while at is not None and isinstance(step, tuple) and at + 1 < step[0]:
                at = self._feed((step[0], step[1], at + 1))

    def _cut(self) -> None:
        """Keep the latest steps, as many as the bound allows and at least one, and rebuild from them."""
        kept = 0
        first = len(self._log)
        while first > 0 and (first == len(self._log) or kept + _size(self._log[first - 1]) <= self._kind.memory):
            first -= 1
            kept += _size(self._log[first])
        self._restart(self._log[first:])


def _size(step: _Step) -> int:
    return step[0] - step[2] if isinstance(step, tuple) else 1


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
