"""Alert fatigue: what a model's alerts do to those who receive them. One file a kind, found by itself.

A module of ``detectors.fatigue.kinds`` that has a ``KIND`` (a subclass of ``Kind``) is one. Every model has one object of each. It reads
the model's ledger as far as the watermark has come, in due order, and says at which times a unit's alerts began to be too many or too poor,
and when that was over. Kinds that count know from published thresholds when that is; kinds that watch a rate bet on it.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from detectors.fatigue.ledger import Ledger
from detectors.fatigue.recent import Settled
from detectors.fixed import Ints
from detectors.reading import BEFORE
from detectors.signals import Estimate
from schemas.fatigue import FatigueKind
from schemas.policy_models import ModelPolicy


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A unit's alerts became too many or too poor, or are so no longer."""

    time_ms: int
    kind: FatigueKind
    unit: int
    opened: bool
    value: float
    threshold: float
    window: tuple[int, int]  # epoch ms, of the alerts that it rests on
    said: str  # the sentence; ``{whom}`` stands for the unit and its model
    evidence: float | None = None
    baseline: Estimate | None = None
    current: Estimate | None = None


class Kind(ABC):
    """The interface of a kind."""

    name: ClassVar[FatigueKind]
    reach_ms: int = 0  # of the latest alerts one by one, how long before the watermark they are needed

    def __init__(self, ledger: Ledger, policy: ModelPolicy) -> None:
        self.ledger, self.policy = ledger, policy
        self.read_to = BEFORE  # everything before it has been read

    @abstractmethod
    def step(self, settled: Settled, until_ms: int) -> list[Turn]:
        """Read what lies before ``until_ms`` and was not read before; ``settled`` are the latest alerts one by one.

        A kind that counts says of what lasts that it opens with every step in which it would: who was told before knows it.
        """

    def reads_from(self, now_ms: int) -> int:
        """Return from which event time on it may still read the sums of single hours; it grows with time, however the log is cut."""
        return self.read_to

    def moved(self) -> bool:
        """Say whether a step without a turn has changed more than how far time has come, since this was asked last."""
        return False

    def use(self, policy: ModelPolicy) -> bool:
        """Follow another policy from here on; return whether everything that is open must be closed."""
        self.policy = policy
        return False

    @property
    def learns(self) -> bool:
        """Whether what is normal is learnt from a unit's own past."""
        return False

    def relearn(self, unit: int) -> bool:
        """Take what a unit sees now for normal; return whether that closes what is open."""
        return False

    def reset(self) -> bool:
        """Begin anew with all that was learnt; return whether that closes what is open: counts have learnt nothing."""
        return False

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return {"read_to": self.read_to}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.read_to = state["read_to"]


def alternate(rises: Ints, falls: Ints, is_open: bool) -> list[tuple[int, bool]]:
    """Return the positions at which a two-level switch turns, each with whether it turned on; both given ascending and distinct.

    If it is on at first, the first rise is among them, unless it falls by then.

    >>> alternate(np.array([2, 4, 9]), np.array([1, 6, 7]), is_open=False)
    [(2, True), (6, False), (9, True)]
    >>> alternate(np.array([2, 4, 9]), np.array([6, 7]), is_open=True)
    [(2, True), (6, False), (9, True)]
    """
    out: list[tuple[int, bool]] = []
    if is_open and len(rises) and not (len(falls) and falls[0] <= rises[0]):
        out.append((int(rises[0]), True))
    at = None
    while True:
        among = falls if is_open else rises
        i = 0 if at is None else int(np.searchsorted(among, at, side="right"))
        if i >= len(among):
            return out
        at, is_open = int(among[i]), not is_open
        out.append((at, is_open))


def texts_of(names: Iterable[str], most: int = 3) -> str:
    """Write some names, and how many more there are.

    >>> texts_of(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


@cache
def discover() -> dict[str, type[Kind]]:
    """Return every kind by name, in the order of the names.

    >>> set(discover()) == set(FatigueKind)
    True
    """
    from detectors.fatigue import kinds  # noqa: PLC0415  they need what is above

    found: dict[str, type[Kind]] = {}
    for module in sorted(pkgutil.iter_modules(kinds.__path__), key=lambda item: item.name):
        kind = getattr(importlib.import_module(f"{kinds.__name__}.{module.name}"), "KIND", None)
        if kind is not None:
            found[kind.name.value] = kind
    return found
