"""Short texts in fewer bits: a fixed prefix code over the bytes of msgpack's strings, for what repeats in the pending table.

Names of models, versions, dimensions and groups are lower-case letters, digits and hyphens for the most part, which take 4 to 7 bits each;
general compressors have nothing to refer back to in fifty bytes. The code is part of what is stored and must never change. Both directions
take some microseconds a text, so they are for texts that are met many times.
"""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import msgspec

# Bits of the code of each byte, 0 to 255, as hexadecimal digits, 0 for 16. By what names are made of: three fifths letters by how often
# English has them, the rest digits, lengths of strings up to 18, hyphens.
_LENGTHS = (
    "ffffffffffffffffffffffffffffffff7fffffffff9ff57955666677779ff9ff"
    "faaaaaaaaaaaaaaaaaaaaaaaaaaffff6f46554666587565569554677868fffff"
    "fffffffffffffffffffffffffffffffff6666676778889889aafffffffffffff"
    "fffffffffffffffffffffffffbfffffffffffffffffffffffffffffeeeeeeeee"
)
MOST = 255  # bytes of strings in all, with their lengths, that are coded; longer ones save little by it

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[str]).decode


def _canonical(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (code, bits) of each byte: codes of one length follow each other, the longer ones come later; the last is all ones."""
    codes, code, before = [(0, 0)] * len(lengths), 0, 0
    for bits, byte in sorted((bits, byte) for byte, bits in enumerate(lengths)):
        code <<= bits - before
        codes[byte] = code, bits
        code, before = code + 1, bits
    return codes


_CODES = _canonical([int(digit, 16) or 16 for digit in _LENGTHS])
_BITS = [f"{code:0{bits}b}" for code, bits in _CODES]
_LONGEST = 16  # bits of a code


@cache
def _first_bytes() -> list[tuple[int, int]]:
    """Return the byte whose code begins each window of 16 bits, and how many bits it takes."""
    found = [(0, 0)] * (1 << _LONGEST)
    for byte, (code, bits) in enumerate(_CODES):
        free = _LONGEST - bits
        found[code << free : (code + 1) << free] = [(byte, bits)] * (1 << free)
    return found


Coded = tuple[int, int, int]  # the code of texts, one after another; how many bits it has; how many bytes msgpack takes


def squeeze(texts: Iterable[str]) -> bytes | None:
    """Return texts in fewer bytes, the first below 0x80; None: it would not be fewer than msgpack takes, or they are long.

    >>> len(_encode(["model-0", "2024-11", "country", "de"])), len(squeeze(["model-0", "2024-11", "country", "de"]))
    (28, 18)
    >>> squeeze(["Ω"]) is None
    True
    """
    return squeezed(coded(texts))


def coded(texts: Iterable[str]) -> Coded:
    """Return the code of texts."""
    return chained(map(_coded, texts))


def chained(parts: Iterable[Coded]) -> Coded:
    """Return one code of several, one after another."""
    code = bits = size = 0
    for more, width, length in parts:
        code = code << width | more
        bits += width
        size += length
    return code, bits, size


def squeezed(first: Coded, then: Coded = (0, 0, 0)) -> bytes | None:
    """Return what ``squeeze`` makes of the texts of two codes.

    >>> squeezed(coded(["model-0"]), coded(["2024-11"])) == squeeze(["model-0", "2024-11"])
    True
    """
    (code, bits, raw), (more, width, length) = first, then
    raw, bits, code = raw + length, bits + width, code << width | more
    size = bits // 8 + 1  # a zero before the first bit
    if raw > MOST or size > raw:
        return None
    return ((code + 1 << 8 * size - 1 - bits) - 1).to_bytes(size, "big")  # ones fill the last byte


@lru_cache(16_384)
def _coded(text: str) -> Coded:
    """Return the code of a text, none of one that is too long."""
    raw = _encode(text)
    bits = "".join(map(_BITS.__getitem__, raw)) if len(raw) <= MOST else ""
    return int(bits or "0", 2), len(bits), len(raw)


def stretch(data: bytes) -> list[str]:
    """Return the texts that ``squeeze`` took; raises ``ValueError``, or msgspec's own kind of it, where bytes are none of it.

    >>> stretch(squeeze(["model-0", "2024-11"]))
    ['model-0', '2024-11']
    """
    raw, table, left = bytearray(), _first_bytes(), 8 * len(data) - 1
    whole = (int.from_bytes(data, "big") + 1 << _LONGEST) - 1  # with ones after the end, as in the last byte
    while left >= 8 or (left > 0 and (whole >> _LONGEST) + 1 & (1 << left) - 1):  # fewer than eight ones fill the last byte
        byte, bits = table[whole >> left & (1 << _LONGEST) - 1]
        left -= bits
        raw.append(byte)
    if not raw or left < 0 or data[0] >> 7:
        raise ValueError("expected texts in a prefix code, got bytes that are none")
    return _decode(b"\xdc" + _count(raw).to_bytes(2, "big") + raw)


def _count(raw: bytes | bytearray) -> int:
    """Return how many strings stand one after another; their lengths are checked by who decodes them."""
    at = n = 0
    while at < len(raw):
        at += 2 + raw[at + 1] if raw[at] == 0xD9 and at + 1 < len(raw) else 1 + (raw[at] & 0x1F)
        n += 1
    return n
