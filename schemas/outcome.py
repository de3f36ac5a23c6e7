"""What turned out, sent by whoever learns it: a label source, a reviewer's desk, a ledger."""

from typing import Annotated

from msgspec import Meta

from schemas.fields import Checks, Count, Id, Integer, Label, Money, Number, Record, Text, Timestamp, check_label

PARTS = ("true_label", "true_value", "action_taken", "review_seconds", "value", "cost", "checks")
Seconds = Annotated[float, Meta(ge=0.0, le=1e7)]


class Outcome(Record, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The outcome of one prediction, or a part of it: label, true value, disposition (action, review time, value), cost, checks.

    At least one part is needed. The parts are versioned each on its own: a later record replaces only the parts that it holds. The true
    value is held against predicted values alone, the label against all other predictions. For optional fields null is the same as absent.

    Examples
    --------
    >>> from schemas.codec import decode_records
    >>> data = b'[{"request_id": "a2", "timestamp": 1767323045000, "true_label": 1}, {"request_id": "a3", "timestamp": 1767323045000}]'
    >>> for index, record, raw in decode_records(data, Outcome):
    ...     print(index, type(record).__name__)
    0 Outcome
    1 Fault

    """

    request_id: Id  # of the prediction
    timestamp: Timestamp  # when the outcome became known
    row: Count = 0
    model_id: Id | None = None  # absent: every model that answered the request
    true_label: Label | None = None
    version: Integer | None = None  # the highest is in force; absent: the timestamp in epoch ms
    action_taken: Text | None = None  # acted, or overridden, dismissed, ignored (in any case): not acted; replaced with time and value
    review_seconds: Seconds | None = None  # of a person's time
    cost: Money | None = None  # realised; overrides the policy's cost matrix
    value: Money | None = None  # realised benefit
    checks: Checks | None = None  # verification by name: passed, total
    true_value: Number | None = None  # of what a regression model predicts

    def __post_init__(self) -> None:
        """Refuse what the types cannot: an outcome without a part, a fraction as label, more checks passed than made."""
        if self.true_label is None and not self.checks and all(getattr(self, part) is None for part in PARTS[1:-1]):
            raise ValueError(
                "Object missing required field `true_label` (or `true_value`, `action_taken`, `review_seconds`, `value`, `cost`, `checks`)"
            )
        if type(self.true_label) is float:
            check_label(self.true_label, "true_label")
        if self.checks and any(passed > total for passed, total in self.checks.values()):
            raise ValueError("Expected passed <= total - at `$.checks[...]`")
