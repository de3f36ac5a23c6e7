"""Weather: what a broker or a store could not do just now, and can do in a moment."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")


async def retry(what: str, call: Callable[[], Awaitable[T]], *, first_s: float = 0.05, longest_s: float = 5.0) -> T:
    """Await ``call()`` until it succeeds; an error that says ``retriable`` is weather, any other is raised.

    The agent waits meanwhile: Kafka is not read, so nothing piles up.
    """
    delay, since, logged = first_s, time.monotonic(), 0.0
    while True:
        try:
            result = await call()
        except Exception as error:
            if not getattr(error, "retriable", False):
                raise
            now = time.monotonic()
            if now - logged > longest_s:
                log.warning("%s: %s; tried for %.1f s, trying on", what, error, now - since)
                logged = now
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest_s)
        else:
            if logged:
                log.warning("%s: back after %.1f s", what, time.monotonic() - since)
            return result
