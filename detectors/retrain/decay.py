"""Decay asks when its limit is near: as many days before the forecast's date as the policy says, while the forecast is fresh."""

from detectors.retrain import BEGINNING, Case


def _near(case: Case) -> int | None:
    dates = [ground.forecast for ground in case.grounds if ground.forecast is not None]
    if len(dates) < len(case.grounds):
        return BEGINNING  # an incident is there already
    within = case.policy.decay_within_ms
    if within is None:
        return None
    near = min(date.crosses_ms for date in dates) - within
    return near if near < min(date.fresh_until_ms for date in dates) else None


RULE = _near
