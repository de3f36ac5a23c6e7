"""After a request, whatever became of it, a model is left alone for a while."""

from detectors.retrain import BEGINNING, Case


def _rested(case: Case) -> int | None:
    return BEGINNING if case.asked_ms is None else case.asked_ms + case.policy.cool_down_ms


RULE = _rested
