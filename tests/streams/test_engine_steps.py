"""Several steps under way: what they produce, and what is acknowledged, keeps its order; a step that fails is overtaken by none."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams.agent import Agent, Turn


class DiedError(Exception):
    """In place of the end of the process."""


def agent(handle: Any, ahead: int) -> Any:
    made = object.__new__(Agent)
    made.ahead, made._handle, made._flush, made._handled, made.acknowledged = ahead, handle, None, [], []
    made._drain = lambda queue, event: [event]
    made._acknowledge = lambda: (made.acknowledged.extend(event.value for event in made._handled), made._handled.clear())
    return made


def queue_of(n: int) -> "asyncio.Queue[Any]":
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for i in range(n):
        queue.put_nowait(SimpleNamespace(value=i))
    return queue


async def run(handle: Any, n: int, ahead: int) -> list[int]:
    made, queue = agent(handle, ahead), queue_of(n)
    try:
        await made._work_off(queue, queue.get_nowait())
    finally:
        acknowledged: list[int] = made.acknowledged
    return acknowledged


@pytest.mark.parametrize("ahead", [1, 3])
async def test_steps_overlap_and_keep_their_order(ahead: int) -> None:
    under_way, most, produced = set(), [0], []

    async def handle(values: list[int], turn: Turn) -> None:
        under_way.add(values[0])
        most[0] = max(most[0], len(under_way))
        for _ in range((5 - values[0]) * 3 % 7):  # later ones are often sooner back
            await asyncio.sleep(0)
        await turn()
        produced.append(values[0])
        await asyncio.sleep(0)
        under_way.discard(values[0])

    assert await run(handle, 9, ahead) == list(range(9))
    assert produced == list(range(9))
    assert most == [ahead]


async def test_nothing_overtakes_a_step_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    produced: list[int] = []

    def die(reason: str, code: int = 0) -> None:
        raise DiedError(reason)

    async def handle(values: list[int], turn: Turn) -> None:
        if values[0] == 1:
            await asyncio.sleep(0)
            raise ZeroDivisionError
        await turn()
        produced.append(values[0])

    monkeypatch.setattr("streams.agent.die", die)
    with pytest.raises(DiedError):
        await run(handle, 6, 3)
    await asyncio.sleep(0)
    assert produced == [0]
