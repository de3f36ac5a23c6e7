"""Baselines from a reference set: what a fold over it has counted, as a record, and back as observations of the bets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detectors.baselines.tempering import phi
from detectors.families import families
from schemas.policy_models import DEFAULT_FAMILIES
from schemas.reference import MOST_BYTES, FamilyReference, Observation, Reference, read_reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from detectors.fixed import Floats
    from detectors.model_version import ModelVersion
    from detectors.panel import Panel
    from schemas.cost import CostMatrix

# Sums that do not hang on how time is cut into panes, as those of gaps do. When labels come in production is not what a set can say.
COUNTED = frozenset({*DEFAULT_FAMILIES, "abstention"}) - {"coverage"}


class Shipped:
    """A reference by family and segment.

    Parameters
    ----------
    reference
        As it came.
    cost
        The matrix in force: costs that were counted by another are not used.

    Examples
    --------
    >>> errors = FamilyReference(family="error", segments=[Observation(segment={"sex": "f"}, total=[1000.0, 80.0])])
    >>> shipped = Shipped(Reference(sha256="0" * 64, predictions=1000, labelled=1000, families=[errors]), None)
    >>> shipped.find("error", {"sex": "f"}), shipped.find("error", {})
    ((array([1000.,   80.]), 1.0), None)

    """

    def __init__(self, reference: Reference, cost: CostMatrix | None) -> None:
        self.reference = reference
        self._found: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Floats, float]] = {}
        for each in reference.families:
            watched = families().get(each.family)
            if watched is None or each.family not in COUNTED or (each.family == "cost" and reference.cost != plain(cost)):
                continue
            for seen in each.segments:
                total = np.array(seen.total)
                if len(total) == watched[1].width and not watched[1].fault(total[np.newaxis]):
                    self._found[each.family, tuple(sorted(seen.segment.items()))] = total, seen.dispersion

    def find(self, family: str, segment: Mapping[str, str]) -> tuple[Floats, float] | None:
        """Return the total observation of a family in a segment, shape (width,), and its over-dispersion; None: nothing is known."""
        return self._found.get((family, tuple(sorted(segment.items()))))

    def to_state(self) -> dict[str, Any]:
        """Return the reference as plain values."""
        state: dict[str, Any] = msgspec.to_builtins(self.reference)
        return state

    @classmethod
    def from_state(cls, state: dict[str, Any], cost: CostMatrix | None) -> Shipped:
        """Take back what ``to_state`` gave."""
        return cls(read_reference(state), cost)


def plain(cost: CostMatrix | None) -> dict[str, Any] | None:
    """Return a matrix as a record holds it."""
    found: dict[str, Any] | None = None if cost is None else msgspec.to_builtins(cost)
    return found


def reference_of(version: ModelVersion, *, sha256: str, predictions: int, labelled: int, model_version: str | None) -> Reference:
    """Return what the bank of a version has seen whose baselines were never frozen; groups as far as there is room, the largest first."""
    bank = version.bank
    seen: list[tuple[float, str, Observation]] = []  # size, family
    for rung, panels in bank.panels.items():
        for panel in panels if rung == 0 or bank.mature[rung] else ():
            for place, family in enumerate(panel.families):
                if family in COUNTED:
                    seen += _observations(panel, place, family, version)
    seen.sort(key=lambda each: (bool(each[2].segment), -each[0], sorted(each[2].segment.items()), each[1]))
    kept: dict[str, list[Observation]] = {}
    room = MOST_BYTES - 1_000
    for _, family, observation in seen:
        room -= len(msgspec.json.encode(observation)) + 1
        if room < 0:
            break
        kept.setdefault(family, []).append(observation)
    return Reference(
        sha256=sha256,
        predictions=predictions,
        labelled=labelled,
        families=[FamilyReference(family=family, segments=segments) for family, segments in sorted(kept.items())],
        model_version=model_version,
        cost=plain(version.policy.cost),
    )


def _observations(panel: Panel, place: int, family: str, version: ModelVersion) -> list[tuple[float, str, Observation]]:
    m, found = panel.monitors, []
    for row in panel.rows[panel.tracks_of[place][0]].tolist():
        if row >= 0 and (size := float(panel.bet.size(m.total[row]))) > 0:
            segment = version.sums.segments.name(version.bank.segments[int(m.slot[row])])
            spread = float(phi(m.series.of(row), panel.bet.dispersion(m.total[row])))
            found.append((size, family, Observation(segment=segment, total=[_number(x) for x in m.total[row].tolist()], dispersion=spread)))
    return found


def _number(x: float) -> float:
    """Return a whole number as such: it is shorter in JSON."""
    return int(x) if x == int(x) and abs(x) < 2**53 else x
