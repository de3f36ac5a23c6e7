"""What runs beside a Faust app for as long as it has work: from before the consumer starts until it has drained."""

from collections.abc import Awaitable, Callable
from typing import Any

from mode import Service


class Beside(Service):  # type: ignore[misc]  # mode is untyped here
    """Something that runs beside the consumer: it starts first, and stops when all has been drained."""

    def __init__(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]], **kwargs: Any) -> None:
        self._begin, self._end = start, stop
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        """Start it."""
        await self._begin()

    async def on_stop(self) -> None:
        """Stop it."""
        await self._end()
