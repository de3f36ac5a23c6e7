"""One model of a scored partition: its versions, its companions, and rows of it that wait until something is due."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from detectors.fixed import Ints
from detectors.ladder import DAY_MS
from detectors.many_sums import Lot
from detectors.model_companions import COMPANIONS, ModelCompanions
from detectors.model_version import ModelVersion
from detectors.panes import BEGINNING
from detectors.segments import OTHER
from detectors.standing import Baseline
from detectors.waiting import MOST_ROWS, Waiting, is_plain
from detectors.waiting_companions import WaitingCompanions
from schemas.figures import SegmentFigures
from schemas.findings import Event
from schemas.policy_models import ModelPolicy
from schemas.reference import Reference
from schemas.scored import COLUMNS, Kind, Rows

SHARING_DAYS = 30  # a version without predictions for so long leaves its part of the budget to the others
MAX_VERSIONS = 200
LATE_MS = 2 * DAY_MS  # younger than anything that is folded up or forgotten for its age


class WatchedModel:
    r"""A pure fold of one model.

    Rows that only add to sums wait, and so does the watermark while nothing is due: a step of many small messages costs hardly more than
    one of them. Whoever looks at ``versions`` or ``companions`` sees all that has come. Rows wait for the companions on their own; for
    statistics, which are of the versions' sums, only these are counted.

    Parameters
    ----------
    model_id
        Of the model.
    policy
        Of the model; ``use`` brings the next one.
    distinct_scores
        How many distinct scores per version the AUC counts exactly.
    reference
        Asked once for each new version: what a reference set says of it, if one was shipped.
    changed
        Is told of what has changed: this model, and the version or ``COMPANIONS``.

    Examples
    --------
    >>> from schemas.scored import Origin
    >>> model = WatchedModel("m", ModelPolicy(), 4_096)
    >>> row = {"kind": b"\x01", "score": np.array([0.7]).tobytes()}
    >>> model.add(Rows("m", [Origin("predictions", "x", 0)], 1, row, versions=["1"]), np.array([0]), whole=True)
    ['1']
    >>> model.versions["1"].sums.tables["total_made"].rows[0, 0]
    np.int64(1)

    """

    def __init__(
        self,
        model_id: str,
        policy: ModelPolicy,
        distinct_scores: int,
        reference: Callable[[str], Reference | None] = lambda name: None,
        changed: set[tuple[str, str]] | None = None,
    ) -> None:
        self.model_id, self.policy, self.distinct_scores = model_id, policy, distinct_scores
        self._reference = reference
        self._changed = set() if changed is None else changed
        self._versions: dict[str, ModelVersion] = {}
        self._companions = WaitingCompanions(ModelCompanions(model_id, policy))
        self._waiting = Waiting()
        self.stirred = False  # since it was last asked for baselines: one may have been estimated; never part of the state
        self._watermark_ms = BEGINNING  # that came, and that nothing was due at
        self._next_ms = BEGINNING  # nothing is due before it

    @property
    def versions(self) -> dict[str, ModelVersion]:
        """The versions by name."""
        self.settle()
        return self._versions

    @property
    def companions(self) -> ModelCompanions:
        """What is watched beside the versions."""
        self._settle_versions()
        return self._companions.settled()

    def counted_versions(self) -> dict[str, ModelVersion]:
        """Return the versions by name, up to date; the companions' rows still wait."""
        self._settle_versions()
        return self._versions

    def unsettled(self) -> tuple[dict[str, ModelVersion], ModelCompanions]:
        """Return both without the rows that wait: for what these do not change."""
        return self._versions, self._companions.unsettled

    def watermark_of(self, version: ModelVersion) -> int:
        """Return how far the time of a version has come."""
        return max(version.watermark_ms, self._watermark_ms)

    def add(self, rows: Rows, where: Ints, *, whole: bool) -> list[str]:
        """Add the picked rows of one scored message; return the versions that they are of.

        ``whole`` says that the others only count the status of a record.
        """
        alone = len(rows.versions) == 1
        code = where[:0] if alone else rows.column("version")[where]
        used = [0] if alone else np.unique(code).tolist()
        known = [self.version(rows.versions[number]).name for number in used]
        if known != [rows.versions[number] for number in used]:
            rows = self._shared(rows)
            code = rows.column("version")[where]
            used = np.unique(code).tolist()
        versions = [self._versions[rows.versions[number]] for number in used]
        if not (whole and len(used) == len(rows.versions) and is_plain(rows)):
            self.wake()
            self._add_to_versions(rows, where)
            self._companions.unsettled.add(rows, where)
        else:
            if self._companions.unsettled.mind(rows):
                self.wake()
                self._companions.add_ahead(rows, where)
            passed_ms = max(self._watermark_ms, self._companions.passed_ms)
            late = int(rows.column("predicted_at").min()) < passed_ms - LATE_MS  # time has passed before it came, not after
            if late or not self._waiting.fits(rows):
                self.settle()
            self._waiting.add(rows, _lots(versions, rows, [where] if alone else [where[code == number] for number in used]))
            if self._waiting.n >= MOST_ROWS:
                self.settle()
        names = [version.name for version in versions]
        self._note(*names, COMPANIONS)
        return names

    def version(self, name: str) -> ModelVersion:
        """Return a version, new or known; versions past the cap share one, so that made-up names cannot fill the memory."""
        if name not in self._versions and len(self._versions) >= MAX_VERSIONS:
            name = OTHER
        if name not in self._versions:
            self.wake()
            version = self._versions[name] = ModelVersion(self.model_id, name, self.policy, self.distinct_scores)
            reference = self._reference(name)
            if reference is not None:
                version.ship(reference, 0)  # there is no monitor yet that could stand at once
        return self._versions[name]

    def settle(self) -> None:
        """Count the rows that wait, and let the time pass that has passed."""
        self._settle_versions()
        self._companions.settled()

    def _settle_versions(self) -> None:
        self._companions.passes(self._watermark_ms)
        self._count()
        if self._watermark_ms > BEGINNING:
            for version in self._versions.values():
                version.take_back_time(self._watermark_ms)
            self._watermark_ms = BEGINNING

    def _count(self) -> None:
        """Let the versions count the rows that wait."""
        if self._waiting.n:
            messages = self._waiting.messages
            rows, where = self._waiting.take()
            self._add_to_versions(rows, where)
            self._companions.follow(messages, rows)

    def lend(self, watermark_ms: int | None = None) -> list[Lot]:
        """Give what waits to who counts it together with that of other models, if it is little; at a watermark, if anything is due."""
        if watermark_ms is not None and not self._is_due(watermark_ms):
            return []
        messages, lots = self._waiting.take_lots()
        if messages:
            self._companions.follow(messages)
        return lots

    def _note(self, *names: str) -> None:
        self._changed.update((self.model_id, name) for name in names)

    def wake(self) -> None:
        """Count what waits, and look at the next watermark, whatever it is: what comes now may be due at any time."""
        self.settle()
        self._companions.unsettled.wake()
        self._next_ms, self.stirred = BEGINNING, True

    def _shared(self, rows: Rows) -> Rows:
        """Return rows with versions past the cap as the one that they share."""
        names = [name if name in self._versions else OTHER for name in rows.versions]
        kept = list(dict.fromkeys(names))  # each once: companions see the rows of a version in the order of the log
        code = np.array([kept.index(name) for name in names], dtype=COLUMNS["version"][0])[rows.column("version")]
        return msgspec.structs.replace(rows, versions=kept, columns=rows.columns | {"version": code.tobytes()})

    def _add_to_versions(self, rows: Rows, where: Ints) -> None:
        alone = rows.column("kind")[where] != Kind.PAIR
        for name, mine in rows.by_version(where if alone.all() else where[alone]):
            self.version(name).add(rows, mine)

    def _is_due(self, watermark_ms: int) -> bool:
        return watermark_ms >= self._next_ms

    def stepping(self, watermark_ms: int) -> list[tuple[ModelVersion, int]]:
        """Return the versions that ``advance`` will step at a watermark, and how far, with all sums up to date."""
        if not self._is_due(watermark_ms):
            return []
        self._settle_versions()
        return [(version, watermark_ms) for version in self._versions.values()]

    def advance(self, watermark_ms: int) -> list[Event]:
        """Step what is due by the watermark; return what was found."""
        if not self._is_due(watermark_ms):
            self._watermark_ms = max(watermark_ms, self._watermark_ms)
            return []
        self._settle_versions()
        self.stirred = True
        found: list[Event] = []
        for name in sorted(self._versions):
            version = self._versions[name]
            found += version.advance(watermark_ms, self.share(name))
            if version.stepped:  # of the others, only the time has come further, and the head of the state says how far
                self._note(name)
                version.stepped = False
        found += self._advance_companions(watermark_ms, found)
        for version in self._versions.values():
            version.spans.fold_up(watermark_ms)  # not before the companions have asked where things lie
        next_ms = [version.next_ms(watermark_ms) for version in self._versions.values()]
        self._next_ms = min(self._companions.unsettled.next_ms(watermark_ms), *next_ms)
        return found

    def _advance_companions(self, watermark_ms: int, found: list[Event]) -> list[Event]:
        heard = found or any(version.unsaid for version in self._versions.values())
        if not heard and not self._companions.unsettled.is_due(watermark_ms):
            self._companions.passes(watermark_ms)
            return []
        companions = self._companions.settled()
        told = companions.advance(watermark_ms, self._versions, found)
        if companions.moved():
            self._note(COMPANIONS)
        return told

    def baselines(self) -> list[Baseline]:
        """Return the baselines that were estimated since this was asked last."""
        self.stirred = False
        own = [each for _, version in sorted(self._versions.items()) for each in version.learnt.take()]
        return own + self._companions.unsettled.baselines()

    def share(self, name: str) -> Callable[[int], float]:
        """Return a version's part of its model's budget at a time: versions with predictions of late share what the companions leave."""
        others = [version for other, version in self._versions.items() if other != name]
        companions = self._companions.unsettled

        def share(due_ms: int) -> float:
            since_ms = due_ms - SHARING_DAYS * DAY_MS
            return (1 - companions.weight(due_ms)) / (1 + sum(version.sums.active(since_ms, due_ms) for version in others))

        return share

    def counted(self, name: str) -> tuple[ModelVersion, Callable[[SegmentFigures], SegmentFigures]]:
        """Return a version whose sums are up to date, and what adds to figures of it what the companions know."""
        self._count()
        version = self._versions[name]
        return version, partial(self._companions.unsettled.filled, version)

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy from here on; return the events of incidents that it closes."""
        self.wake()
        self.policy = policy
        found: list[Event] = []
        for _, version in sorted(self._versions.items()):
            found += version.use(policy)
        companions = self._companions.unsettled
        found += companions.use(policy)
        self._note(*self._versions, COMPANIONS)
        return found + companions.heed(found)

    def load(self, name: str, state: dict[str, Any]) -> None:
        """Take back the state of a version, or of ``COMPANIONS``; ``take_back_time`` says how far time had come."""
        if name == COMPANIONS:
            self._companions.unsettled.load(state)
        else:
            self._versions[name] = ModelVersion.from_state(state, self.model_id, name, self.policy, self.distinct_scores)

    def take_back_time(self, name: str, watermark_ms: int) -> None:
        """Let the time pass that had passed for a version, and the companions, when the state was taken."""
        if watermark_ms > BEGINNING:
            self._versions[name].take_back_time(watermark_ms)
            self._companions.unsettled.take_back_time(watermark_ms)


def _lots(versions: Sequence[ModelVersion], rows: Rows, wheres: Sequence[Ints]) -> list[Lot] | None:
    """Give the segments of a message their numbers; return its rows by version, None where there are many of them."""
    lots = []
    for version, where in zip(versions, wheres, strict=True):
        members = version.sums.segments.meet(rows, where)
        if members is not None:
            lots.append(Lot(version, rows, where, members))
    return lots if len(lots) == len(versions) else None
