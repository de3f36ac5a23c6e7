"""A checkpoint's fields: what a watch's state is as bytes, and of it only what has changed since the last one.

Fields: ``head``, the position and all of the state but the model versions; ``v:`` + (model, version) in msgpack, each a model version, a
large one without its long runs of bytes (tables, arrays of monitors); ``p:`` + the same + path and number, each a piece of one of these.
Tables are sorted by time, so what is added to one changes its last pieces, and the others are not written again.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import cramjam
import msgspec
from xxhash import xxh3_128_digest

from detectors.watch import Watch
from streams.errors import StreamsError

FORMAT = 3
PIECE_BYTES = 32 << 10
WHOLE_BYTES = 256 << 10  # a state that is smaller is written as it is
HEAD, VERSION, PIECE = b"head", b"v:", b"p:"
GONE = b""  # in place of a value: the field is to be deleted
_LEVEL = 1  # of zstd: a third of the time of zlib, and smaller; higher levels gain little
_LONG = 64  # a list longer than that holds values of one kind
_CUT = 1  # code of what stands in place of bytes that are in pieces: how many there are, the path, and a digest

Fields = dict[bytes, bytes]


class CheckpointError(StreamsError):
    """A checkpoint that this program cannot read. Not retriable."""


class Position(NamedTuple):
    """Where the fold stands: of which topic (its id and partition count), and the next offset to fold."""

    topic_id: str
    partitions: int
    next: int


class Saved(NamedTuple):
    """A checkpoint as read."""

    watch: Watch
    position: Position
    packer: "Packer"  # that knows what stands there


class Packer:
    """Makes the fields that bring a checkpoint up to date.

    It remembers what it was told to be written, so there must be no other writer.

    >>> packer, position = Packer(), Position("x", 8, 0)
    >>> fields = packer.pack(Watch(), position)
    >>> packer.written()
    >>> sorted(fields), sorted(packer.pack(Watch(), position))
    ([b'head'], [b'head'])
    """

    def __init__(self) -> None:
        self._known: dict[bytes, dict[bytes, bytes]] = {}  # by version: its fields, and a digest of each
        self._packed: dict[bytes, dict[bytes, bytes]] = {}  # likewise, of what was packed and is not known to be written

    def pack(self, watch: Watch, position: Position) -> Fields:
        """Return what has changed: the head, and of the versions changed since the last checkpoint what is not as it was written."""
        head = {"format": FORMAT, "position": list(position), "watch": watch.head_state()}
        fields = {HEAD: _packed(msgspec.msgpack.encode(head))}
        self._packed = {}
        watch.count()
        for model_id, name in sorted(watch.changed):
            version = msgspec.msgpack.encode((model_id, name))
            known, now = self._known.get(version, {}), {}
            for field, value in _fields(version, watch.state_of(model_id, name)):
                now[field] = digest = xxh3_128_digest(value)
                if known.get(field) != digest:
                    fields[field] = _packed(value)
            fields |= dict.fromkeys(known.keys() - now.keys(), GONE)
            self._packed[version] = now
        return fields

    def written(self) -> None:
        """Take note that what was packed last has been written."""
        self._known |= self._packed
        self._packed = {}

    def stands(self, version: bytes, field: bytes, value: bytes) -> None:
        """Take note of what a field holds, unpacked."""
        self._known.setdefault(version, {})[field] = xxh3_128_digest(value)


def unpack(fields: Mapping[bytes, bytes]) -> Saved | None:
    """Return the state that a hash holds; None: nothing has been written yet.

    Raises
    ------
    CheckpointError
        If it was written by another version of this program, or is damaged.

    Examples
    --------
    >>> unpack(Packer().pack(Watch(), Position("x", 8, 5))).position.next
    5

    """
    if HEAD not in fields:
        return None
    packer = Packer()
    try:
        head = _head(fields[HEAD])
        versions = {}
        for field, value in fields.items():
            if field.startswith(VERSION):
                version, whole = field.removeprefix(VERSION), _unpacked(value)
                packer.stands(version, field, whole)
                model_id, name = msgspec.msgpack.decode(version, type=tuple[str, str])
                versions[model_id, name] = _whole(version, whole, fields, packer)
        watch = Watch()
        watch.load(head["watch"], dict(sorted(versions.items())))
        return Saved(watch, Position(*head["position"]), packer)
    except (ValueError, KeyError, TypeError, AttributeError, cramjam.DecompressionError, msgspec.MsgspecError) as error:
        raise CheckpointError(
            f"a checkpoint cannot be read: {error}; run the version of Gnomon that wrote it, or start under a new prefix"
        ) from error


def _head(data: bytes) -> dict[str, Any]:
    head: dict[str, Any] = msgspec.msgpack.decode(_unpacked(data))
    if head.get("format") != FORMAT:
        raise ValueError(f"expected format {FORMAT}, got {head.get('format')!r}")
    return head


def _fields(version: bytes, state: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the fields of a version's state, not compressed."""
    cut: dict[str, bytes] = {}
    whole = msgspec.msgpack.encode(state)
    yield VERSION + version, whole if len(whole) < WHOLE_BYTES else msgspec.msgpack.encode(_without(state, "", cut))
    for path, value in cut.items():
        for i in range(_count(value)):
            yield _piece(version, path, i), value[i * PIECE_BYTES : (i + 1) * PIECE_BYTES]


def _without(state: Any, path: str, cut: dict[str, bytes]) -> Any:
    """Return a state without its long runs of bytes, which are put into ``cut`` by their path."""
    if isinstance(state, dict):
        return {name: _without(value, f"{path}.{name}", cut) for name, value in state.items()}
    if isinstance(state, list | tuple):
        plain = len(state) > _LONG and isinstance(state[0], int | float | str | None)  # no bytes in there
        return state if plain else [_without(value, f"{path}.{i}", cut) for i, value in enumerate(state)]
    if isinstance(state, bytes) and len(state) >= PIECE_BYTES:
        if path in cut:
            raise ValueError(f"expected one value at {path}, got two")
        cut[path] = state
        return msgspec.msgpack.Ext(_CUT, msgspec.msgpack.encode((_count(state), path, xxh3_128_digest(state))))
    return state


def _whole(version: bytes, main: bytes, fields: Mapping[bytes, bytes], packer: Packer) -> Any:
    """Return the state of which ``main`` is all but the pieces."""

    def join(code: int, data: memoryview) -> bytes:
        if code != _CUT:
            raise ValueError(f"expected bytes in pieces, got code {code}")
        count, path, digest = msgspec.msgpack.decode(data, type=tuple[int, str, bytes])
        pieces = []
        for i in range(count):
            field = _piece(version, path, i)
            pieces.append(_unpacked(fields[field]))
            packer.stands(version, field, pieces[-1])
        value = b"".join(pieces)
        if xxh3_128_digest(value) != digest:
            raise ValueError(f"expected the pieces of {path} that belong together, got others")
        return value

    return msgspec.msgpack.decode(main, ext_hook=join)


def _piece(version: bytes, path: str, i: int) -> bytes:
    return b"%b%b%b.%d" % (PIECE, version, path.encode(), i)


def _count(value: bytes) -> int:
    return -(-len(value) // PIECE_BYTES)


def _packed(value: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(value, _LEVEL))


def _unpacked(data: bytes) -> bytes:
    return bytes(cramjam.zstd.decompress(data))
