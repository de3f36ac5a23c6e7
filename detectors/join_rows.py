"""Signed rows of one request: what its predictions and the parts of its outcomes add to the scored record."""

import math
from typing import NamedTuple

from detectors.entries import ABSTAINED, ALERTED, BINARY, MAPPED, POSITIVE, VALUED, OutcomeEntry, PredictionEntry
from detectors.fixed import SCORE_UNIT
from schemas.scored import Kind, Status

# plain integers: members of an enum take numpy and attribute look-ups several times as long
COUNT, PREDICTION, LABEL, DISPOSITION, COST, CHECK, PAIR = map(int, Kind)
NONE = int(Status.NONE)


class Row(NamedTuple):
    """A row of ``schemas.scored.Rows``, without its origin; the fields are its columns, in natural form.

    ``sign`` is of all the row adds to but its count of records: ``records``, the column "count", has a sign of its own.
    """

    model: str
    version: str = ""
    kind: int = COUNT
    sign: int = 1
    status: int = NONE
    records: int = 1
    predicted_at: int = 0
    known_at: int = 0
    score: float | None = None
    predicted: int = 0
    label: int = 0
    binary: int = 1
    abstained: int = 0
    alerted: int = 0
    costed: int = 0
    amount: int = 0
    money: int = 0
    features: int = 0
    missing: int = 0
    probe: str = ""
    unit: str = ""
    alert_key: str = ""
    action: str = ""
    review_ms: int = -1
    passed: int = 0
    total: int = 0
    subgroups: bytes = b""  # see ``entries.subgroup_pairs``
    rival: str = ""
    loss: int = -1
    rival_loss: int = -1
    error: float | None = None  # of a number: predicted - true value
    rival_error: float | None = None  # PAIR: of the rival's number
    said: str = ""  # of one of many classes (LABEL): the class predicted
    truth: str = ""  # and the true one
    feature_names: bytes = b""  # see ``feature_packing``
    feature_values: bytes = b""


def prediction_row(made: PredictionEntry, status: int = NONE) -> Row:
    """Return what a prediction adds when it is made.

    >>> row = prediction_row(PredictionEntry("m", "1", 5, 0.9, BINARY | POSITIVE, None, b""))
    >>> row.kind, row.predicted_at, row.score, row.predicted
    (1, 5, 0.9, 1)
    """
    flags = made.flags
    return Row(
        made.model,
        made.version,
        PREDICTION,
        1,
        status,
        1,
        made.at,
        0,
        made.score,
        1 if flags & POSITIVE or not flags & BINARY else 0,
        0,
        flags & BINARY,
        1 if flags & ABSTAINED else 0,
        1 if flags & ALERTED else 0,
        0,
        made.amount,
        made.compute_cost,
        made.features,
        made.missing,
        made.probe,
        made.unit,
        made.alert_key,
        "",
        -1,
        0,
        0,
        made.subgroups,
        feature_names=made.feature_names,
        feature_values=made.feature_values,
    )


def label_row(made: PredictionEntry, outcome: OutcomeEntry, costed: int, status: int = NONE) -> Row:
    """Return what a label adds, or a true value.

    Labels 0 and 1 keep their meaning where the prediction was one of them; where another label is declared to be the positive one, both
    sides are mapped by it. A 0/1 prediction that meets any other label was wrong. Everything else is top-label: predicted 1, and the label
    says whether the prediction was right. A number was right where its interval holds the true one, and where it brings no interval.

    >>> row = label_row(PredictionEntry("m", "1", 5, 0.9, 0, "cat", b""), OutcomeEntry(9, b"", label="dog"), 0)
    >>> row.predicted, row.label, row.binary, row.known_at, row.said, row.truth
    (1, 0, 0, 9, 'cat', 'dog')
    """
    flags, true = made.flags, outcome.label
    binary = flags & BINARY
    predicted = 1 if flags & POSITIVE else 0
    error, said, truth = None, "", ""
    if flags & VALUED:
        label, predicted, error = int(_covered(made, outcome.true_value)), 1, _error(made.value, outcome.true_value)
    elif flags & MAPPED:
        label = int(str(true) == made.label)
    elif binary:
        # A foreign label to a 0/1 prediction is simply wrong, on the side where the prediction was counted: what is left unlabelled is a
        # difference of the two sides.
        label = int(true) if true in (0, 1) else predicted if str(true) == str(predicted) else 1 - predicted
    else:
        said, truth = made.label or "", str(true)
        label, predicted = int(truth == made.label), 1
    return Row(
        made.model,
        made.version,
        LABEL,
        1,
        status,
        1,
        made.at,
        outcome.at,
        made.score,
        predicted,
        label,
        binary,
        1 if flags & ABSTAINED else 0,
        1 if flags & ALERTED else 0,
        costed,
        made.amount,
        0,
        0,
        0,
        made.probe,
        made.unit,
        "",
        "",
        -1,
        0,
        0,
        made.subgroups,
        error=error,
        said=said,
        truth=truth,
    )


