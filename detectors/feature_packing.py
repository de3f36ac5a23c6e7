"""Features of predictions to what entries hold of them, and back to columns; only of models whose policy watches them.

An entry's values are one code of two bytes for each of its names (``schemas.feature_codes``), then, where some are categories, a msgpack
array of their texts. The names stand in the tail, since they repeat.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from detectors.fixed import Ints
from schemas.feature_codes import ABSENT, CATEGORY, MISSING, TEXT, column, number_codes
from schemas.fields import text
from schemas.policy_models import MAX_FEATURE_NAME, MAX_FEATURES, ModelPolicy

LONGEST = 64  # characters of a category; a longer one ends in its hash

Given = Mapping[str, Any] | None  # name -> number, category, or None for missing
Packed = tuple[bytes, bytes]  # names, values

_encode = msgspec.msgpack.Encoder().encode
_decode_names = msgspec.msgpack.Decoder(list[str]).decode
_decode_texts = msgspec.msgpack.Decoder(list[list[str]]).decode


def wanted(policy: ModelPolicy) -> tuple[str, ...] | None:
    """Return which features a policy watches, in the order of their names; empty: all that come; None: none.

    >>> from schemas.policy_models import WatchPolicy
    >>> wanted(ModelPolicy()), wanted(ModelPolicy(watch={"covariate": WatchPolicy(parameters={"features": ["b", "a"]})}))
    (None, ('a', 'b'))
    """
    watch = policy.watch.get("covariate")
    if watch is None or not watch.enabled:
        return None
    named = watch.parameters.get("features", [])
    return tuple(sorted(map(str, named))) if isinstance(named, list | tuple) else ()


def pack_features(given: Sequence[Given], names: tuple[str, ...]) -> list[Packed]:
    """Return the names and values of features, of one prediction each; both empty where it brought none.

    Parameters
    ----------
    given
        What each prediction brought.
    names
        As of ``wanted``. One that a prediction leaves out is missing, if it has other features; where none are named, what is left out
        is absent, and of more than 100 features the first by name are taken.

    Examples
    --------
    >>> [(names, values)] = pack_features([{"age": 41.5, "site": "B", "income": None}], ())
    >>> _decode_names(names), len(values)
    (['age', 'income', 'site'], 9)

    """
    out: list[Packed] = [(b"", b"")] * len(given)
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, features in enumerate(given):
        if features:
            groups[names or tuple(features)].append(i)
    for sent, places in groups.items():
        taken = names or tuple(sorted(name for name in sent if len(name) <= MAX_FEATURE_NAME)[:MAX_FEATURES])
        if taken:
            packed = _pack([given[i] or {} for i in places], taken)
            blob = _encode(taken)
            for i, values in zip(places, packed, strict=True):
                out[i] = blob, values
    return out


def _pack(given: Sequence[Mapping[str, Any]], names: tuple[str, ...]) -> list[bytes]:
    codes = np.empty((len(given), len(names)), dtype=np.int64)
    words: list[list[str | None]] = []
    for place, name in enumerate(names):
        values = [features.get(name) for features in given]
        if {str, bool}.isdisjoint(map(type, values)):
            codes[:, place] = number_codes(values)  # type: ignore[arg-type]  # None becomes NaN
            continue
        texts = [_word(value) if type(value) is str or type(value) is bool else None for value in values]
        rest = number_codes([None if type(value) is str else value for value in values])  # type: ignore[arg-type]
        codes[:, place] = np.where([bool(each) for each in texts], CATEGORY, np.where([each == "" for each in texts], MISSING, rest))
        words.append(texts)
    data, width = codes.astype("<u2").tobytes(), 2 * len(names)
    out = [data[start : start + width] for start in range(0, len(data), width)]
    if words:
        for i, row in enumerate(zip(*words, strict=True)):
            said = [each for each in row if each]
            if said:
                out[i] += _encode(said)
    return out


def _word(value: str | bool) -> str:
    """Return a category as it is kept.

    >>> _word(True), len(_word("x" * 1000))
    ('true', 64)
    """
    word = text(value)
    return word if len(word) <= LONGEST else f"{word[: LONGEST - 17]}#{blake2b(word.encode(), digest_size=8).hexdigest()}"


def unpack_names(blob: bytes) -> list[str]:
    """Return the names of an entry's features."""
    names: list[str] = _decode_names(blob) if blob else []
    return names


def check_values(names: bytes, values: bytes) -> None:
    """Refuse values of features that are not those of their names.

    Raises
    ------
    msgspec.MsgspecError, ValueError
        If they are not.

    """
    width = 2 * len(unpack_names(names))
    said = sum(code == CATEGORY for code in np.frombuffer(values[:width], dtype="<u2").tolist())
    rest = values[width:]
    if len(values) < width or len(_decode_names(rest) if rest else []) != said:
        raise ValueError("expected a value for each of an entry's features, got others")


def feature_columns(
    groups: Sequence[tuple[Sequence[str], Ints, Sequence[bytes]]], n: int, number: Callable[[str], int]
) -> dict[str, bytes]:
    """Return a column of codes by name, as ``schemas.scored.Rows`` holds them.

    Parameters
    ----------
    groups
        Names, the rows that have them, and these rows' values.
    n
        How many rows there are.
    number
        Gives the index of a text.

    Examples
    --------
    >>> packed = pack_features([{"site": "B"}, {"site": "A"}, {"site": None}], ())
    >>> columns = feature_columns([(["site"], np.arange(3), [values for _, values in packed])], 3, {"A": 1, "B": 2}.__getitem__)
    >>> (np.frombuffer(columns["site"], "<u4") % TEXT).tolist()
    [2, 1, 1]

    """
    codes: dict[str, Ints] = {}
    for names, rows, values in groups:
        width = 2 * len(names)
        table = np.frombuffer(b"".join([each[:width] for each in values]), dtype="<u2").astype(np.int64).reshape(-1, len(names))
        said = table == CATEGORY
        if said.any():
            # one call for all of them: the arrays, one after the other, are those of an array
            arrays = b"".join([each[width:] for each in values])
            many = (b"\xdd" + int(said.any(axis=1).sum()).to_bytes(4, "big")) + arrays
            words = list(chain.from_iterable(_decode_texts(many)))
            numbers = {word: number(word) for word in dict.fromkeys(words)}
            table[said] = TEXT + np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))
        for place, name in enumerate(names):
            codes.setdefault(name, np.full(n, ABSENT, dtype=np.int64))[rows] = table[:, place]
    return {name: column(codes[name]) for name in sorted(codes) if codes[name].any()}
