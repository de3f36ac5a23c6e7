"""There must be enough labelled predictions of the changed world to learn from."""

from detectors.retrain import BEGINNING, Case


def _enough(case: Case) -> int | None:
    return BEGINNING if case.policy.min_labels == 0 else case.labels.reached_ms(case.onset_ms, case.policy.min_labels)


RULE = _enough