def _covered(made: PredictionEntry, true: float | None) -> bool:
    return true is None or made.lower is None or made.upper is None or made.lower <= true <= made.upper


def _error(value: float | None, true: float | None) -> float | None:
    return None if value is None or true is None else value - true


def disposition_row(made: PredictionEntry, outcome: OutcomeEntry) -> Row:
    """Return what a person's decision adds: the action, the time it took and the benefit realised.

    >>> row = disposition_row(PredictionEntry("m", "1", 5, 0.9, 0, "cat", b""), OutcomeEntry(9, b"", action="acted", value=700))
    >>> row.action, row.review_ms, row.money
    ('acted', -1, 700)
    """
    review_ms = -1 if outcome.review_ms is None else outcome.review_ms
    row = _side_row(made, DISPOSITION, outcome)
    costed = int(outcome.value is not None)  # a benefit of nothing is not an unknown one
    return row._replace(action=outcome.action or "", review_ms=review_ms, money=outcome.value or 0, costed=costed)


def cost_row(made: PredictionEntry, outcome: OutcomeEntry) -> Row:
    """Return what a realised cost adds."""
    return _side_row(made, COST, outcome)._replace(money=outcome.cost or 0)


def check_rows(made: PredictionEntry, outcome: OutcomeEntry) -> list[Row]:
    """Return what verification adds: one row per check, named by ``action``."""
    row = _side_row(made, CHECK, outcome)
    return [row._replace(action=name, passed=passed, total=total) for name, passed, total in outcome.checks or ()]


def pair_row(made: PredictionEntry, other: PredictionEntry, outcome: OutcomeEntry) -> Row:
    """Return what a label says of two versions that answered one request: which was wrong, and how far off their scores were.

    Of two numbers the true value says which was further from it, neither where they were as far, and by how much.

    The pair was made when the later one was: from then on there is something to compare, and a label counts by the time since. It has no
    segment.

    >>> made = PredictionEntry("m", "1", 5, 0.75, BINARY | POSITIVE, None, b"")
    >>> row = pair_row(made, PredictionEntry("m", "2", 7, 0.5, BINARY, None, b""), OutcomeEntry(9, b"", label=1))
    >>> row.version, row.rival, row.predicted, row.label, row.predicted_at, row.known_at
    ('1', '2', 0, 1, 7, 9)
    >>> row.loss * 2**-40, row.rival_loss * 2**-40
    (0.0625, 0.25)
    >>> one = PredictionEntry("m", "1", 5, None, VALUED, None, b"", value=9.0)
    >>> other = PredictionEntry("m", "2", 5, None, VALUED, None, b"", value=12.0)
    >>> row = pair_row(one, other, OutcomeEntry(9, b"", true_value=10.0))
    >>> row.predicted, row.label, row.binary, row.loss, row.error, row.rival_error
    (0, 1, 0, -1, -1.0, 2.0)
    """
    if made.flags & VALUED:
        errors = [_error(each.value, outcome.true_value) for each in (made, other)]
        own, its = (abs(error or 0.0) for error in errors)
        error, rival_error = errors if math.isfinite(own + its) else (None, None)
        return Row(
            made.model,
            made.version,
            PAIR,
            predicted_at=max(made.at, other.at),
            known_at=outcome.at,
            predicted=int(own > its),
            label=int(its > own),
            binary=0,
            rival=other.version,
            error=error,
            rival_error=rival_error,
        )
    mine, theirs = label_row(made, outcome, 0), label_row(other, outcome, 0)
    both = mine.score is not None and theirs.score is not None and mine.binary == theirs.binary
    return Row(
        made.model,
        made.version,
        PAIR,
        predicted_at=max(made.at, other.at),
        known_at=outcome.at,
        predicted=int(mine.predicted != mine.label),
        label=int(theirs.predicted != theirs.label),
        rival=other.version,
        loss=_squared_error(mine) if both else -1,
        rival_loss=_squared_error(theirs) if both else -1,
    )


def _squared_error(row: Row) -> int:
    return 0 if row.score is None else round((row.score - row.label) ** 2 / SCORE_UNIT)


def _side_row(made: PredictionEntry, kind: int, outcome: OutcomeEntry) -> Row:
    row = prediction_row(made)._replace(kind=kind, known_at=outcome.at, money=0, features=0, missing=0, alert_key="")
    return row._replace(feature_names=b"", feature_values=b"")
