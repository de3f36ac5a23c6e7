"""The small HTTP server of a worker: ``/metrics`` for Prometheus, ``/livez``, ``/readyz`` and ``/startupz`` for what runs it.

A server of ours, and not Faust's, which listens everywhere and shows tables. This one answers GET and HEAD only, tells nothing of a
record, and of an error no more than its kind, and which nodes of a Redis Cluster are away.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
JSON = "application/json; charset=utf-8"
METHODS = ("GET", "HEAD")
ANSWER_S = 5.0  # a probe's patience is shorter than this, as a rule
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "gnomon",
    "X-Content-Type-Options": "nosniff",
}


class Answer(NamedTuple):
    """What a probe is told. ``reasons`` says what is wrong, a sentence each; empty: nothing."""

    reasons: list[str]
    facts: dict[str, object]


class Vital(Protocol):
    """What the server asks."""

    async def live(self) -> Answer:
        """Tell whether a restart would help."""

    async def ready(self) -> Answer:
        """Tell whether the worker can do its work just now."""

    async def started(self) -> Answer:
        """Tell whether it has begun."""

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format."""


class HealthServer:
    """Serves what ``vital`` says; ``start`` listens, ``stop`` ends.

    Parameters
    ----------
    vital
        Asked at each request.
    host, port
        Where to listen; port 0: any that is free, see ``port``.

    """

    def __init__(self, vital: Vital, host: str, port: int) -> None:
        self._vital = vital
        self._host = host
        self.port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            If the address cannot be had.

        """
        app = web.Application(middlewares=[_guarded])
        app.router.add_route("*", "/metrics", self._metrics)
        for path, ask in (("/livez", self._vital.live), ("/readyz", self._vital.ready), ("/startupz", self._vital.started)):
            app.router.add_route("*", path, _probe(ask))
        app.on_response_prepare.append(_headers)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=15, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port, backlog=16).start()
        except OSError:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]
        log.info("health and metrics on http://%s:%d", self._host, self.port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._vital.metrics(), headers={"Content-Type": CONTENT_TYPE})


def _probe(ask: Callable[[], Awaitable[Answer]]) -> Handler:
    async def handle(_: web.Request) -> web.StreamResponse:
        try:
            async with asyncio.timeout(ANSWER_S):
                reasons, facts = await ask()
        except TimeoutError:
            reasons, facts = [f"no answer within {ANSWER_S:g} s"], {}
        return _json(503 if reasons else 200, {"status": "no" if reasons else "ok", "reasons": reasons, **facts})

    return handle


@web.middleware
async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what is not to be read, and keep errors to ourselves."""
    if request.method not in METHODS:
        return _json(405, {"error": "only GET and HEAD are answered here"}, Allow=", ".join(METHODS))
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _json(error.status, {"error": error.reason})
    except Exception:
        log.exception("%s could not be answered", request.path)
        return _json(500, {"error": "see the worker's log"})


def _json(status: int, body: dict[str, object], **headers: str) -> web.Response:
    return web.Response(status=status, body=json.dumps(body).encode() + b"\n", headers={"Content-Type": JSON, **headers})


async def _headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
