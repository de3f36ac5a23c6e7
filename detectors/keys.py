"""Keys of the pending table: what stands for one row of one request."""

from collections.abc import Sequence
from hashlib import blake2b

KEY_BYTES = 16


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
        """Return the keys of many rows; no rows: each the first."""
        if any(rows):
            return list(map(self, request_ids, rows))
        out = []
        begin = self._row_0.copy
        for request_id in request_ids:
            keyed = begin()
            keyed.update(request_id.encode())
            out.append(keyed.digest())
        return out


class PlainKeys:
    """Makes keys that are the ids themselves: for a table in memory, which nobody else reads.

    >>> PlainKeys().many(["a2", "a3"], ())
    [b'a2', b'a3']
    """

    def many(self, request_ids: Sequence[str], rows: Sequence[int]) -> list[bytes]:
        """Return the keys of many rows; no rows: each the first."""
        if any(rows):  # no text in UTF-8 begins with 0xff
            ids = zip(request_ids, rows, strict=True)
            return [b"\xff" + row.to_bytes(8, "little") + text.encode() if row else text.encode() for text, row in ids]
        return list(map(str.encode, request_ids))


def key_for(request_id: str, row: int, secret: bytes) -> bytes:
    """Return the key of one row of one request, 16 bytes."""
    return Keys(secret)(request_id, row)
