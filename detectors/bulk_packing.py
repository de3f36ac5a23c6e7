"""Many records to frames of the pending table at once, as columns: what ``detectors.packing`` does for one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from detectors.arrivals import Arrivals
from detectors.entries import (
    ABSTAINED,
    ALERTED,
    BINARY,
    FEATURED_FORM,
    LABEL_FORM,
    LABEL_HEAD,
    LEAST_48,
    MOST_48,
    POSITIVE,
    PREDICTION_FORM,
    PREDICTION_HEAD,
    VALUED,
    Column,
    decode_tail,
    encode_entry,
    encode_value,
    framed,
    prediction_entry,
    split_48,
)
from detectors.feature_packing import pack_features, wanted
from detectors.fixed import Ints
from detectors.packing import MONEY, claim, digest, number, pack_outcome, particulars
from detectors.pending import FRAME_BYTES, MAX_ENTRY, frame
from detectors.shapes import Held, Shapes
from schemas.outcome import Outcome
from schemas.prediction import Prediction

FRAME = [("size", "<u2"), ("source", "V6"), ("place", ">u8")]  # as ``pending.frame`` writes it, of ``pending.record_origin``
PREDICTION_FRAME = np.dtype([*FRAME, *PREDICTION_HEAD.descr])
LABEL_FRAME = np.dtype([*FRAME, *LABEL_HEAD.descr])
RAW = ("subgroups",)  # fields of a lean prediction that stay JSON: each distinct value is read once
USUAL: dict[type[Any], tuple[str, ...]] = {  # fields of the usual record of each kind, see ``schemas.bulk``
    Prediction: ("request_id", "model_id", "model_version", "timestamp", "score", "subgroups", "amount", "alerted"),
    Outcome: ("request_id", "timestamp", "true_label"),
}

_PARTICULAR = ("scores", "predicted_label", "unit", "alert_key", "compute_cost", "features", "probe", "predicted_value")
_encode_json = msgspec.json.Encoder().encode


class Made(NamedTuple):
    """Predictions as their entries hold them, one per element of the columns, shape (n,)."""

    at: Ints  # epoch ms
    score: npt.NDArray[np.float64]  # NaN: none
    flags: Ints
    amount: Ints
    context: Ints  # the number of each one's tail
    features: list[bytes]  # the values of each one's features; empty where none are watched

    def pick(self, chosen: Ints) -> "Made":
        """Return some of them."""
        features = [self.features[i] for i in chosen.tolist()] if self.features else []
        return Made(self.at[chosen], self.score[chosen], self.flags[chosen], self.amount[chosen], self.context[chosen], features)


@dataclass(frozen=True)
class Frames:
    """The frames of records, n of them, in columns: whoever needs their bytes makes them."""

    heads: Column  # all that stands before the tails, but for the digests; shape (n,)
    raws: Sequence[bytes]  # the records as they came
    entries: dict[int, bytes]  # whole, of those that are more than head and tail
    codes: npt.NDArray[np.int32] | None = None  # which of ``tails`` is each one's; None: there are none
    tails: Sequence[bytes] = ()
    features: Sequence[bytes] = ()  # the values of each one's features; empty where none are watched
    numbers: Mapping[int, bytes] = field(default_factory=dict)  # the predicted numbers of those that have one

    def made(self) -> list[bytes]:
        """Return their bytes."""
        heads = self.heads.copy()
        heads["digest"] = np.fromiter(map(xxh3_64_intdigest, self.raws), np.uint64, len(heads))
        frames: list[bytes] = heads.view(f"V{heads.itemsize}").tolist()
        if self.codes is not None:
            tails = list(map(self.tails.__getitem__, self.codes.tolist()))
            for i, given in self.numbers.items():
                tails[i] = given + tails[i]
            if self.features:
                tails = [framed(values) + tail for values, tail in zip(self.features, tails, strict=True)]
            frames = list(map(add, frames, tails))
        for i, entry in self.entries.items():
            frames[i] = frame(frames[i][2:FRAME_BYTES], entry)
        return frames


@dataclass(frozen=True)
class Packed:
    """Arrivals as the table gets them, in their order; ``made`` of predictions, ``label`` of outcomes."""

    arrivals: Arrivals
    frames: Frames
    sizes: Ints  # bytes of each frame, shape (n,)
    ttls_ms: Ints  # shape (n,)
    made: Made | None = None
    label: Ints | None = None  # shape (n,); -1: of an outcome that is more than a label 0 or 1

    def __len__(self) -> int:
        return len(self.arrivals.records)


class Shaped(NamedTuple):
    """What predictions have in common, and what some say for themselves."""

    codes: Ints  # the number of each one's shape; shape (n,)
    claims: dict[int, tuple[float | None, int]]  # score and flags of those whose claim is more than a score
    features: list[bytes]  # the values of each one's features; empty where none are watched


def shaped(arrivals: Arrivals, held: Held, shapes: Shapes) -> Shaped:
    """Return the shapes of predictions."""
    records, n = arrivals.records, len(arrivals.records)
    more: list[Any] = []
    claims: dict[int, tuple[float | None, int]] = {}
    features: list[bytes] = []
    columns = [arrivals.column(name) for name in arrivals.held(_PARTICULAR)]
    if any(column.count(None) < n for column in columns):
        more = [None] * n
        for i in {i for column in columns for i, value in enumerate(column) if value is not None}:
            score, flags, label = claim(records[i], held(records[i].model_id)[0])
            more[i] = (label, *particulars(records[i]))
            claims[i] = score, flags
        features = _features(records, held, more)
    models, versions = [record.model_id for record in records], [record.model_version for record in records]
    codes = shapes.numbers(models, versions, _subgroups(arrivals), more)
    return Shaped(codes, claims, features)


def _subgroups(arrivals: Arrivals) -> list[bytes]:
    """Return the subgroups of predictions as JSON, no bytes for none."""
    given = [record.subgroups for record in arrivals.records]
    if Prediction not in arrivals.kinds:  # lean twins have them as JSON, in which no NUL can stand
        json = b"\0".join(given).split(b"\0")
        if len(json) == len(given):
            return json
    return [bytes(value) if type(value) is msgspec.Raw else b"" if value is None else _encode_json(value) for value in given]


def _features(records: Sequence[Any], held: Held, more: list[Any]) -> list[bytes]:
    """Return the values of the features that policies watch, and add their names to what repeats."""
    models: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        if record.features:
            models.setdefault(record.model_id, []).append(i)
    values: list[bytes] = []
    for model, places in models.items():
        names = wanted(held(model)[0])
        if names is None:
            continue
        values = values or [b""] * len(records)
        for i, (sent, packed) in zip(places, pack_features([records[i].features for i in places], names), strict=True):
            more[i], values[i] = (*more[i], sent), packed
    return values


def pack_predictions(arrivals: Arrivals, sources: npt.NDArray[Any], what: Shaped, shapes: Shapes) -> Packed:
    """Return predictions as the table gets them; ``sources``: what stands for each batch's partition, see ``pending.origin_prefix``."""
    records, codes = arrivals.records, what.codes
    score = np.array(arrivals.scores, dtype=np.float64)  # None becomes NaN
    flags = shapes.column("flags", codes)
    flags |= np.where(score >= shapes.column("threshold", codes), POSITIVE, 0)
    for i, (said, flag) in what.claims.items():
        score[i] = np.nan if said is None else said
        flags[i] = flag
    if arrivals.held(["abstained"]):
        flags |= np.where(arrivals.column("abstained"), ABSTAINED, 0)
    alerted = flags & (BINARY | POSITIVE | ABSTAINED) == BINARY | POSITIVE
    stated = [record.alerted for record in records]
    if stated.count(None) < len(stated):
        alerted = np.array([at if said is None else said for at, said in zip(alerted.tolist(), stated, strict=True)])
    flags |= np.where(alerted, ALERTED, 0)
    amounts = [record.amount for record in records]
    amount = np.zeros(len(records), dtype=np.int64)
    if amounts.count(None) < len(amounts):
        amount = np.rint(np.nan_to_num(np.array(amounts, dtype=np.float64)) * MONEY).astype(np.int64)
    made = Made(arrivals.at_ms, score, flags, amount, shapes.column("context", codes), what.features)
    heads = np.empty(len(records), dtype=PREDICTION_FRAME)
    heads["form"] = PREDICTION_FORM | flags
    heads["score"] = score
    split_48(heads, "amount", amount)
    size = PREDICTION_HEAD.itemsize + shapes.column("bytes", codes)
    numbers = {i: number(records[i]) for i, (_, flag) in what.claims.items() if flag & VALUED}
    valued = {i: encode_value(*given) for i, given in numbers.items()}
    for i, value in valued.items():
        size[i] += len(value)
    whole = set(_beyond_48(arrivals.at_ms))  # no head can hold them
    if what.features:
        featured = np.array(list(map(bool, what.features)))
        heads["form"] = np.where(featured, FEATURED_FORM | flags, heads["form"])
        size += np.array([len(framed(values)) for values in what.features])
        whole |= set(np.flatnonzero(featured & (flags & VALUED != 0)).tolist())
    entries = {}
    for i in sorted(whole):
        tail = decode_tail(shapes.tails[codes[i]])
        own = (float(score[i]), int(amount[i]), *numbers.get(i, ()))
        entry = prediction_entry(int(arrivals.at_ms[i]), digest(arrivals.raws[i]), int(flags[i]), own, tail)
        if what.features:
            entry = msgspec.structs.replace(entry, feature_values=what.features[i])
        entries[i] = encode_entry(entry)
    sizes = _placed(heads, arrivals, sources, size, entries)
    frames = Frames(heads, arrivals.raws, entries, codes.astype(np.int32), shapes.tails, what.features, valued)
    return Packed(arrivals, frames, sizes, shapes.column("ttl_ms", codes), made=made)


