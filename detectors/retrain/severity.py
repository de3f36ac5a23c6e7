"""A change must be as severe as the policy asks."""

from detectors.retrain import BEGINNING, Case
from schemas.drift import Severity

_ORDER = tuple(Severity)


def _severe(case: Case) -> int | None:
    worst = max(_ORDER.index(ground.severity) for ground in case.grounds)
    return BEGINNING if case.foreseen or worst >= _ORDER.index(case.policy.severity) else None


RULE = _severe
