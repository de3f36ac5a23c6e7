"""Data of retraining requests, and of a breached alarm budget."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.drift import Count64, Finite, Time, Window
from schemas.fields import Id


class TrainingData(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename={"from_": "from"}):
    """The predictions worth training on: made in this span, with that many matured labels."""

    from_: Time
    to: Time
    n_labelled: Count64


class RetrainRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Data of ``gnomon.retrain.requested``."""

    request_id: Id
    model_id: Id
    model_version: Id
    incidents: list[Id]
    reason: str
    data: TrainingData
    expected_gain: Finite | None  # money a day


class RetrainCancelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Data of ``gnomon.retrain.cancelled``."""

    request_id: Id
    model_id: Id
    model_version: Id
    reason: str


class BudgetBreached(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Data of ``gnomon.budget.breached``: our own alarms were false more often than declared, and chance is no longer an excuse."""

    incident_id: Id
    model_id: Id
    false_alarms: Count64  # drift events judged false
    pages: Finite  # declared: so many ...
    days: Annotated[float, Meta(gt=0)]  # ... in so many days
    evidence: Finite  # e-value against "the rate is within the budget"
    threshold: Finite
    window: Window
    message: str
