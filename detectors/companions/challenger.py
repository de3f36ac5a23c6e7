"""Champion and challengers: versions of one model that answered the same requests, compared request by request.

Every pair is compared in the report. Where the policy names the family ``challenger``, each version that answered with the champion gathers
evidence that it is better, or worse; see ``detectors.pair_watch``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from detectors.families import CHALLENGER
from detectors.findings import interval
from detectors.ladder import DAY_MS
from detectors.pair_panes import PAIR, pair_sizes, pair_sums
from detectors.pair_watch import VersionPairs, first_of
from detectors.pair_words import brier_difference, difference, size_difference
from detectors.rate_companion import SHARING_DAYS, RateCompanion
from detectors.segments import OTHER
from schemas.report import Comparison
from schemas.scored import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from detectors.fixed import Ints
    from detectors.model_version import ModelVersion
    from schemas.findings import Event
    from schemas.scored import Rows

MOST_VERSIONS = 200  # a rival may be of any name


class Challengers(RateCompanion):
    """All pairs of versions of a model.

    The evidence costs a tenth of the model's budget once the first label of a pair is known, by event time. Challengers with predictions
    of late share it evenly.
    """

    name = "comparisons"
    state_version = 3
    versions: dict[str, VersionPairs]

    def new(self, name: str) -> VersionPairs:
        """Return the pairs of a version that has had none."""
        return VersionPairs(self.model_id, name, self.policy, self.watermark_ms)

    def may_pick(self, rows: Rows) -> bool:
        """Say, by the columns alone, whether it may be about rows of a message."""
        return "rival" in rows.columns

    def picked(self, rows: Rows, where: Ints) -> Ints:
        """Return the PAIR rows."""
        return np.asarray(where[rows.column("kind")[where] == Kind.PAIR]) if self.may_pick(rows) else where[:0]

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the pairs among the picked rows: each to both of its versions, to the second with the sides exchanged."""
        where = self.picked(rows, where)
        if not len(where):
            return

        def column(name: str) -> Ints:
            return np.asarray(rows.column(name)[where].astype(np.int64))

        version, rival, made, known = column("version"), column("rival"), column("predicted_at"), column("known_at")
        sides = column("predicted"), column("label"), column("loss"), column("rival_loss")
        swapped = sides[1], sides[0], sides[3], sides[2]
        off = (rows.column("error")[where], rows.column("rival_error")[where]) if "rival_error" in rows.columns else None
        for code in np.unique(version * len(rows.texts) + rival).tolist():
            mine = (version == code // len(rows.texts)) & (rival == code % len(rows.texts))
            one, other = rows.versions[code // len(rows.texts)], rows.texts[code % len(rows.texts)]
            sign = column("sign")[mine]
            for name, against, side, order in ((one, other, sides, 1), (other, one, swapped, -1)):
                sums = pair_sums(sign, *(values[mine] for values in side), numbers=1 - column("binary")[mine])
                sizes = None if off is None else pair_sizes(sign, *(errors[mine] for errors in off[::order]))
                self._pairs(name).add_pairs(against, made[mine], known[mine], sums, sizes)
        if self._watched:
            self.first_ms = min(self.first_ms, int(known.min()))

    def _pairs(self, name: str) -> VersionPairs:
        if name not in self.versions and len(self.versions) >= MOST_VERSIONS:
            name = OTHER
        if name not in self.versions:
            self.versions[name] = self.new(name)
        return self.versions[name]

    @property
    def _watched(self) -> bool:
        watch = self.policy.watch.get(CHALLENGER)
        return watch is not None and watch.enabled

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Read what is due by the watermark."""
        events: list[Event] = []
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        if not self._watched:
            for each in self.versions.values():
                each.passed(self.watermark_ms)
            return events
        for name in sorted(self.versions):
            mine = self.versions[name]
            mine.settle(versions)
            share = self._part(name, versions)
            version = versions.get(name, versions.get(OTHER))
            events += mine.read_due(self.watermark_ms, share, lambda due_ms: self._champion(versions, due_ms), version)
            self.moved, mine.stepped = self.moved or mine.stepped, False
        return events

    def _champion(self, versions: Mapping[str, ModelVersion], due_ms: int) -> str:
        named = self.policy.watch[CHALLENGER].parameters.get("champion")
        return str(named) if named is not None else first_of(versions, due_ms - SHARING_DAYS * DAY_MS, due_ms)

    def _part(self, name: str, versions: Mapping[str, ModelVersion]) -> Callable[[int], float]:
        def part(due_ms: int) -> float:
            since_ms, champion = due_ms - SHARING_DAYS * DAY_MS, self._champion(versions, due_ms)
            others = [version for other, version in versions.items() if other not in {name, champion}]
            return self.weight(due_ms) / (1 + sum(version.sums.active(since_ms, due_ms) for version in others))

        return part

    def report(self, version: ModelVersion) -> list[Comparison] | None:
        """Return a version beside each of its rivals, in the order of their names, over all labels known so far."""
        mine = self.versions.get(version.name)
        if mine is None:
            return None
        found = [_comparison(mine, rival, mine.totals.dense(len(mine.names))[number]) for number, rival in enumerate(mine.names)]
        return sorted((each for each in found if each is not None), key=lambda each: each.rival) or None


def _comparison(mine: VersionPairs, rival: str, sums: Ints) -> Comparison | None:
    n, scored, wrong, rival_wrong = (int(sums[PAIR.at[name]]) for name in ("n", "scored", "wrong", "rival_wrong"))
    if n <= 0 or wrong < 0 or rival_wrong < 0:  # a correction has come before what it corrects
        return None
    by = size_difference(*mine.sizes(mine.names.index(rival)))
    if by is not None and min(by[:2]) < 0:  # likewise, or an older join has said nothing of the errors that are taken back
        by = None
    loss, rival_loss = (float(PAIR.total(sums, name)) / scored if scored > 0 else None for name in ("loss", "rival_loss"))
    return Comparison(
        rival=rival,
        n=n,
        error=wrong / n,
        rival_error=rival_wrong / n,
        difference=interval(difference(sums)),
        alone=max(int(sums[PAIR.at["alone"]]), 0),
        rival_alone=max(int(sums[PAIR.at["rival_alone"]]), 0),
        numbers=max(int(sums[PAIR.at["numbers"]]), 0),
        mae=None if by is None else by[0],
        rival_mae=None if by is None else by[1],
        mae_difference=None if by is None else interval(by[2]),
        scored=max(scored, 0),
        brier=loss,
        rival_brier=rival_loss,
        brier_difference=interval(brier_difference(sums)) if scored > 0 else None,
        state=mine.state_against(rival),
    )


COMPANION = Challengers