def pack_outcomes(arrivals: Arrivals, sources: npt.NDArray[Any], ttl_ms: Callable[[str | None], int]) -> Packed:
    """Return outcomes as the table gets them; ``sources`` as in ``pack_predictions``."""
    n, labels = len(arrivals.records), arrivals.labels
    heads = np.empty(n, dtype=LABEL_FRAME)
    heads["form"] = LABEL_FORM | np.maximum(labels, 0)
    ttls, whole = np.full(n, ttl_ms(None), dtype=np.int64), labels < 0
    whole[_beyond_48(arrivals.at_ms)] = True
    entries = {}
    for i in np.flatnonzero(whole).tolist():
        record = arrivals.records[i]
        ttls[i] = ttl_ms(record.model_id)
        entries[i] = pack_outcome(record, arrivals.raws[i], int(arrivals.at_ms[i]))
    sizes = _placed(heads, arrivals, sources, np.full(n, LABEL_HEAD.itemsize), entries)
    return Packed(arrivals, Frames(heads, arrivals.raws, entries), sizes, ttls, label=np.where(whole, -1, labels))


def _beyond_48(at_ms: Ints) -> list[int]:
    """Return which times no head can hold."""
    return np.flatnonzero((at_ms < LEAST_48) | (at_ms > MOST_48)).tolist()


def _placed(heads: Column, arrivals: Arrivals, sources: Column, size: Ints, entries: Mapping[int, bytes]) -> Ints:
    """Fill in what the heads of both kinds hold, ``size`` being those of the entries, and return how many bytes each frame has."""
    heads["size"] = np.minimum(size, MAX_ENTRY)
    heads["source"] = sources[arrivals.batch]
    heads["place"] = arrivals.offset << 16 | arrivals.element
    split_48(heads, "at", arrivals.at_ms)
    for i, entry in entries.items():
        size[i] = len(entry)
    return FRAME_BYTES + size
