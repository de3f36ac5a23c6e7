"""The watch worker's step: scored records to the fold, its findings to Kafka, its state to Redis; then, and only then, it is done.

Faust, which calls it, is in ``streams.watch``; the fold itself, which is pure, in ``detectors.watch``.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from detectors.sources import SourceRecreatedError
from detectors.watch import Watch
from schemas.findings import Event, to_binary
from schemas.scored import decode
from streams.batches import Batch
from streams.checkpoint import Checkpoints, Step
from streams.checkpoint_pack import Packer, Position, unpack
from streams.guard import Facts, RefusedError
from streams.joining import JSON, Produces
from streams.producer import Message
from streams.retrying import retry
from streams.settings import Settings
from streams.topics import AUDIT, EVENT_TOPICS

log = logging.getLogger(__name__)

PART_S = 0.05  # what is found goes out after so long, while the rest of a batch is folded
CRASH_POINTS = ("taken", "scored-read", "folded", "findings-produced", "checkpointing", "checkpointed")


@dataclass
class Held:
    """One scored partition in this worker's hands."""

    watch: Watch
    packer: Packer
    epoch: int
    next: int  # offset to fold
    saved: int | None  # that offset at the last checkpoint; None: there is none


Taken = dict[int, Held]


class Watching:
    """The folds of a worker's scored partitions.

    Parameters
    ----------
    settings
        Names.
    checkpoints
        Where state is kept; retriable errors are waited out.
    producer
        Where findings go.
    crash
        Called with the name of each point at which a test may end the process: ``CRASH_POINTS``.
    found
        Called with each finding, from any thread.
    folded
        Called with a partition and its fold after each batch, in the thread that folds: nothing moves meanwhile.

    """

    def __init__(
        self,
        settings: Settings,
        checkpoints: Checkpoints,
        producer: Produces,
        crash: Callable[[str], None],
        *,
        found: Callable[[Event], object] = lambda event: None,
        folded: Callable[[int, Watch], object] = lambda partition, watch: None,
    ) -> None:
        self._checkpoints = checkpoints
        self._producer = producer
        self._crash = crash
        self._found = found
        self._folded = folded
        self._audit = settings.topic(AUDIT)
        self._topics = {event: settings.topic(topic) for event, topic in EVENT_TOPICS.items()}
        self._facts = Facts("", 0)
        self._within = False
        self.held: Taken = {}

    async def take(self, facts: Facts, partitions: Iterable[int]) -> Taken:
        """Become the only writer of partitions and return their state, beside what is held; ``own`` puts it to use.

        What is held, and nobody has taken meanwhile, is kept; all else is read from the checkpoints.

        Raises
        ------
        RefusedError
            If a checkpoint is of another topic than Kafka has now.
        CheckpointError
            If a checkpoint cannot be read.

        """
        self._facts = facts
        taken: Taken = {}
        for partition in sorted(partitions):
            epoch = await retry("checkpoints", partial(self._checkpoints.take, partition))
            self._crash("taken")
            held = self.held.get(partition)
            if held is not None and epoch == held.epoch + 1 and held.saved == held.next:
                taken[partition] = Held(held.watch, held.packer, epoch, held.next, held.saved)
                continue
            saved = unpack(await retry("checkpoints", partial(self._checkpoints.read, partition)))
            if saved is None:
                taken[partition] = Held(Watch(), Packer(), epoch, 0, None)
                continue
            self._check(partition, saved.position)
            taken[partition] = Held(saved.watch, saved.packer, epoch, saved.position.next, saved.position.next)
            await asyncio.sleep(0)
        return taken

    def _check(self, partition: int, position: Position) -> None:
        if (position.topic_id, position.partitions) != self._facts:
            raise RefusedError(
                f"the checkpoint of scored partition {partition} was made from topic id {position.topic_id} with {position.partitions} "
                f"partitions, Kafka has id {self._facts.topic_id} with {self._facts.partitions}: "
                "restore the topic, or start under a new prefix"
            )

    def own(self, taken: Taken) -> None:
        """Fold these partitions from now on, and no others."""
        self.held = taken

    async def step(self, batches: Sequence[Batch]) -> None:
        """Fold batches; when it returns, what they let the watch find is confirmed by Kafka. They are done when ``flush`` is.

        Raises
        ------
        RefusedError
            If a source topic was created anew, or a record is none of ours.
        DeliveryError
            If Kafka refuses a finding for good.

        """
        self._crash("scored-read")
        self._refuse_if_cut_short()
        self._within = True
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        try:
            for batch in batches:
                start = 0
                while start < len(batch.values):
                    # In a thread: a tick that moves the watermark by months may take seconds, and rebalances and stops must be answered.
                    messages, start = await asyncio.to_thread(self._fold, self.held[batch.partition], batch, start)
                    await sent  # in order
                    self._crash("folded")
                    sent = asyncio.ensure_future(self._producer.produce(messages))  # while the next part is folded
        finally:
            await sent
        self._within = False
        self._crash("findings-produced")

    def _fold(self, held: Held, batch: Batch, start: int) -> tuple[list[Message], int]:
        """Fold a batch from a position on, for a while if the watch finds something; return what it has found, and where to go on."""
        messages: list[Message] = []
        until_s = time.monotonic() + PART_S
        for at in range(start, len(batch)):
            if messages and time.monotonic() >= until_s:
                return messages, at
            offset, value = int(batch.offsets[at]), batch.values[at]
            if offset < held.next:
                continue  # folded before the checkpoint
            try:
                messages += [self._message(event) for event in held.watch.apply(decode(value or b""))]
                messages += [Message(self._audit, None, line.model_id.encode(), line.value, JSON) for line in held.watch.ledger.take()]
            except SourceRecreatedError as error:
                raise RefusedError(str(error)) from error
            except msgspec.DecodeError as error:
                raise RefusedError(
                    f"{batch.topic}[{batch.partition}] at offset {offset}: expected a scored record, got something else ({error}); "
                    "nothing but join workers of this version may write there"
                ) from error
            held.next = offset + 1
        self._folded(batch.partition, held.watch)
        return messages, len(batch)

    def _message(self, event: Event) -> Message:
        self._found(event)
        headers, value = to_binary(event)
        return Message(self._topics[event.type], None, event.data.model_id.encode(), value, headers)

    async def flush(self) -> None:
        """Write the checkpoint of every partition that has moved.

        Raises
        ------
        FencedError
            If another worker has taken one of them, or Redis has lost what it confirmed of one.
        StoreError
            If Redis refuses for good.
        RuntimeError
            If a step was cut short: what it found may not have gone out.

        """
        self._refuse_if_cut_short()
        moved = {partition: held for partition, held in self.held.items() if held.next != (held.saved or 0)}
        if not moved:
            return
        self._crash("checkpointing")
        await asyncio.gather(*(self._write(partition, held) for partition, held in moved.items()))
        self._crash("checkpointed")

    def _refuse_if_cut_short(self) -> None:
        if self._within:
            raise RuntimeError("the last step was cut short: its findings may not have gone out, so its state must not be kept")

    async def _write(self, partition: int, held: Held) -> None:
        fields = await asyncio.to_thread(held.packer.pack, held.watch, Position(*self._facts, held.next))
        step = Step(held.saved, held.next)
        await retry("checkpoints", lambda: self._checkpoints.write(partition, held.epoch, step, fields))
        held.packer.written()
        held.watch.changed.clear()
        held.saved = held.next
