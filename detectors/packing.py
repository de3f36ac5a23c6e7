"""Records to entries, one at a time: what the bulk of them costs less for (``detectors.bulk_packing``), and what it must agree with."""

from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any

import msgspec
from xxhash import xxh3_64_intdigest

from detectors.entries import ABSTAINED, ALERTED, BINARY, MAPPED, POSITIVE, VALUED, OutcomeEntry, PredictionEntry, encode_entry
from detectors.feature_packing import pack_features, wanted
from schemas.fields import epoch_ms, label_value, segment
from schemas.outcome import Outcome
from schemas.policy_models import ModelPolicy
from schemas.prediction import Prediction

MONEY = 10_000  # money is kept in ten-thousandths
JOINT = "*"  # joins the names, and the values, of a declared intersection
_LONGEST = 256  # characters of a dimension's name or value, as elsewhere

_encode = msgspec.msgpack.Encoder().encode


def pack_prediction(record: Prediction, raw: bytes, policy: ModelPolicy, at_ms: int | None = None) -> bytes:
    """Return the entry of a prediction.

    Parameters
    ----------
    record
        The prediction.
    raw
        Its bytes as they came.
    policy
        Of its model.
    at_ms
        Its timestamp as epoch ms, where that is known already.

    Examples
    --------
    >>> from detectors.entries import decode_entry, subgroup_pairs
    >>> policy = ModelPolicy(intersections=(("sex", "site"),))
    >>> record = Prediction(request_id="a", model_id="m", model_version="1", timestamp=7, score=0.9, subgroups={"site": 3, "sex": "f"})
    >>> entry = decode_entry(pack_prediction(record, b"raw", policy))
    >>> entry.score, entry.flags == BINARY | POSITIVE | ALERTED
    (0.9, True)
    >>> subgroup_pairs(entry.subgroups)
    [('sex', 'f'), ('sex*site', 'f*3'), ('site', '3')]

    """
    score, flags, label = claim(record, policy)
    if record.abstained:
        flags |= ABSTAINED
    # where no label counts as positive, every prediction would count as an alert
    alerted = flags & (BINARY | POSITIVE | ABSTAINED) == BINARY | POSITIVE if record.alerted is None else record.alerted
    named = wanted(policy)
    [features] = [(b"", b"")] if named is None else pack_features([record.features], named)
    entry = PredictionEntry(
        record.model_id,
        record.model_version,
        epoch_ms(record.timestamp) if at_ms is None else at_ms,
        score,
        flags | ALERTED if alerted else flags,
        label,
        digest(raw),
        money(record.amount),
        pack_subgroups(record.subgroups, policy.dimensions, policy.intersections),
        *particulars(record),
        *number(record),
        *features,
    )
    return encode_entry(entry)


def particulars(record: Prediction) -> tuple[int, int, int, str, str, str]:
    """Return compute cost, features, missing, unit, alert key and probe, as entries hold them."""
    features, probe = record.features, record.probe
    return (
        money(record.compute_cost),
        len(features) if features else 0,
        sum(value is None for value in features.values()) if features else 0,
        record.unit or "",
        record.alert_key or "",
        ("probe" if probe is True else probe) if probe else "",
    )


def number(record: Prediction) -> tuple[float | None, float | None, float | None]:
    """Return the number that a regression model predicts, and its interval, as entries hold them."""
    interval = record.interval
    return (record.predicted_value, interval.lower, interval.upper) if interval else (record.predicted_value, None, None)


def pack_outcome(record: Outcome, raw: bytes, at_ms: int | None = None) -> bytes:
    """Return the entry of an outcome; ``raw`` is its bytes as they came.

    >>> from detectors.entries import decode_entry
    >>> entry = decode_entry(pack_outcome(Outcome(request_id="a", timestamp=7, true_label=True, cost=0.25), b"raw"))
    >>> entry.label, entry.cost, entry.rank
    (1, 2500, 7)
    """
    checks = [(name, passed, total) for name, (passed, total) in sorted(record.checks.items())] if record.checks else None
    return encode_entry(
        OutcomeEntry(
            epoch_ms(record.timestamp) if at_ms is None else at_ms,
            digest(raw),
            _label(record.true_label),
            record.version,
            record.model_id,
            None if record.cost is None else money(record.cost),
            record.action_taken or None,
            None if record.review_seconds is None else round(record.review_seconds * 1000),
            None if record.value is None else money(record.value),
            checks,
            record.true_value,
        )
    )


