"""What a model claimed, sent by the service that runs it."""

from schemas.fields import Count, Features, Id, Label, Money, Probability, Record, Scores, Subgroups, Text, Timestamp, check_label


class Prediction(Record, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One prediction of one model version.

    A score, scores by class or a predicted label is needed, unless the model abstained. For optional fields null is the same as absent.

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
    amount: Money | None = None  # the stake
    alerted: bool | None = None  # a person was alerted; absent: predicted positive
    unit: Text | None = None  # who was alerted: ward, desk
    alert_key: Text | None = None  # what the alert was about: patient, account
    compute_cost: Money | None = None
    abstained: bool = False
    abstain_reason: Text | None = None
    features: Features | None = None  # name -> number, category, or null for missing
    probe: bool | Text | None = None  # synthetic attack or canary (its name, or true): kept out of the real statistics

    def __post_init__(self) -> None:
        """Refuse what the types cannot: a prediction that claims nothing, a fraction as label."""
        if self.score is None and self.predicted_label is None and not self.scores and not self.abstained:
            raise ValueError("Object missing required field `score` (or `scores`, `predicted_label`, `abstained`)")
        if type(self.predicted_label) is float:
            check_label(self.predicted_label, "predicted_label")
