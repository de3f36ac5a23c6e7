"""What the join keeps per request: one compact entry per record that arrived, without raw ids.

An entry holds just what scored rows need, some 80 bytes for a prediction with three subgroups. What a policy decides (threshold, positive
label, dimensions) is decided when the entry is made and kept with it, so that reading a stored entry again never depends on the policy of
the day. There are three forms, told apart by their first byte:

- a prediction: a head of fixed width, which many entries at once are read from as columns, then a tail that repeats from one prediction
  to the next (a msgpack array: model, version, subgroups ...), so that each distinct one is read once;
- the ordinary outcome, a label 0 or 1 and nothing else: a head;
- any other outcome: a msgpack array. Predictions of earlier releases are msgpack arrays too, and stay readable.

Fields are only ever added at the end of an array, with a default: old entries stay readable, and so do newer ones.
"""

import struct
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import numpy as np

BINARY, POSITIVE, ABSTAINED, ALERTED, MAPPED = 1, 2, 4, 8, 16  # bits of ``PredictionEntry.flags``
KEY_BYTES = 16
PREDICTION_FORM, LABEL_FORM = 1, 2  # first byte of an entry; an array's is 0x90 or above
# A score of NaN stands for none. The field ``flags`` of a label is the label itself.
LABEL_HEAD = np.dtype([("form", "u1"), ("flags", "u1"), ("at", "<i8"), ("digest", "<u8")])
PREDICTION_HEAD = np.dtype([*LABEL_HEAD.descr, ("score", "<f8"), ("amount", "<i8")])


class PredictionEntry(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """What a prediction leaves in the log of its request."""

    model: str
    version: str
    at: int  # epoch ms
    score: float | None
    flags: int
    label: str | None  # not BINARY: the label predicted; MAPPED: the label that counts as 1
    digest: bytes  # of the record as it came, 8 bytes: only byte-identical repeats are duplicates
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


class Tail(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What repeats from one prediction to the next; in the order of ``PredictionEntry``, which says what each field is."""

    model: str
    version: str
    subgroups: bytes = b""
    label: str | None = None
    compute_cost: int = 0
    features: int = 0
    missing: int = 0
    unit: str = ""
    alert_key: str = ""
    probe: str = ""


_NO_TAIL = Tail("", "")
_prediction_head = struct.Struct("<BBqQdq")
_label_head = struct.Struct("<BBqQ")
_encode = msgspec.msgpack.Encoder().encode
_decode_array = msgspec.msgpack.Decoder(Entry).decode
_decode_tail = msgspec.msgpack.Decoder(Tail).decode
_decode_subgroups = msgspec.msgpack.Decoder(list[str]).decode


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of an entry.

    >>> entry = OutcomeEntry(9, b"8 bytes.", label=1)
    >>> len(encode_entry(entry)), decode_entry(encode_entry(entry)) == entry
    (18, True)
    """
    digest = int.from_bytes(entry.digest[:8].ljust(8, b"\0"), "little")
    if isinstance(entry, PredictionEntry):
        score = float("nan") if entry.score is None else entry.score
        head = _prediction_head.pack(PREDICTION_FORM, entry.flags, entry.at, digest, score, entry.amount)
        return head + encode_tail(Tail(*(getattr(entry, name) for name in Tail.__struct_fields__)))
    if entry == OutcomeEntry(entry.at, entry.digest, entry.label) and entry.label in (0, 1):
        return _label_head.pack(LABEL_FORM, int(entry.label), entry.at, digest)
    return _encode(entry)


def encode_tail(tail: Tail) -> bytes:
    """Return the bytes of a tail: as far as its fields differ from their defaults."""
    values = msgspec.structs.astuple(tail)
    n = len(values)
    while n > 2 and values[n - 1] == getattr(_NO_TAIL, Tail.__struct_fields__[n - 1]):
        n -= 1
    return _encode(values[:n])


def decode_entry(raw: bytes) -> Entry:
    """Return the entry that bytes stand for.

    Raises
    ------
    msgspec.MsgspecError, ValueError
        If they stand for none.

    """
    form = raw[0] if raw else 0
    if form >= 0x90:
        entry: Entry = _decode_array(raw)
        return entry
    if form == LABEL_FORM and len(raw) == _label_head.size:
        _, label, at, digest = _label_head.unpack(raw)
        return OutcomeEntry(at, digest.to_bytes(8, "little"), label)
    if form == PREDICTION_FORM and len(raw) > _prediction_head.size:
        _, flags, at, digest, score, amount = _prediction_head.unpack_from(raw)
        tail = decode_tail(raw[_prediction_head.size :])
        rest = (tail.compute_cost, tail.features, tail.missing, tail.unit, tail.alert_key, tail.probe)
        score = score if score == score else None  # noqa: PLR0124  NaN is not itself
        name = digest.to_bytes(8, "little")
        return PredictionEntry(tail.model, tail.version, at, score, flags, tail.label, name, amount, tail.subgroups, *rest)
    raise ValueError("expected an entry of the pending table, got bytes that are none")


def decode_tail(raw: bytes) -> Tail:
    """Return the tail that bytes stand for; raises ``msgspec.MsgspecError`` if they stand for none."""
    tail: Tail = _decode_tail(raw)
    return tail


class Keys:
    """Makes the key of a request's log: a keyed hash, so that the table holds no ids that can be guessed back.

    >>> key = Keys(b"secret")
    >>> key("a2", 0) == key_for("a2", 0, b"secret"), key("a2", 0) == key("a2", 1)
    (True, False)
    """

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2b(key=secret if len(secret) <= 64 else blake2b(secret).digest(), digest_size=KEY_BYTES)
        self._row_0 = self._keyed.copy()
        self._row_0.update(bytes(8))

    def __call__(self, request_id: str, row: int) -> bytes:
        """Return the 16 bytes that stand for one row of one request."""
        keyed = self._keyed.copy()
        keyed.update(row.to_bytes(8, "big") + request_id.encode())
        return keyed.digest()

    def many(self, request_ids: Sequence[str], rows: Sequence[int]) -> list[bytes]:
        """Return the keys of many rows."""
        if any(rows):
            return list(map(self, request_ids, rows))
        out = []
        begin = self._row_0.copy
        for request_id in request_ids:
            keyed = begin()
            keyed.update(request_id.encode())
            out.append(keyed.digest())
        return out


def key_for(request_id: str, row: int, secret: bytes) -> bytes:
    """Return the key of one row of one request, 16 bytes."""
    return Keys(secret)(request_id, row)


def subgroup_pairs(blob: bytes) -> list[tuple[str, str]]:
    """Return (dimension, value) of an entry's subgroups, in the order of the dimensions' names."""
    flat = _decode_subgroups(blob) if blob else []
    return list(zip(flat[::2], flat[1::2], strict=True))
