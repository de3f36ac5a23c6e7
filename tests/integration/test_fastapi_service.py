"""The example service against a real broker, and with none."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from support.flow import provision
from support.kafka_broker import Broker
from support.workers import read_topic

from examples.fastapi_service import app, client
from schemas.codec import decode_records
from schemas.outcome import Outcome
from schemas.prediction import Prediction
from streams.client import AsyncGnomon

pytestmark = pytest.mark.integration


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[AsyncGnomon]:
    """A client whose broker is away, in place of the service's own."""
    away = AsyncGnomon("127.0.0.1:1", max_buffered=3, config={"log_level": 0})
    app.dependency_overrides[client] = lambda: away
    yield away
    app.dependency_overrides.clear()
    away._delivery.close(0)


def test_what_the_service_answers_is_what_kafka_has(kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = provision(kafka, prefix)
    monkeypatch.setenv("GNOMON_KAFKA", kafka.bootstrap)
    monkeypatch.setenv("GNOMON_PREFIX", prefix)
    with TestClient(app) as service:
        answers = [service.post("/score", json={"amount": 100 * i, "country": "NL"}).json() for i in range(20)]
        for answer in answers[:5]:
            assert service.post(f"/labels/{answer['request_id']}", json={"fraud": True, "review_seconds": 9}).status_code == 202
        refused = service.post(f"/labels/{answers[0]['request_id']}", json={"fraud": True, "review_seconds": -9})
    assert refused.status_code == 422
    assert "$.review_seconds" in refused.json()["detail"]
    claims = [decode_records(value, Prediction)[0][1] for _, _, value in read_topic(kafka.bootstrap, settings.topic("predictions"))]
    assert {c.request_id: c.score for c in claims if isinstance(c, Prediction)} == {a["request_id"]: a["score"] for a in answers}
    truths = [decode_records(value, Outcome)[0][1] for _, _, value in read_topic(kafka.bootstrap, settings.topic("outcomes"))]
    assert {o.request_id for o in truths if isinstance(o, Outcome)} == {a["request_id"] for a in answers[:5]}
    assert len(claims) == 20
    assert len(truths) == 5


def test_the_service_answers_while_the_broker_is_away(elsewhere: AsyncGnomon) -> None:
    service = TestClient(app)  # without its lifespan: no client of its own
    answers = [service.post("/score", json={"amount": 10, "country": "NL"}) for _ in range(10)]
    assert [answer.status_code for answer in answers] == [200] * 10
    assert service.get("/delivery").json() == {"delivered": 0, "buffered": 3, "dropped": 7, "failed": 0}
