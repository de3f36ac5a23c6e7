"""The internal topic between join and watch: signed rows in columns, watermark ticks, forwarded control records.

One ``Rows`` message holds the rows of one model from one join batch. A row is signed: a prediction adds to the prediction side, an
outcome's part adds to its side, a correction is minus the old and plus the new. Every row carries the source offset and index that
caused it, so a repeated delivery is recognised and dropped.
"""

from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.feature_codes import codes_of


class Kind(IntEnum):
    """What a row adds to."""

    COUNT = 0  # only the count of its status
    PREDICTION = 1
    LABEL = 2
    DISPOSITION = 3
    COST = 4
    CHECK = 5
    PAIR = 6  # two versions of one model judged by the label of a request that both answered


class Status(IntEnum):
    """What an input record was counted as. Each valid record is counted once, by one row."""

    NONE = 0  # counted by another row of the same record
    PREDICTION = 1
    JOINED = 2  # an outcome that met a prediction
    CORRECTION = 3  # an outcome for a part that was known already
    DUPLICATE = 4
    CONFLICT = 5  # a different prediction for the same slot
    WAITING = 6  # an outcome that has met no prediction
    DEAD_LETTER = 7
    SUPERSEDED = 8  # parts replaced or outranked; not a count of records


# name -> (type on the wire, value of an absent column)
COLUMNS: dict[str, tuple[str, float]] = {
    "origin": ("u1", 0),  # index into ``origins``
    "offset": ("<i8", 0),
    "index": ("<i4", 0),  # position in the source message's array
    "kind": ("u1", 0),
    "sign": ("i1", 1),
    "status": ("u1", 0),
    "count": ("<i4", 1),  # added to the count of ``status``
    "version": ("<u2", 0),  # index into ``versions``
    "predicted_at": ("<i8", 0),  # epoch ms
    "known_at": ("<i8", 0),  # epoch ms; of the outcome's part
    "score": ("<f8", np.nan),  # NaN: the prediction had none
    "predicted": ("u1", 0),
    "label": ("u1", 0),
    "binary": ("u1", 1),  # 0: top-label confidence, no timeout labels; PAIR: 0 of predicted numbers
    "abstained": ("u1", 0),
    "alerted": ("u1", 0),
    "costed": ("u1", 0),  # a realised cost overrides the matrix (LABEL); a value is known (DISPOSITION)
    "amount": ("<i8", 0),  # ten-thousandths of the money unit
    "money": ("<i8", 0),  # realised cost (COST), value (DISPOSITION), compute cost (PREDICTION); ten-thousandths
    "features": ("<u2", 0),  # features sent
    "missing": ("<u2", 0),  # of them null
    "probe": ("<u2", 0),  # index into ``texts``; 0 = real traffic
    "unit": ("<u4", 0),  # index into ``texts``
    "alert_key": ("<u4", 0),  # index into ``texts``
    "action": ("<u2", 0),  # index into ``texts``
    "review_ms": ("<i8", -1),  # -1: none
    "passed": ("<i4", 0),  # CHECK: of ``total`` checks named ``action``
    "total": ("<i4", 0),
    # PAIR: the other version, an index into ``texts``. ``predicted``: the version was wrong; ``label``: its rival was. Of numbers, where
    # ``binary`` is 0, who was further from the truth; nobody where both were as far
    "rival": ("<u2", 0),
    "loss": ("<i8", -1),  # PAIR: squared error of the version's score, in 2⁻⁴⁰; -1: not both have one, of one kind
    "rival_loss": ("<i8", -1),  # PAIR: of its rival's
    "error": ("<f8", np.nan),  # of a number (LABEL, PAIR): predicted - true value
    "rival_error": ("<f8", np.nan),  # PAIR: of the rival's number
    "said": ("<u4", 0),  # LABEL of one of many classes: the class predicted, index into ``texts``
    "truth": ("<u4", 0),  # and the true one
}


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """A source partition. ``topic_id`` changes when the topic is created anew."""

    topic: str
    topic_id: str
    partition: int


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """The rows of one model from one join batch, as columns of equal length ``n``.

    ``columns`` holds a column's bytes by name; one that is everywhere at its absent value is left out. ``dimensions`` holds one
    ``<u4`` column of indexes into ``texts`` per subgroup dimension. ``texts[0]`` is the empty string: absent. ``features`` holds the codes
    of one feature of the predictions by name, where the policy watches it: see ``schemas.feature_codes``.
    """

    model_id: str  # empty: rows that belong to no known model
    origins: list[Origin]
    n: int
    columns: dict[str, bytes]
    versions: list[str] = msgspec.field(default_factory=list)
    texts: list[str] = msgspec.field(default_factory=lambda: [""])
    dimensions: dict[str, bytes] = msgspec.field(default_factory=dict)
    features: dict[str, bytes] = msgspec.field(default_factory=dict)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column, shape (n,), in its wire type; read-only.

        >>> rows = Rows("m", [], 2, {"sign": np.array([1, -1], "i1").tobytes()})
        >>> rows.column("sign"), rows.column("count")
        (array([ 1, -1], dtype=int8), array([1, 1], dtype=int32))
        """
        return _column(self.columns.get(name), _ABSENT[name], self.n)

    def dimension(self, name: str) -> npt.NDArray[np.uint32]:
        """Return the indexes into ``texts`` of one subgroup dimension, shape (n,)."""
        return _column(self.dimensions.get(name), _NOWHERE, self.n)

    def by_version(self, where: npt.NDArray[np.int64]) -> list[tuple[str, npt.NDArray[np.int64]]]:
        """Return the picked rows of each version by its name, in the order of ``versions``; versions without any are left out.

        >>> rows = Rows("m", [], 3, {"version": np.array([1, 0, 1], "<u2").tobytes()}, ["a", "b"])
        >>> [(name, mine.tolist()) for name, mine in rows.by_version(np.array([0, 2]))]
        [('b', [0, 2])]
        """
        if len(self.versions) == 1:
            return [(self.versions[0], where)] if len(where) else []
        code = self.column("version")[where]
        return [(self.versions[number], where[code == number]) for number in np.unique(code).tolist()]

    def feature(self, name: str) -> npt.NDArray[np.int64]:
        """Return the codes of one feature, shape (n,)."""
        return codes_of(self.features.get(name), self.n)


class Tick(msgspec.Struct, frozen=True, tag="tick"):
    """How far event time has come in each source partition that a join worker reads: the greatest event time seen, epoch ms.

    ``partitions`` is the number of partitions of each source topic; the watch's time waits for all of them. ``at_ms`` is the writer's
    clock: it paces what the watch publishes, and decides nothing that it finds. ``done`` says of source partitions up to which offset all
    rows came before this tick, whatever their model: what comes again of those has been counted.
    """

    partitions: dict[str, int]
    highs: list[tuple[Origin, int]]
    at_ms: int = 0
    done: list[tuple[Origin, int]] = []


class Forwarded(msgspec.Struct, frozen=True, tag="control"):
    """A control record on its way to the watch, with the origin that identifies it."""

    origin: Origin
    offset: int
    index: int
    record: bytes  # a ``schemas.control.Control`` as JSON


Scored = Rows | Tick | Forwarded

_decoder = msgspec.msgpack.Decoder(Scored)
_encoder = msgspec.msgpack.Encoder()


def encode(record: Scored) -> bytes:
    """Encode a scored record as msgpack.

    >>> decode(encode(Tick({"predictions": 1}, [(Origin("predictions", "x", 0), 7)]))).highs
    [(Origin(topic='predictions', topic_id='x', partition=0), 7)]
    """
    return _encoder.encode(record)


def decode(data: bytes) -> Scored:
    """Decode a scored record; columns of a wrong length are refused.

    Raises
    ------
    msgspec.ValidationError
        If the message is not a scored record.

    """
    record: Scored = _decoder.decode(data)
    if isinstance(record, Rows):
        for name, column in record.columns.items():
            if name in COLUMNS and len(column) != record.n * np.dtype(COLUMNS[name][0]).itemsize:
                raise msgspec.ValidationError(f"column {name!r}: expected {record.n} values, got {len(column)} bytes")
        for name, column in record.dimensions.items():
            if len(column) != 4 * record.n:
                raise msgspec.ValidationError(f"dimension {name!r}: expected {record.n} values, got {len(column)} bytes")
        for name, column in record.features.items():
            if len(column) not in (2 * record.n, 4 * record.n):
                raise msgspec.ValidationError(f"feature {name!r}: expected {record.n} values, got {len(column)} bytes")
    return record


def pack(name: str, values: npt.ArrayLike) -> bytes | None:
    r"""Return a column's bytes, or None where every value is the absent one and the column is left out.

    >>> pack("sign", [1, 1]) is None, pack("sign", [1, -1])
    (True, b'\x01\xff')
    """
    dtype, absent = COLUMNS[name]
    array = np.asarray(values, dtype=dtype)
    if np.isnan(absent):
        return None if np.isnan(array).all() else array.tobytes()
    return None if (array == absent).all() else array.tobytes()


def _constant(dtype: str, absent: float) -> npt.NDArray[Any]:
    column = np.full(_FEW, absent, dtype=dtype)
    column.flags.writeable = False
    return column


_FEW = 256  # rows: of so many an absent column is not made anew
_ABSENT = {name: _constant(*column) for name, column in COLUMNS.items()}
_NOWHERE = _constant("<u4", 0)


def _column(data: bytes | None, absent: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    if data is not None:
        return np.frombuffer(data, dtype=absent.dtype)
    return absent[:n] if n <= _FEW else np.full(n, absent[0])
