"""What a model claimed, sent by the service that runs it."""

from typing import Annotated

from msgspec import Meta

from schemas.fields import Count, Features, Id, Label, Money, Number, Probability, Record, Scores, Subgroups, Text, Timestamp, check_label


class PredictionInterval(Record, frozen=True, kw_only=True, gc=False):
    """Where the true number lies with a probability of ``level``, by what the model claims; both ends belong to it.

    >>> PredictionInterval(lower=3.0, upper=2.0, level=0.9)
    Traceback (most recent call last):
    ValueError: Expected lower <= upper
    """

    lower: Number
    upper: Number
    level: Annotated[float, Meta(gt=0.0, lt=1.0)]  # nominal coverage

    def __post_init__(self) -> None:
        """Refuse an interval that holds nothing."""
        if self.lower > self.upper:
            raise ValueError("Expected lower <= upper")  # whoever decodes adds the path


class Prediction(Record, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One prediction of one model version.

    A score, scores by class, a predicted label or a predicted value is needed, unless the model abstained. A predicted value is of a
    regression model: it stands alone or with its interval. For optional fields null is the same as absent.

    Examples
    --------
    >>> from schemas.codec import decode_records
    >>> data = b'{"request_id": "a2", "model_id": "fraud", "model_version": "7", "timestamp": "2026-01-02T03:04:05Z", "score": 0.9}'
    >>> [(index, record, raw)] = decode_records(data, Prediction)
    >>> record.request_id, record.score, record.row
    ('a2', 0.9, 0)

    """

    request_id: Id  # chosen by the producer; the outcome repeats it
    model_id: Id
    model_version: Id
    timestamp: Timestamp  # when the prediction was made
    row: Count = 0  # position within a request that asked for several predictions
    score: Probability | None = None  # of the positive class; for labels other than 0 and 1 the confidence in the predicted one
    scores: Scores | None = None  # by class
    predicted_label: Label | None = None  # absent: score >= the policy's threshold
    subgroups: Subgroups | None = None  # dimension -> value
    amount: Money | None = None  # the stake; 0 counts as none, so does what rounds to 0 at four decimals
    alerted: bool | None = None  # a person was alerted; absent: predicted positive
    unit: Text | None = None  # who was alerted: ward, desk
    alert_key: Text | None = None  # what the alert was about: patient, account
    compute_cost: Money | None = None
    abstained: bool = False
    abstain_reason: Text | None = None
    features: Features | None = None  # name -> number, category, or null for missing
    probe: bool | Text | None = None  # synthetic attack or canary (its name, or true): kept out of the real statistics
    predicted_value: Number | None = None  # of a regression model
    interval: PredictionInterval | None = None  # around the predicted value

    def __post_init__(self) -> None:
        """Refuse what the types cannot: a prediction that claims nothing, or a number beside a label; a fraction as label."""
        claims_label = self.score is not None or self.predicted_label is not None or bool(self.scores)
        if self.predicted_value is not None:
            if claims_label:
                raise ValueError("Expected no `score`, `scores` or `predicted_label` beside it - at `$.predicted_value`")
        elif self.interval is not None:
            raise ValueError("Object missing required field `predicted_value` (of the `interval`)")
        elif not claims_label and not self.abstained:
            raise ValueError("Object missing required field `score` (or `scores`, `predicted_label`, `predicted_value`, `abstained`)")
        if type(self.predicted_label) is float:
            check_label(self.predicted_label, "predicted_label")
