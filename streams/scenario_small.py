"""A small made-up scenario with a known truth: a screener of retina images that one clinic's new camera makes unreliable.

Ten weeks of event time. Labels come within a day; some records are repeated, corrected or cannot be read, as happens. On ``CHANGE_DAY``
the rural clinic gets another camera, and from then on the model is often wrong about its images, while overall figures hardly move.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

DAYS = 70
CHANGE_DAY = 42
PER_DAY = 72
DAY_MS = 86_400_000
MODEL, VERSION = "retina-screen", "3"
DIMENSION, CHANGED = "clinic", "rural"
CLINICS = {"city": 0.5, "harbour": 0.25, CHANGED: 0.25}  # share of the images

POLICY = f"""\
[models.{MODEL}]
ages = ["1d"]                                             # judge each prediction when it is a day old
baseline = {{ days = 21, labels = 500, failures = 30 }}
cost = {{ fp = 40, fn = 900 }}                              # a needless referral, a missed disease
"""

_encode = msgspec.json.Encoder().encode


class Item(NamedTuple):
    """A record to send at a time."""

    at_ms: int
    topic: str
    value: bytes
    is_a: str  # prediction, label, repeat, correction, or cut: what it must be counted as


def play(start_ms: int, *, seed: int = 1, days: int = DAYS, change_day: int | None = CHANGE_DAY) -> Iterator[Item]:
    """Yield the records in the order of their time; ``change_day`` None: nothing changes.

    >>> items = list(play(0, days=3))
    >>> [item.topic for item in items[:1]], items == sorted(items, key=lambda item: item.at_ms)
    (['predictions'], True)
    """
    r = random.Random(seed)  # noqa: S311  a story, not a secret
    waiting: list[Item] = []
    for number in range(days * PER_DAY):
        at = start_ms + number * DAY_MS // PER_DAY
        waiting.sort()
        while waiting and waiting[0].at_ms <= at:
            yield waiting.pop(0)
        clinic = r.choices(list(CLINICS), list(CLINICS.values()))[0]
        blind = clinic == CHANGED and change_day is not None and number >= change_day * PER_DAY
        made, known = _image(r, f"image-{number}", at, clinic, blind=blind)
        yield Item(at, "predictions", _encode(made), "prediction")
        chance = r.random()
        if chance < 0.01:
            yield Item(at, "predictions", _encode(made), "repeat")  # delivered twice
        elif chance < 0.013:
            yield Item(at, "predictions", b'{"request_id": ', "cut")
        waiting.append(Item(known["timestamp"], "outcomes", _encode(known), "label"))
        if chance > 0.99:  # a second reader disagrees with the first
            second = known | {"timestamp": known["timestamp"] + 3_600_000, "true_label": 1 - known["true_label"]}
            waiting.append(Item(second["timestamp"], "outcomes", _encode(second), "correction"))
    yield from sorted(waiting)


def _image(r: random.Random, ident: str, at_ms: int, clinic: str, *, blind: bool) -> tuple[dict[str, object], dict[str, int]]:
    """Return a prediction and its label: the score is the chance of disease, unless the camera blinds the model."""
    score = round(r.betavariate(0.5, 1.2), 3)
    chance = 0.5 * score + 0.5 * r.betavariate(0.5, 1.2) if blind else score
    label = int(r.random() < (1 - chance if blind and r.random() < 0.5 else chance))
    made = {
        "request_id": ident,
        "model_id": MODEL,
        "model_version": VERSION,
        "timestamp": at_ms,
        "score": score,
        "subgroups": {DIMENSION: clinic, "eye": r.choice(["left", "right"])},
    }
    return made, {"request_id": ident, "timestamp": at_ms + r.randrange(3_600_000, 20 * 3_600_000), "true_label": label}  # type: ignore[dict-item]


def canaries(at_ms: int, partitions: int, *, model: str = MODEL, version: str = VERSION) -> list[tuple[Item, int]]:
    """Return a probe and its outcome for each partition of both topics: they move event time, and no figure of real traffic."""
    sent = []
    for partition in range(partitions):
        probe = {"request_id": f"probe-{partition}", "model_id": model, "model_version": version, "timestamp": at_ms, "score": 0.5}
        known = {"request_id": f"probe-{partition}", "timestamp": at_ms, "true_label": 1}
        sent.append((Item(at_ms, "predictions", _encode(probe | {"probe": True}), "prediction"), partition))
        sent.append((Item(at_ms, "outcomes", _encode(known), "label"), partition))
    return sent
