"""What is due to many versions at a tick, read in one go: each table of all of them is one grouped sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.pane_reader import AHEAD, Asked, Pane, Step, held, read_many

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detectors.model_version import ModelVersion

MOST = 50_000  # segments of panes that are read ahead: two kilobytes each
_MOST_OF_ONE = 5_000  # of one version: what is more is not dearer alone


def read_together(due: Sequence[tuple[ModelVersion, int]]) -> None:
    """Read for each version what it will step first at its watermark, if that is little; it must be advanced to it next.

    >>> from detectors.model_version import ModelVersion
    >>> from schemas.policy_models import ModelPolicy
    >>> read_together([(ModelVersion("m", "1", ModelPolicy(), 64), 0)])  # nothing is due to it
    """
    plans: list[tuple[ModelVersion, int, list[Step], dict[int, Iterator[Pane]]]] = []
    alike: dict[tuple[int, tuple[bool, bool]], list[tuple[dict[int, Iterator[Pane]], Asked]]] = {}
    total = 0
    for version, watermark_ms in due:
        until_ms, mine = version.due_first(watermark_ms)
        size = len(mine) * len(version.sums.segments)
        of_rung: dict[int, list[Step]] = {}
        for step in mine:
            of_rung.setdefault(step.rung, []).append(step)
        if not mine or size > min(_MOST_OF_ONE, MOST - total) or max(map(len, of_rung.values())) > AHEAD:
            continue
        total += size
        read: dict[int, Iterator[Pane]] = {}
        plans.append((version, until_ms, mine, read))
        for rung, those in of_rung.items():
            alike.setdefault((rung, held(version.sums.tables)), []).append((read, _asked(version, those)))
    for (rung, _), asked in alike.items():
        for (read, _), panes in zip(asked, read_many([each for _, each in asked], rung), strict=True):
            read[rung] = iter(panes)
    for version, until_ms, mine, read in plans:
        version.expect(until_ms, [(step, next(read[step.rung])) for step in mine])


def _asked(version: ModelVersion, steps: Sequence[Step]) -> Asked:
    return Asked(version.sums.tables, version.sums.segments, [version.schedule.span(step) for step in steps])
