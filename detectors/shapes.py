"""What repeats from one prediction to the next, from JSON to the tail of its entry: each distinct one is packed once."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
import numpy.typing as npt

from detectors.contexts import Contexts
from detectors.entries import BINARY, MAPPED, Tail, encode_tail
from detectors.growing import Growing
from detectors.packing import pack_subgroups
from schemas.fields import Subgroups
from schemas.policy_models import ModelPolicy

Held = Callable[[str], tuple[ModelPolicy, int]]  # model -> its policy, how long logs are kept

_decode_subgroups = msgspec.json.Decoder(Subgroups | None).decode


class Shapes(dict[tuple[Any, ...], int]):
    """Everything about a prediction that repeats, numbered; -1: subgroups that cannot be read."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self.contexts = Contexts()
        self.tails: list[bytes] = []
        self._rows = Growing([("threshold", "<f8"), ("flags", "<i8"), ("ttl_ms", "<i8"), ("context", "<i8")])
        self._held = held

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return threshold, flags, time to live in ms, or the number of the tail, by number of the shape."""
        return self._rows.column(name)

    def __missing__(self, shape: tuple[Any, ...]) -> int:
        """Return the number of a shape that was not met before: (model, version, subgroups as JSON, more)."""
        model, version, subgroups, more = shape
        policy, ttl_ms = self._held(model)
        try:
            packed = _packed(subgroups, policy.dimensions, policy.intersections)
        except (msgspec.MsgspecError, ValueError):
            self[shape] = -1
            return -1
        mapped = policy.positive_label != 1
        label, rest = (str(policy.positive_label) if mapped else None, ()) if more is None else (more[0], more[1:])
        made = Tail(model, version, packed, label, *rest)
        tail = encode_tail(made)
        self.tails.append(tail)
        flags = BINARY | MAPPED if mapped else BINARY
        number = self[shape] = self._rows.add((policy.threshold, flags, ttl_ms, self.contexts.know(tail, made)))
        return number


@lru_cache(1_024)
def _packed(subgroups: bytes, dimensions: tuple[str, ...] | None, intersections: tuple[tuple[str, ...], ...]) -> bytes:
    """Return the packed subgroups of JSON, no bytes for none; models share them."""
    return pack_subgroups(_decode_subgroups(subgroups) if subgroups else None, dimensions, intersections)
