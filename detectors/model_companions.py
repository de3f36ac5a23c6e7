"""All companions of one model, driven together."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from detectors.companions import Companion, discover
from detectors.fixed import Ints
from detectors.incident import Listed
from detectors.model_version import ModelVersion
from detectors.standing import Baseline
from schemas.control import Control
from schemas.figures import SegmentFigures
from schemas.findings import Event
from schemas.policy_models import ModelPolicy
from schemas.scored import Rows

COMPANIONS = ""  # in place of a version's name: the state of a model's companions


class ModelCompanions:
    """One object of each companion; see ``detectors.companions``.

    >>> ModelCompanions("m", ModelPolicy()).to_state()
    {}
    """

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        self.members: dict[str, Companion] = {name: companion(model_id, policy) for name, companion in discover().items()}
        self._filling, self._minding, self._weighing, self._learning = (
            [each for each in self.members.values() if getattr(type(each), name) is not getattr(Companion, name)]
            for name in ("figures", "minds", "weight", "baselines")
        )
        self._next_ms: dict[str, int] = {}  # by member: nothing is due before it; not there: anything may be

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the picked rows of one scored message, of any version."""
        for member in self.members.values():
            member.add(rows, where)

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Step what is due by the watermark; return what was found. A companion hears of the findings of those before it, too."""
        heard = list(found)
        withheld = any(version.unsaid for version in versions.values())
        for name, member in self.members.items():
            if watermark_ms < self._next_ms.get(name, watermark_ms) and not heard and not withheld:
                member.take_back_time(watermark_ms)
                continue
            heard += member.advance(watermark_ms, versions, heard)
            self._next_ms[name] = member.next_ms(watermark_ms)
        return heard[len(found) :]

    def wake(self) -> None:
        """Look at every companion at the next watermark, whatever it is."""
        self._next_ms.clear()

    def is_due(self, watermark_ms: int) -> bool:
        """Say whether a watermark may bring more than the passing of time to any of them."""
        return any(watermark_ms >= self._next_ms.get(name, watermark_ms) for name in self.members)

    def mind(self, rows: Rows) -> bool:
        """Say whether a message of plain rows may not wait for the next due time."""
        return any(member.minds(rows) for member in self._minding)

    def next_ms(self, watermark_ms: int) -> int:
        """Return a time before which ``advance`` would only let time pass, now that the watermark is here."""
        return min(self._next_ms[name] if name in self._next_ms else each.next_ms(watermark_ms) for name, each in self.members.items())

    def baselines(self) -> list[Baseline]:
        """Return the baselines that were estimated since this was asked last."""
        return [each for member in self._learning for each in member.baselines()]

    def moved(self) -> bool:
        """Say whether a state has been changed by ``advance`` since this was asked last."""
        moved = [member for member in self.members.values() if member.moved]
        for member in moved:
            member.moved = type(member).moved
        return bool(moved)

    def take_back_time(self, watermark_ms: int) -> None:
        """Let the time pass that had passed when the state was taken."""
        for member in self.members.values():
            member.take_back_time(watermark_ms)

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy from here on."""
        return [event for member in self.members.values() for event in member.use(policy)]

    def decide(self, control: Control) -> list[Event]:
        """Apply what people decided."""
        return [event for member in self.members.values() for event in member.decide(control)]

    def heed(self, ended: Sequence[Event]) -> list[Event]:
        """Hear of what a decision or a policy has ended, by the versions' banks or by companions."""
        return [event for member in self.members.values() for event in member.heed(ended)]

    def weight(self, due_ms: int) -> float:
        """Return the part of the model's budget that the companions spend at a due time."""
        return sum(member.weight(due_ms) for member in self._weighing)

    def listed(self) -> list[Listed]:
        """Return the companions' open incidents."""
        return [each for member in self.members.values() for each in member.listed()]

    def withheld(self) -> int:
        """Return how many events of the companions' incidents a snooze has kept back."""
        return sum(member.withheld() for member in self.members.values())

    def filled(self, version: ModelVersion, figures: SegmentFigures) -> SegmentFigures:
        """Return a segment's figures with what the companions know of it."""
        found = {name: part for member in self._filling for name, part in member.figures(version, figures.segment).items()}
        return msgspec.structs.replace(figures, **found) if found else figures

    def report(self, version: ModelVersion) -> dict[str, Any]:
        """Return what there is to report of a version, by field."""
        parts = {name: member.report(version) for name, member in self.members.items()}
        return {name: part for name, part in parts.items() if part is not None}

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        states = {name: member.to_state() for name, member in self.members.items()}
        return {name: state for name, state in states.items() if state is not None}

    def load(self, states: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If a companion's state is of another version, or there is no such companion.

        """
        for name, state in states.items():
            if name not in self.members:
                raise ValueError(f"expected one of the companions {', '.join(self.members)}, got {name!r}")
            self.members[name].load(state)
