"""Companions: what is watched of a model beside the evidence bank of each version. One file each, found by itself.

A module of this folder that has a ``COMPANION`` (a subclass of ``Companion``) is one. Every model has one object of each; it sees the rows
of all versions, is told when the watermark moves and what the banks found, and may find something itself. It is part of the fold: it reads
no clock, and what it finds depends on the rows and the event times alone, not on how they were cut into batches. So it steps windows of
event time in due order, and a finding's time is its due time.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from detectors.fixed import Ints
from detectors.panes import BEGINNING, END
from schemas.control import Control
from schemas.findings import Event
from schemas.policy_models import ModelPolicy
from schemas.scored import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from detectors.incident import Listed
    from detectors.model_version import ModelVersion
    from detectors.standing import Baseline


NEVER = END  # nothing will be due


class Companion(ABC):
    """The interface of a companion.

    Parameters
    ----------
    model_id
        Of the model.
    policy
        Of the model, at the start; ``use`` brings the next one.

    """

    name: ClassVar[str]  # of its state, and of its field in the report
    moved: bool = True  # whether ``advance`` has changed the state; one that knows says so, and checkpoints leave it out otherwise

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        self.model_id, self.policy = model_id, policy

    @abstractmethod
    def add(self, rows: Rows, where: Ints) -> None:
        """Add the picked rows of one scored message; of any version and kind, all of this model.

        Its versions past the cap go by the name ``segments.OTHER`` together, so what is kept by version is bounded.
        """

    @abstractmethod
    def advance(self, watermark_ms: int, versions: "Mapping[str, ModelVersion]", found: Sequence[Event]) -> list[Event]:
        """Step what is due by the watermark; ``found`` is what the versions' banks found on the way there, in order."""

    @abstractmethod
    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values and bytes, versioned; None while there is nothing to keep."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave; raises ``ValueError`` if it is of another version."""

    def minds(self, rows: Rows) -> bool:
        """Say whether a message of plain rows (``detectors.waiting``) may not wait for the next due time.

        One may not that brings it nearer, or that changes the weight: plain rows may not be seen before something of its own is due.
        """
        return False

    def next_ms(self, watermark_ms: int) -> int:
        """Return a time before which ``advance`` would only let time pass, now that the watermark is here; the beginning: not known."""
        return BEGINNING

    def take_back_time(self, watermark_ms: int) -> None:  # noqa: B027  # most have no time of their own
        """Let the time pass that had passed when the state was taken, where ``moved`` said that nothing else had changed."""

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy from here on; return the events of what it ends."""
        self.policy = policy
        return []

    def decide(self, control: Control) -> list[Event]:
        """Apply what people decided; a record that is about something else changes nothing."""
        return []

    def heed(self, ended: Sequence[Event]) -> list[Event]:
        """Hear of what a decision or a policy has ended, which ``advance`` is not told of; return what comes of it."""
        return []

    def baselines(self) -> "list[Baseline]":
        """Return the baselines that were estimated since this was asked last, for the audit trail."""
        return []

    def weight(self, due_ms: int) -> float:
        """Return the part of the model's budget of false alarms that it spends at a due time, by what came before."""
        return 0.0

    def listed(self) -> "list[Listed]":
        """Return its open incidents, for those who are to decide about them."""
        return []

    def withheld(self) -> int:
        """Return how many events of its incidents a snooze has kept back; never part of the state."""
        return 0

    def figures(self, version: "ModelVersion", segment: dict[str, str]) -> dict[str, Any]:
        """Return fields of a segment's figures that it fills, by name; a segment is {dimension: value}."""
        return {}

    def report(self, version: "ModelVersion") -> Any:
        """Return the version's part of the report, for the field named as the companion; None: there is none."""
        return None


class Tally(Companion):
    """A companion that counts for the report: nothing is ever due to it, and it finds nothing."""

    moved = False

    def next_ms(self, watermark_ms: int) -> int:
        """Return that nothing will be due."""
        return NEVER

    def advance(self, watermark_ms: int, versions: "Mapping[str, ModelVersion]", found: Sequence[Event]) -> list[Event]:
        """Find nothing."""
        return []


@cache
def discover() -> dict[str, type[Companion]]:
    """Return every companion of this folder by name, in the order of the names.

    >>> all(issubclass(companion, Companion) for companion in discover().values())
    True
    """
    found: dict[str, type[Companion]] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda item: item.name):
        companion = getattr(importlib.import_module(f"{__name__}.{module.name}"), "COMPANION", None)
        if companion is not None:
            found[companion.name] = companion
    return found
