"""Our evidence as a River drift detector: one stream, one event at a time, for pipelines of River's."""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from river import base

from detectors.baselines.wilson import wilson
from detectors.bets.rates import RATIOS
from detectors.state_version import expect_version

STATE_VERSION = 1
_EDGE = 1e-6  # a baseline of 0 or 1 would lose everything at the first event that it did not foresee


class EvidenceDetector(base.DriftDetector):  # type: ignore[misc]  # River's classes are Any to mypy
    """A change of the mean of values in [0, 1], by a Shiryaev-Roberts e-detector against a frozen baseline.

    Where the mean stays on the baseline's side, whatever the dependence between events, it is expected to fire at most
    ``false_alarms`` times an event; with a learnt baseline this holds as far as the baseline's bound does, which is Wilson's of 95 %.
    Two directions share the rate. After a detection the evidence starts from zero, and a learnt baseline is learnt anew. Not additive,
    not mergeable: order matters.

    Parameters
    ----------
    baseline
        The mean that is expected; None: learnt from the first events.
    learn_from
        How many events a baseline is learnt from.
    false_alarms
        How often it may fire for nothing, per event.
    direction
        "up", "down" or "both": the changes that it looks for.

    Raises
    ------
    ValueError
        If a parameter is out of range. From ``update``, if a value is not in [0, 1]; the state is left as it was.

    References
    ----------
    Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors.

    Examples
    --------
    >>> detector = EvidenceDetector(baseline=0.05)
    >>> for error in [0] * 19 + [1]:
    ...     detector.update(error)
    >>> detector.drift_detected
    False
    >>> for error in [0, 0, 1] * 40:
    ...     detector.update(error)
    >>> detector.n_detections
    3

    """

    def __init__(self, baseline: float | None = None, learn_from: int = 1_000, false_alarms: float = 1e-6, direction: str = "up") -> None:
        super().__init__()
        if baseline is not None and not 0 <= baseline <= 1:
            raise ValueError(f"expected a baseline in [0, 1], got {baseline!r}")
        if not isinstance(learn_from, int) or isinstance(learn_from, bool) or learn_from < 1:
            raise ValueError(f"expected to learn from a whole number of events, at least one, got {learn_from!r}")
        if not 0 < false_alarms < 1:
            raise ValueError(f"expected false alarms per event in (0, 1), got {false_alarms!r}")
        if direction not in ("up", "down", "both"):
            raise ValueError(f"expected a direction of up, down or both, got {direction!r}")
        self.baseline, self.learn_from, self.false_alarms, self.direction = baseline, learn_from, false_alarms, direction
        self.n_detections = 0
        self._restart()

    def update(self, x: float) -> None:
        """Take one value; see ``drift_detected``."""
        if not isinstance(x, float | int | np.number | np.bool_) or not 0 <= x <= 1:  # NaN is not, either
            raise ValueError(f"expected a value in [0, 1], got {x!r}")
        self._drift_detected = False
        if not self._bets:
            self._learn(float(x))
            return
        for bets, evidence in zip(self._bets, self._evidence, strict=True):
            for j, (won, lost) in enumerate(bets):
                evidence[j] = (evidence[j] + self._deposit) * math.exp(x * won + (1 - x) * lost)
            if sum(evidence) >= len(evidence):
                self._drift_detected = True
        if self._drift_detected:
            self.n_detections += 1
            self._restart()

    def _restart(self) -> None:
        self._n, self._sum = 0, 0.0
        self._bets: list[list[tuple[float, float]]] = []  # by direction and alternative: log factors of a one and of a zero
        self._evidence: list[list[float]] = []
        if self.baseline is not None:
            self._arm(self.baseline, self.baseline)

    def _learn(self, x: float) -> None:
        self._n, self._sum = self._n + 1, self._sum + x
        if self._n >= self.learn_from:
            self._arm(*wilson(self._n, self._sum))

    def _arm(self, lo: float, hi: float) -> None:
        edges = {"up": (hi, 1), "down": (lo, -1)}
        chosen = list(edges.values()) if self.direction == "both" else [edges[self.direction]]
        self._deposit = self.false_alarms / len(chosen)
        for edge, sign in chosen:
            null = min(max(edge, _EDGE), 1 - _EDGE)
            odds = [null / (1 - null) * ratio**sign for ratio in RATIOS.tolist()]
            self._bets.append([(math.log(o / (1 + o) / null), math.log(1 / (1 + o) / (1 - null))) for o in odds])
            self._evidence.append([0.0] * len(odds))

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return {
            "version": STATE_VERSION,
            "parameters": [self.baseline, self.learn_from, self.false_alarms, self.direction],
            "n_detections": self.n_detections,
            "detected": self.drift_detected,
            "learnt": [self._n, self._sum],
            "evidence": [list(each) for each in self._evidence],
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
        detector = cls(*state["parameters"])
        detector.n_detections, detector._drift_detected = state["n_detections"], state["detected"]
        detector._n, detector._sum = state["learnt"]
        if state["evidence"] and not detector._bets:
            detector._arm(*wilson(detector._n, detector._sum))
        detector._evidence = [list(each) for each in state["evidence"]]
        return detector
