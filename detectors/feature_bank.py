"""The evidence on features: a bank whose monitors are made as features' scales become known, one panel for all of a kind."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectors.bank import Bank
from detectors.baselines.coverage import CoverageGuard
from detectors.bets import discover
from detectors.bets.covariates import CELLS, CategoryBet
from detectors.bets.exceedances import RHO, thresholds
from detectors.families import CATEGORY, MISSING, NUMBER, family
from detectors.feature_packing import wanted
from detectors.feature_scale import NUMBERS, Scale
from detectors.fixed import Floats
from detectors.named_rates import PART
from detectors.panel import Panel
from detectors.reading import Reading
from detectors.tracks import Track
from schemas.feature_codes import edge
from schemas.policy_models import ModelPolicy

_PREFIXES = {NUMBER: "numbers", CATEGORY: "categories", MISSING: "missing"}  # of families -> the bet that watches them


class FeatureBank(Bank):
    """The monitors of all features of a model version whose scale is known: of its values, and of how often it is missing.

    >>> from schemas.policy_models import WatchPolicy
    >>> bank = FeatureBank(policy=ModelPolicy(watch={"covariate": WatchPolicy()}))
    >>> bank.watch({"age": Scale(NUMBERS, borders=tuple(range(100, 119)))})
    >>> [(panel.bet.name, panel.families) for panel in bank.panels[0]]
    [('missing', ('missing:age',)), ('numbers', ('feature:age',))]
    """

    part = PART

    def __init__(self, *, policy: ModelPolicy) -> None:
        self.scales: dict[str, Scale] = {}
        super().__init__(policy=policy)

    def watch(self, scales: Mapping[str, Scale]) -> None:
        """Watch more features."""
        self.scales |= scales
        saved = {panel.bet.name: panel.to_state() for panel in self.panels.get(0, [])}
        self.budget.standing[:] = 0  # counted anew as the panels load
        self.panels[0], self.mature[0] = self._build(0, mature=False), False
        self._bind(self.panels[0])
        for panel in self.panels[0]:
            if panel.bet.name in saved:
                panel.load(saved[panel.bet.name], self.budget)

    def _build(self, rung: int, mature: bool, names: Sequence[str] = ()) -> list[Panel]:
        chosen = wanted(self.policy)
        if chosen is None:
            return []
        watch, tracks = self.policy.watch["covariate"], dict[str, list[Track]]()
        for name, scale in sorted(self.scales.items()):
            if chosen and name not in chosen:
                continue
            for prefix in (NUMBER if scale.kind == NUMBERS else CATEGORY, MISSING):
                each = family(f"{prefix}:{name}")
                tolerance = each.tolerance if watch.tolerance is None else watch.tolerance
                tracks.setdefault(_PREFIXES[prefix], []).extend(
                    Track(family=each, direction=direction, tolerance=tolerance) for direction in each.directions
                )
        return [Panel(discover()[bet], tracks[bet], rung=rung, rule=self.rule) for bet in sorted(tracks)]

    def _guard(self, reading: Reading) -> CoverageGuard | None:
        return None

    def describe(self, panel: Panel, row: int, stake: int, null: Floats) -> str:
        """Say which values there are more of."""
        name = panel.tracks[int(panel.monitors.track[row])].family.name
        prefix, _, feature = name.partition(":")
        scale = self.scales[feature]
        if prefix == MISSING:
            return f"predictions without {feature}"
        if isinstance(panel.bet, CategoryBet):
            cell, sign = panel.bet.cell(stake, null)
            if cell == CELLS - 1:
                return f"{feature} {'not ' if sign > 0 else ''}among {_some(scale.names)}"
            return f"{feature} {'=' if sign > 0 else 'other than'} {scale.names[cell]}"
        ends = [f"{edge(scale.borders[cell - 1]):.4g}" for cell in thresholds(null).tolist()]
        each, n = stake // len(RHO), len(ends)
        if each < 2 * n:
            return f"{feature} {'above' if each < n else 'up to'} {ends[each % n]}"
        lower, upper = ends[0], ends[-1]
        return f"{feature} up to {lower} or above {upper}" if each == 2 * n else f"{feature} above {lower} and up to {upper}"

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and raw bytes, ready for msgpack; versioned."""
        return super().to_state() | {"scales": [[name, scale.to_state()] for name, scale in sorted(self.scales.items())]}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.scales = {name: Scale.from_state(saved) for name, saved in state["scales"]}
        super().load(state)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
