"""When a finding becomes a request to retrain: rules, one file each, found by themselves.

A module of this folder that has a ``RULE`` is one. A rule says from when on it lets a request go, as things stand, or that it does not. A
request is made at the first moment that suits every rule.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from detectors.label_hours import LabelHours
from schemas.drift import Severity
from schemas.policy_models import RetrainPolicy

BEGINNING = -(2**62)  # from the beginning of time: nothing to wait for
DAY_MS = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """When a figure that decays will be past its limit, and until when that is the latest that is known of it."""

    crosses_ms: int
    fresh_until_ms: int


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What may be worth a retraining: an open incident, or (with a ``forecast``, and without an id) one that is coming."""

    incident_id: str
    model_version: str
    onset_ms: int
    severity: Severity
    metric: str
    money_per_day: float | None
    message: str
    forecast: Forecast | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is known when a request is weighed. ``grounds`` are of one version; the first is the worst."""

    policy: RetrainPolicy
    grounds: tuple[Ground, ...]
    labels: LabelHours  # of that version
    asked_ms: int | None = None  # when the model's last request was made

    @property
    def onset_ms(self) -> int:
        """When the first of the changes began."""
        return min(ground.onset_ms for ground in self.grounds)

    @property
    def foreseen(self) -> bool:
        """Whether it rests on forecasts alone: the policy's limit has said what is severe, and what it is worth."""
        return all(ground.forecast is not None for ground in self.grounds)

    @property
    def gain(self) -> float | None:
        """Money a day that the changes cost, as far as known; the largest, since incidents may speak of the same loss."""
        return max((ground.money_per_day for ground in self.grounds if ground.money_per_day is not None), default=None)


Rule = Callable[[Case], int | None]  # from when on, epoch ms; None: not as things stand


@cache
def discover() -> dict[str, Rule]:
    """Return every rule of this folder by name, in the order of the names.

    >>> sorted(discover())
    ['cool_down', 'decay', 'gain', 'labels', 'severity']
    """
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    loaded = {name: importlib.import_module(f"{__name__}.{name}") for name in modules}
    return {name: module.RULE for name, module in loaded.items() if hasattr(module, "RULE")}


def ready_ms(case: Case) -> int | None:
    """Return the first moment that suits every rule, epoch ms; None: there is none as things stand."""
    latest = BEGINNING
    for rule in discover().values():
        since = rule(case)
        if since is None:
            return None
        latest = max(latest, since)
    return latest
