"""The policy that a control record carries. Who joins reads it too, and loads no detector for it: that would be half of its memory."""

from schemas.control import Control
from schemas.policy import Policy, PolicyError, decode_policy
from schemas.policy_models import ModelPolicy
from schemas.policy_reader import join


def read_policy(control: Control) -> Policy:
    """Return the policy that a control record carries, whole and usable.

    Raises
    ------
    PolicyError
        With every fault: of its text, or of detectors and metrics that it names.

    """
    policy, faults = decode_policy(control), []
    for path, model in [("defaults", policy.defaults), *((join("models", name), model) for name, model in policy.models.items())]:
        faults += [f"{path}.{fault}" for fault in _unknown(model)]
    if faults:
        raise PolicyError(faults)
    return policy


def _unknown(model: ModelPolicy) -> list[str]:
    """Return what is wrong with the names of detectors and of metrics."""
    faults = []
    if any(watch.detector != "bank" for watch in model.watch.values()):
        from detectors.tracks import check_detectors  # noqa: PLC0415  # river, and scipy.stats with it

        try:
            check_detectors(model)
        except ValueError as error:
            faults.append(str(error))
    if model.metrics:
        from detectors.river.metrics import label_metric  # noqa: PLC0415  # likewise

        for metric in model.metrics:
            try:
                label_metric(metric, 1, 1, 1, 1)
            except ValueError as error:
                faults.append(f"metrics: {error}")
    return faults
