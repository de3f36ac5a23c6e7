"""Where money is known, retraining must be worth it: a least gain a day, and what it costs won back in time."""

from detectors.retrain import BEGINNING, DAY_MS, Case


def _worth_it(case: Case) -> int | None:
    policy, gain = case.policy, case.gain
    if case.foreseen:
        return BEGINNING
    if gain is None:  # a cost that nothing stands against is no ground to spend it
        return BEGINNING if policy.cost == 0 else None
    enough = gain >= policy.min_gain and gain * policy.payback_ms / DAY_MS >= policy.cost
    return BEGINNING if enough else None


RULE = _worth_it
