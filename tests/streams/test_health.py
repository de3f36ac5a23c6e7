"""The HTTP server of a worker: what it answers, and what it keeps to itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from streams import health
from streams.health import Answer, HealthServer


class Vital:
    """Answers what a test wants."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.error: Exception | None = None
        self.delay_s = 0.0

    async def _answer(self) -> Answer:
        await asyncio.sleep(self.delay_s)
        if self.error:
            raise self.error
        return Answer(self.reasons, {"assigned": 3})

    live = ready = started = _answer

    def metrics(self) -> bytes:
        if self.error:
            raise self.error
        return b"gnomon_up 1\n"


@asynccontextmanager
async def served(vital: Vital) -> AsyncIterator[aiohttp.ClientSession]:
    server = HealthServer(vital, "127.0.0.1", 0)
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield session
    finally:
        await server.stop()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
async def test_probes_say_yes_or_why_not(path: str) -> None:
    vital = Vital()
    async with served(vital) as session:
        async with session.get(path) as response:
            assert (response.status, await response.json()) == (200, {"status": "ok", "reasons": [], "assigned": 3})
        vital.reasons = ["redis is away"]
        async with session.get(path) as response:
            assert (response.status, await response.json()) == (503, {"status": "no", "reasons": ["redis is away"], "assigned": 3})


async def test_metrics_come_as_prometheus_wants_them() -> None:
    async with served(Vital()) as session, session.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await response.read() == b"gnomon_up 1\n"


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/readyz", "/startupz", "/nowhere"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_nothing_but_reading_is_answered(method: str, path: str) -> None:
    async with served(Vital()) as session, session.request(method, path, data=b"x") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"


async def test_head_is_get_without_the_body() -> None:
    async with served(Vital()) as session, session.head("/readyz") as response:
        assert response.status == 200
        assert await response.read() == b""


@pytest.mark.parametrize("path", ["/metrics", "/livez", "/nowhere", "/%2e%2e/etc/passwd"])
async def test_every_answer_has_the_headers_and_no_trace(path: str) -> None:
    vital = Vital()
    vital.error = ValueError("the password is swordfish")
    async with served(vital) as session, session.get(path) as response:
        assert response.status == (404 if path in {"/nowhere", "/%2e%2e/etc/passwd"} else 500)
        assert {name: response.headers[name] for name in health.HEADERS} == health.HEADERS
        text = await response.text()
        assert "swordfish" not in text
        assert "Traceback" not in text
        assert set(json.loads(text)) == {"error"}


async def test_a_probe_is_answered_though_what_it_asks_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ANSWER_S", 0.05)
    vital = Vital()
    vital.delay_s = 30
    async with served(vital) as session, session.get("/livez") as response:
        body: dict[str, Any] = await response.json()
        assert (response.status, body["reasons"]) == (503, ["no answer within 0.05 s"])


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_behind() -> None:
    first = HealthServer(Vital(), "127.0.0.1", 0)
    await first.start()
    second = HealthServer(Vital(), "127.0.0.1", first.port)
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
    await second.stop()
    await first.stop()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", first.port)
