"""Which families a policy watches at which rung, and by what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from detectors.bets import Bet, Family, discover
from detectors.river.drift import RiverWatch
from detectors.river.parameters import KINDS, kind_of
from schemas.policy_models import ModelPolicy, WatchPolicy

BANK, CLAIM = "bank", "claim"
ZEROS_AND_ONES, MEANS = "zeros and ones", "means"
TAKEN = {"rates": ZEROS_AND_ONES} | dict.fromkeys(("calibration", "costs", "errors", "scores"), MEANS)  # by bet: what River is fed of it


@dataclass(frozen=True, kw_only=True)
class Track:
    """A family in one direction, under a policy."""

    family: Family
    direction: int
    tolerance: float
    paged_by: str = BANK  # the aggregate, or a River detector's name; groups are the bank's in any case
    river: str = ""  # a River detector's name that runs on the aggregate, whether it pages or not; empty: none was chosen
    parameters: Mapping[str, Any] = field(default_factory=dict)  # of it
    contract: float | None = None
    dimensions: tuple[str, ...] = ()  # whose groups are watched; empty: all

    @property
    def two_sided(self) -> bool:
        """Whether the other direction is watched too."""
        return len(self.family.directions) > 1


def tracks_of(policy: ModelPolicy, *, rung: int, mature: bool) -> list[tuple[Bet, list[Track]]]:
    """Return the tracks of one rung by bet; bets without any are left out.

    >>> [(bet.name, len(tracks)) for bet, tracks in tracks_of(ModelPolicy(), rung=1, mature=True)]
    [('calibration', 1), ('costs', 1), ('rates', 7)]
    """
    found = []
    for bet in discover().values():
        tracks = [track for family in bet.families for track in _tracks(family, policy, rung, mature)]
        if tracks:
            found.append((bet, tracks))
    return found


def _tracks(family: Family, policy: ModelPolicy, rung: int, mature: bool) -> list[Track]:
    watch = policy.watch.get(family.watch or family.name, WatchPolicy(enabled=not family.opt_in))
    if family.kind == CLAIM:
        watch = WatchPolicy(enabled=family.name in policy.claims, baseline=policy.claims.get(family.name))
    if not watch.enabled or family.needs_labels != (rung > 0) or (family.mature_only and not mature):
        return []
    # A contract speaks of what the labels say in the end, not of those known early.
    contract = watch.baseline if mature or not family.needs_labels else None
    tolerance = family.tolerance if watch.tolerance is None else watch.tolerance
    named = watch.parameters.get("dimensions", ()) if watch.detector == BANK else ()
    track = Track(
        family=family,
        direction=family.directions[0],
        tolerance=tolerance,
        paged_by=BANK if watch.role == "watch" else watch.detector,
        river="" if watch.detector == BANK else watch.detector,
        parameters={} if watch.detector == BANK else watch.parameters,
        contract=contract,
        dimensions=tuple(named) if isinstance(named, list | tuple) else (),
    )
    return [replace(track, direction=direction) for direction in family.directions]


def check_detectors(policy: ModelPolicy) -> None:
    """Refuse a detector that cannot watch its family: better at the start than in the stream.

    Raises
    ------
    ValueError
        If there is no such detector, a parameter is refused, or the family has nothing that it takes: it may take rates or means.

    """
    takes = {family.name: TAKEN[bet.name] for bet in discover().values() if bet.name in TAKEN for family in bet.families}
    for name, watch in policy.watch.items():
        if not watch.enabled or watch.detector == BANK:
            continue
        if name not in takes:
            raise ValueError(f"watch.{name}.detector: expected 'bank', got {watch.detector!r}: River's detectors watch rates and means")
        try:
            RiverWatch(watch.detector, dict(watch.parameters))  # type: ignore[arg-type]  # a list is refused there by name
        except ValueError as error:
            raise ValueError(f"watch.{name}: {error}") from None
        if takes[name] == MEANS and kind_of(watch.detector)[1].binary:
            able = ", ".join(known for known, kind in KINDS.items() if not kind.binary)
            raise ValueError(f"watch.{name}.detector: expected 'bank' or one that takes means ({able}), got {watch.detector!r}")
