"""A step of the watch: what is found goes out part by part, in order, and nothing is kept of a step that failed."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from schemas.scored import Origin, Rows, Tick, encode
from streams.batches import Batch
from streams.checkpoint import DictCheckpoints
from streams.guard import Facts, RefusedError
from streams.producer import Message
from streams.settings import Settings
from streams.watching import Watching

PREDICTIONS, OUTCOMES = Origin("predictions", "p", 0), Origin("outcomes", "o", 0)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.watching.PART_S", 0.0)  # a part for each record that lets the watch find something


class Sent:
    """A producer that takes its time, and fails at a given part."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.parts: list[list[Message]] = []
        self.fails_at = fails_at
        self.under_way = 0

    async def produce(self, messages: Sequence[Message]) -> None:
        self.under_way += 1
        assert self.under_way == 1  # one part after another
        await asyncio.sleep(0.01)
        self.under_way -= 1
        if len(self.parts) == self.fails_at:
            raise ConnectionError("no")
        self.parts.append(list(messages))


def batch(values: list[bytes], first: int = 0) -> Batch:
    return Batch(
        "scored", 0, np.arange(first, first + len(values)), np.zeros(len(values), dtype=np.int64), [*values], sum(map(len, values))
    )


def log(parts: int) -> list[bytes]:
    """Rows and ticks, each of which lets the watch tell statistics."""
    values = []
    for i in range(parts):
        columns = {"kind": b"\x01", "offset": np.array([i]).tobytes(), "score": np.array([0.5]).tobytes()}
        values.append(encode(Rows("m", [PREDICTIONS], 1, columns, ["1"])))
        values.append(encode(Tick({"predictions": 1, "outcomes": 1}, [(PREDICTIONS, i), (OUTCOMES, i)], 1_000 * i)))
    return values


async def started(sent: Sent) -> Watching:
    watching = Watching(Settings.from_env({}), DictCheckpoints(), sent, lambda point: None)
    watching.own(await watching.take(Facts("x", 1), [0]))
    return watching


def test_each_part_goes_out_by_itself_in_the_order_of_the_log() -> None:
    async def run() -> tuple[Sent, Watching]:
        sent = Sent()
        watching = await started(sent)
        await watching.step([batch(log(3)[:2]), batch(log(3)[2:], 2)])
        return sent, watching

    sent, watching = asyncio.run(run())
    times = [[dict(message.headers)["ce_id"] for message in part] for part in sent.parts if part]
    assert times == [[b"m/1/0/0"], [b"m/1/1/0"], [b"m/1/2/0"]]
    assert watching.held[0].next == 6


def test_a_part_that_is_not_delivered_ends_the_step_and_keeps_its_state_from_being_saved() -> None:
    async def run() -> None:
        watching = await started(Sent(fails_at=1))
        with pytest.raises(ConnectionError):
            await watching.step([batch(log(3))])
        with pytest.raises(RuntimeError, match="cut short"):
            await watching.flush()

    asyncio.run(run())


def test_a_record_of_somebody_else_is_refused_after_what_was_found_before_it_has_gone_out() -> None:
    async def run() -> Sent:
        sent = Sent()
        watching = await started(sent)
        with pytest.raises(RefusedError, match="offset 4"):
            await watching.step([batch([*log(2), b"no record of ours"])])
        return sent

    assert [len(part) for part in asyncio.run(run()).parts] == [1, 1]
