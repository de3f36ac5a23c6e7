"""Scenarios: published stories of models that failed, played again with made-up records whose truth is known.

One file each, found by itself: a module of this folder that has a ``SCENARIO`` is one. Its figures are those of the publication that it
names; the records are random, from a seed. Each has a calm twin: the same traffic, and nothing goes wrong.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from schemas.policy import Policy, parse_policy

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
START_MS = 1_736_121_600_000  # 2025-01-06, a Monday; long enough ago that no label lies in the future
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An event that must come: of this type or under it, of this kind, and about this group among others; empty: whoever."""

    type: str
    kind: str
    segment: dict[str, str] = field(default_factory=dict)
    metric: str = ""
    unit: str = ""  # of a fatigue event


@dataclass(kw_only=True)
class Logs:
    """What producers would have sent, in no particular order, and what is known of it."""

    predictions: list[Record] = field(default_factory=list)
    outcomes: list[Record] = field(default_factory=list)
    control: list[Record] = field(default_factory=list)
    changed_ms: int | None = None  # when it went wrong; None: it did not, or it was so from the beginning
    truth: dict[str, float] = field(default_factory=dict)  # what the generator knows, by name

    @property
    def days(self) -> float:
        """The span of the predictions."""
        at = [record["timestamp"] for record in self.predictions]
        return float(max(at) - min(at)) / DAY_MS


@dataclass(frozen=True, kw_only=True)
class Play:
    """What a generator is given."""

    rng: np.random.Generator
    calm: bool
    scale: float  # of the traffic; 1: as in the story

    def count(self, n: float) -> int:
        """Return a number of records at this scale, at least one."""
        return max(1, round(n * self.scale))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A story.

    ``twin`` is the scale at which the calm twin is played many times over, ``demo`` that of the demo; ``expects`` what must be raised, in
    any order.
    """

    name: str
    title: str
    source: str
    policy: str
    make: Callable[[Play], Logs]
    expects: tuple[Expected, ...]
    twin: float = 0.1
    demo: float = 0.5

    def play(self, *, seed: int, calm: bool = False, scale: float = 1.0) -> Logs:
        """Return the records of one run; the same for the same arguments."""
        return self.make(Play(rng=np.random.default_rng([seed, calm]), calm=calm, scale=scale))

    def read_policy(self, *, pages: float | None = None, days: float = 30.0) -> Policy:
        """Return the policy; with a budget of ``pages`` in ``days`` if one is given."""
        budget = "" if pages is None else f"[defaults]\nbudget = {{ pages = {pages!r}, days = {days!r} }}\n\n"
        return parse_policy(budget + self.policy)


@cache
def discover() -> dict[str, Scenario]:
    """Return every scenario by name.

    >>> "recession" in discover()
    True
    """
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    loaded = [importlib.import_module(f"{__name__}.{name}") for name in modules]
    return {module.SCENARIO.name: module.SCENARIO for module in loaded if hasattr(module, "SCENARIO")}
