"""Records that nobody can read, on the whole path: each a dead letter with its reason, and nothing else is lost or held up."""

import json
import random
from hashlib import sha256
from pathlib import Path

import pytest
from support.kafka_broker import Broker
from support.stories import DAY_MS, START_MS
from support.whole import Deployment, allow_large, produce, read_messages
from support.workers import processes, wait_for

pytestmark = pytest.mark.integration


def _about(**fields: object) -> bytes:
    record = {"request_id": "x", "model_id": "m", "model_version": "1", "timestamp": START_MS, "score": 0.7}
    return json.dumps({name: value for name, value in (record | fields).items() if value is not ...}).encode()


BAD: dict[str, tuple[bytes | None, str]] = {
    "malformed": (b'{"request_id": "x", ', "malformed"),
    "NaN": (_about(score=float("nan")), "malformed"),
    "1e400": (_about(score=0.7).replace(b"0.7", b"1e400"), "out_of_range"),
    "nesting": (b"[" * 10_000, "too_deep"),
    "wrong type": (_about(score="high"), "wrong_type"),
    "null value": (None, "null_value"),
    "JSON null": (b"null", "wrong_type"),
    "missing id": (_about(request_id=...), "missing_field"),
    "score 1.7": (_about(score=1.7), "out_of_range"),
    "invalid UTF-8": (_about().replace(b'"x"', b'"\xff\xfe"'), "invalid_utf8"),
    "20 MiB": (_about(model_version="v" * (20 << 20)), "too_large"),
    "2190": (_about(timestamp="2190-01-01T00:00:00Z"), "too_far_ahead"),
}


def test_what_cannot_be_read_is_told_and_stops_nothing(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        settings = deployment.settings
        allow_large(settings, "predictions")
        good = [("predictions", p, _about(request_id=f"{part}-{p}-{i}")) for part in range(2) for p in range(3) for i in range(20)]
        bad = [("predictions", i % 3, value) for i, (value, _) in enumerate(BAD.values())]
        r = random.Random(1)
        messages = r.sample(good + bad, len(good) + len(bad))
        deployment.join(GNOMON_IDLE_TIMEOUT_MS="never")  # the clock moves by records alone
        deployment.watch()
        produce(settings, messages)
        wait_for(lambda: deployment.read("join", "predictions"), "all is joined")
        wait_for(lambda: deployment.read("watch", "scored"), "all is folded")
        after = [("outcomes", 0, json.dumps({"request_id": "0-0-0", "timestamp": START_MS + 5, "true_label": 1}).encode())]
        produce(settings, after)
        wait_for(lambda: deployment.report().join.joined == 1, "it goes on")
        join = deployment.report().join
        letters = {letter["sha256"]: letter for letter in (json.loads(value) for _, value in read_messages(settings, "dead-letters"))}
    assert (join.predictions, join.dead_letter, join.outcomes) == (len(good), len(BAD), 1)
    assert len(letters) == len(BAD)
    for name, (value, reason) in BAD.items():
        letter = letters[sha256(value or b"").hexdigest()]
        assert (name, letter["reason"]) == (name, reason)
        assert letter["topic"] == "predictions"
        assert letter.get("size", 0) == len(value or b"")
    # none of them moved the clock
    assert all(model.state["watermark_ms"] < START_MS + DAY_MS for model in deployment.report().models)
