"""What the join keeps per request: one compact entry per record that arrived, without raw ids.

An entry is a msgpack array with just what scored rows need, some 100 bytes for a prediction with three subgroups. What a policy decides
(threshold, positive label, dimensions) is decided when the entry is made and kept with it, so that reading a stored entry again never
depends on the policy of the day. Fields are only ever added at the end, with a default: old entries stay readable, and so do newer ones.
"""

from hashlib import blake2b
from typing import Any

import msgspec

from schemas.fields import epoch_ms, label_value, segment
from schemas.outcome import Outcome
from schemas.policy_models import ModelPolicy
from schemas.prediction import Prediction

BINARY, POSITIVE, ABSTAINED, ALERTED, MAPPED = 1, 2, 4, 8, 16  # bits of ``PredictionEntry.flags``
KEY_BYTES = 16
DIGEST_BYTES = 8
MONEY = 10_000  # money is kept in ten-thousandths
JOINT = "*"  # joins the names, and the values, of a declared intersection


class PredictionEntry(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """What a prediction leaves in the log of its request."""

    model: str
    version: str
    at: int  # epoch ms
    score: float | None
    flags: int
    label: str | None  # not BINARY: the label predicted; MAPPED: the label that counts as 1
    digest: bytes  # of the record as it came: only byte-identical repeats are duplicates
    amount: int = 0
    subgroups: bytes = b""  # see ``subgroup_pairs``
    compute_cost: int = 0
    features: int = 0
    missing: int = 0
    unit: str = ""
    alert_key: str = ""
    probe: str = ""


class OutcomeEntry(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """What an outcome leaves in the log of its request."""

    at: int  # known at, epoch ms
    digest: bytes
    label: int | str | None = None
    version: int | None = None
    model: str | None = None  # None: every model that answered the request
    cost: int | None = None
    action: str | None = None
    review_ms: int | None = None
    value: int | None = None
    checks: list[tuple[str, int, int]] | None = None  # name, passed, total; by name

    @property
    def rank(self) -> int:
        """The version that decides which outcome is in force."""
        return self.at if self.version is None else self.version


Entry = PredictionEntry | OutcomeEntry

encode_entry = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_subgroups = msgspec.msgpack.Decoder(list[str]).decode


class Keys:
    """Makes the key of a request's log: a keyed hash, so that the table holds no ids that can be guessed back.

    >>> key = Keys(b"secret")
    >>> key("a2", 0) == key_for("a2", 0, b"secret"), key("a2", 0) == key("a2", 1)
    (True, False)
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2b(key=secret if len(secret) <= 64 else blake2b(secret).digest(), digest_size=KEY_BYTES)

    def __call__(self, request_id: str, row: int) -> bytes:
        """Return the 16 bytes that stand for one row of one request."""
        keyed = self._keyed.copy()
        keyed.update(row.to_bytes(8, "big") + request_id.encode())
        return keyed.digest()


def key_for(request_id: str, row: int, secret: bytes) -> bytes:
    """Return the key of one row of one request, 16 bytes."""
    return Keys(secret)(request_id, row)


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
    >>> policy = ModelPolicy(intersections=(("sex", "site"),))
    >>> record = Prediction(request_id="a", model_id="m", model_version="1", timestamp=7, score=0.9, subgroups={"site": 3, "sex": "f"})
    >>> entry = decode_entry(pack_prediction(record, b"raw", policy))
    >>> entry.score, entry.flags == BINARY | POSITIVE | ALERTED
    (0.9, True)
    >>> subgroup_pairs(entry.subgroups)
    [('sex', 'f'), ('sex*site', 'f*3'), ('site', '3')]

    """
    score, flags, label = _claim(record, policy)
    if record.abstained:
        flags |= ABSTAINED
    # where no label counts as positive, every prediction would count as an alert
    alerted = flags & (BINARY | POSITIVE | ABSTAINED) == BINARY | POSITIVE if record.alerted is None else record.alerted
    features = record.features
    probe = record.probe
    return encode_entry(
        PredictionEntry(
            record.model_id,
            record.model_version,
            epoch_ms(record.timestamp) if at_ms is None else at_ms,
            score,
            flags | ALERTED if alerted else flags,
            label,
            blake2b(raw, digest_size=DIGEST_BYTES).digest(),
            round(record.amount * MONEY) if record.amount else 0,
            _subgroups(record.subgroups, policy) if record.subgroups else b"",
            _money(record.compute_cost),
            len(features) if features else 0,
            sum(value is None for value in features.values()) if features else 0,
            record.unit or "",
            record.alert_key or "",
            ("probe" if probe is True else probe) if probe else "",
        )
    )


def pack_outcome(record: Outcome, raw: bytes, at_ms: int | None = None) -> bytes:
    """Return the entry of an outcome; ``raw`` is its bytes as they came.

    >>> entry = decode_entry(pack_outcome(Outcome(request_id="a", timestamp=7, true_label=True, cost=0.25), b"raw"))
    >>> entry.label, entry.cost, entry.rank
    (1, 2500, 7)
    """
    checks = [(name, passed, total) for name, (passed, total) in sorted(record.checks.items())] if record.checks else None
    return encode_entry(
        OutcomeEntry(
            epoch_ms(record.timestamp) if at_ms is None else at_ms,
            blake2b(raw, digest_size=DIGEST_BYTES).digest(),
            _label(record.true_label),
            record.version,
            record.model_id,
            None if record.cost is None else _money(record.cost),
            record.action_taken or None,
            None if record.review_seconds is None else round(record.review_seconds * 1000),
            None if record.value is None else _money(record.value),
            checks,
        )
    )


def subgroup_pairs(blob: bytes) -> list[tuple[str, str]]:
    """Return (dimension, value) of an entry's subgroups, in the order of the dimensions' names."""
    flat = _decode_subgroups(blob) if blob else []
    return list(zip(flat[::2], flat[1::2], strict=True))


def _money(value: float | None) -> int:
    return round(value * MONEY) if value else 0


def _label(label: bool | int | float | str | None) -> int | str | None:
    return None if label is None or label == "" else label_value(label)


def _claim(record: Prediction, policy: ModelPolicy) -> tuple[float | None, int, str | None]:
    """Return score, flags and the label to compare with: what the prediction claims."""
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


def _subgroups(given: dict[str, Any], policy: ModelPolicy) -> bytes:
    groups = segment(given)
    for names in policy.intersections:
        if all(name in groups for name in names):
            groups[JOINT.join(names)] = JOINT.join(groups[name] for name in names)
    wanted = policy.dimensions
    if wanted is not None:
        joint = {JOINT.join(names) for names in policy.intersections}
        groups = {name: value for name, value in groups.items() if name in wanted or name in joint}
    return encode_entry([text for pair in sorted(groups.items()) for text in pair])
