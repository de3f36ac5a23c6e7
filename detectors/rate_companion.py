"""What the companions that watch rates by name have in common: a ``RateWatch`` for each version, and their part of the budget."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detectors.companions import NEVER, Companion
from detectors.fixed import Ints
from detectors.incident import Listed
from detectors.ladder import DAY_MS
from detectors.model_version import ModelVersion
from detectors.named_rates import PART
from detectors.panes import BEGINNING
from detectors.reading import BEFORE
from detectors.segments import OTHER
from detectors.standing import Baseline
from detectors.state_version import expect_version
from schemas.control import Control
from schemas.findings import Event
from schemas.policy_models import ModelPolicy
from schemas.scored import Rows

STATE_VERSION = 1
SHARING_DAYS = 30  # as of the banks: a version without predictions for so long leaves its part to the others


class RateCompanion(Companion):
    """Rates by name of all versions of a model.

    What is watched costs a tenth of the model's budget once the first event of a watched name has become known, by event time; before that
    nothing. Versions with predictions of late share it evenly.
    """

    moved = False
    state_version = STATE_VERSION

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.versions: dict[str, Any] = {}  # of what ``new`` makes
        self.first_ms = -BEFORE  # when the first event of a watched name became known
        self.watermark_ms = BEGINNING

    @abstractmethod
    def new(self, name: str) -> Any:
        """Return the watch of a version that has had none: a ``RateWatch``, or what has its methods."""

    @abstractmethod
    def picked(self, rows: Rows, where: Ints) -> Ints:
        """Return which of the picked rows it is about."""

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the picked rows of one scored message, of any version."""
        if not self.may_pick(rows):
            return
        for name, mine in rows.by_version(self.picked(rows, where)):
            if name not in self.versions:
                self.versions[name] = self.new(name)
            self.first_ms = min(self.first_ms, self.versions[name].add(rows, mine))

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Step what is due by the watermark."""
        events: list[Event] = []
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        for name in sorted(self.versions):
            mine = self.versions[name]
            events += mine.advance(self.watermark_ms, self._share(name, versions), versions.get(name, versions.get(OTHER)))
            self.moved, mine.stepped = self.moved or mine.stepped, False
        return events

    def minds(self, rows: Rows) -> bool:
        """Say whether a message may be the first that it sees of a version."""
        return self.may_pick(rows) and any(name not in self.versions for name in rows.versions)

    def may_pick(self, rows: Rows) -> bool:
        """Say, by the columns alone, whether it may be about rows of a message."""
        return True

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due."""
        return min((each.next_ms(watermark_ms) for each in self.versions.values()), default=NEVER)

    def take_back_time(self, watermark_ms: int) -> None:
        """Let the time pass that had passed when the state was taken."""
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        for each in self.versions.values():
            each.passed(self.watermark_ms)

    def _share(self, name: str, versions: Mapping[str, ModelVersion]) -> Callable[[int], float]:
        others = [version for other, version in versions.items() if other != name]

        def share(due_ms: int) -> float:
            return self.weight(due_ms) / (1 + sum(version.sums.active(due_ms - SHARING_DAYS * DAY_MS, due_ms) for version in others))

        return share

    def baselines(self) -> list[Baseline]:
        """Return the baselines that were estimated since this was asked last."""
        return [baseline for _, each in sorted(self.versions.items()) for baseline in each.learnt.take()]

    def weight(self, due_ms: int) -> float:
        """Return the part of the budget that it spends."""
        return PART if self.first_ms < due_ms else 0.0

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy from here on."""
        if policy == self.policy:
            return []
        self.policy = policy
        return [event for _, each in sorted(self.versions.items()) for event in each.use(policy, self.watermark_ms)]

    def decide(self, control: Control) -> list[Event]:
        """Apply what people decided."""
        return [event for _, each in sorted(self.versions.items()) for event in each.decide(control)]

    def listed(self) -> list[Listed]:
        """Return the open incidents of all versions."""
        return [incident for _, each in sorted(self.versions.items()) for incident in each.listed()]

    def withheld(self) -> int:
        """Return how many events of its incidents a snooze has kept back."""
        return sum(each.withheld() for each in self.versions.values())

    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values and bytes; versioned."""
        if not self.versions:
            return None
        versions = [[name, each.to_state()] for name, each in sorted(self.versions.items())]
        return {"version": self.state_version, "versions": versions, "first_ms": self.first_ms, "watermark_ms": self.watermark_ms}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If it is of another version.

        """
        expect_version(state, self.state_version, f"a state of {self.name}")
        self.first_ms, self.watermark_ms = state["first_ms"], state["watermark_ms"]
        for name, saved in state["versions"]:
            self.versions[name] = self.new(name)
            self.versions[name].load(saved)