def digest(raw: bytes) -> bytes:
    """Return the 8 bytes that stand for a record as it came: repeats are told by them, so they hide nothing and need no secret."""
    return xxh3_64_intdigest(raw).to_bytes(8, "little")


def money(value: float | None) -> int:
    """Return an amount as entries hold it."""
    return round(value * MONEY) if value else 0


def _label(label: bool | int | float | str | None) -> int | str | None:
    return None if label is None or label == "" else label_value(label)


def claim(record: Prediction, policy: ModelPolicy) -> tuple[float | None, int, str | None]:
    """Return score, flags and the label to compare with: what the prediction claims."""
    if record.predicted_value is not None:  # that the interval holds the true number is claimed with the confidence of its level
        return (record.interval.level if record.interval else None), VALUED, None
    score, predicted = record.score, _label(record.predicted_label)
    positive = policy.positive_label
    mapped = positive != 1  # a label other than 1 is declared to be the positive one
    if record.scores:
        name = str(positive) if mapped else "1"
        if name in record.scores and (mapped or len(record.scores) <= 2):
            score = record.scores[name] if score is None else score
        else:  # several classes: the confidence in the one predicted
            top = min(record.scores, key=lambda name: (-record.scores[name], name)) if predicted is None else str(predicted)  # type: ignore[index]
            return (record.scores.get(top, max(record.scores.values())) if score is None else score), 0, top
    if predicted is None:
        claimed = score is not None and score >= policy.threshold
    elif mapped:
        claimed = str(predicted) == str(positive)
    elif predicted in (0, 1):
        claimed = predicted == 1
    else:
        return score, 0, str(predicted)
    flags = BINARY | MAPPED if mapped else BINARY
    return score, flags | POSITIVE if claimed else flags, str(positive) if mapped else None


def pack_subgroups(
    given: dict[str, Any] | None, dimensions: tuple[str, ...] | None = None, intersections: tuple[tuple[str, ...], ...] = ()
) -> bytes:
    """Return the subgroups that a policy keeps, intersections included, both as it says; see ``entries.subgroup_pairs``."""
    return _encode(kept_subgroups(given, dimensions, intersections)) if given else b""


def kept_subgroups(
    given: dict[str, Any], dimensions: tuple[str, ...] | None = None, intersections: tuple[tuple[str, ...], ...] = ()
) -> list[str]:
    """Return the same as texts: dimension, value, dimension, value, and so on."""
    groups = single = segment(given)
    if dimensions is not None or intersections or JOINT in "".join(single):
        groups = {joint([name]) if JOINT in name else name: single[name] for name in single if dimensions is None or name in dimensions}
        for names in intersections:
            if all(name in single for name in names):
                groups[joint(names)] = joint([single[name] for name in names])
        groups = dict(sorted(groups.items()))
    return list(chain.from_iterable(groups.items()))


def joint(parts: Sequence[str]) -> str:
    r"""Return the names of dimensions, or their values, as one text; other parts give another text.

    A backslash stands before a star or a backslash that is part of them. What would be longer than a name may be ends in its hash.

    >>> print(joint(["US", "web"]), joint(["a*b", "c"]), joint(["a", "b*c"]), len(joint(["x" * 200, "y" * 200])))
    US*web a\*b*c a*b\*c 256
    """
    text = JOINT.join(part.replace("\\", r"\\").replace(JOINT, rf"\{JOINT}") for part in parts)
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 17]}#{blake2b(text.encode(), digest_size=8).hexdigest()}"
