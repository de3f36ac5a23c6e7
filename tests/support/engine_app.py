"""A small worker for the tests of the seam: writes a line per record it handles to a file, and can be told to misbehave.

Usage: engine_app.py OUT BEHAVIOUR TOPIC...
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from faust.types import TP

from streams.agent import Agent, Turn
from streams.batches import Batch
from streams.engine import App, new_app, run
from streams.settings import Settings


class Handler:
    """Writes ``topic partition offset value`` and flushes, so that a line is durable before its batch is acknowledged."""

    def __init__(self, out: Path, behaviour: str) -> None:
        self.file = out.open("a")
        self.behaviour = behaviour
        self.calls = 0
        self.next: dict[tuple[str, int], int] = {}

    async def __call__(self, batches: list[Batch], turn: Turn) -> None:
        self.calls += 1
        if self.behaviour == "ahead":
            await asyncio.sleep(0.06 * (1 + self.calls % 4))  # round trips of their own length
            await turn()
        if self.behaviour == "raise" and self.calls == 3:
            raise ZeroDivisionError("told to")
        if self.behaviour.startswith("slow"):
            print("handling", flush=True)
            await asyncio.sleep(float(self.behaviour[4:]))
        for batch in batches:
            lines = [
                f"{batch.topic} {batch.partition} {o} {v.decode()}\n" for o, v in zip(batch.offsets.tolist(), batch.values, strict=True)
            ]
            self.file.write("".join(lines))
            self.next[batch.topic, batch.partition] = int(batch.offsets[-1]) + 1
        self.file.flush()


def main(out: str, behaviour: str, *topics: str) -> None:
    """Run the worker."""
    app: App = new_app("engine", Settings.from_env())
    handler = Handler(Path(out), behaviour)
    flush = None
    if behaviour == "flush":

        async def flush() -> None:
            handler.file.write("".join(f"checkpoint {t} {p} {n}\n" for (t, p), n in handler.next.items()))
            handler.file.flush()

    load = None
    if behaviour.startswith("load"):

        async def load(partitions: set[TP], owned: Callable[[], bool]) -> dict[TP, int]:
            await asyncio.sleep(0.5)
            return {tp: int(behaviour[4:]) for tp in partitions} if owned() else {}

    Agent(app, list(topics), handler, load=load, flush=flush, ahead=3 if behaviour == "ahead" else 1)
    run(app, loglevel="WARNING")


if __name__ == "__main__":
    main(*sys.argv[1:])
