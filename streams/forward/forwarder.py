"""The loop of a forwarder: read, fold into the target, send, and only then acknowledge."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b

import msgspec

from schemas.codec import Fault, Reason, encode
from schemas.dead_letter import dead_letter
from schemas.drift import DriftData, Severity
from schemas.findings import Event, from_binary
from streams.control_log import publish
from streams.forward.feed import Arrived, Feed
from streams.forward.post import REFUSED, Patience, Post, StoppedError, check_url, said
from streams.forward.target import Place, Target
from streams.settings import Settings

log = logging.getLogger(__name__)

SEVERITIES = list(Severity)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to forward, and where to.

    Parameters
    ----------
    url
        Of the target.
    make
        Makes the target with nothing in it.
    topics
        Logical names.
    name
        Of the consumer group; empty: made from the target and its URL.
    severity
        Events below it are left out; those that have none count as minor.
    beginning
        Where a group that is new begins: with the oldest event that is kept, or with what comes from now on.
    follow
        Whether to wait for more at the end.
    patience
        Timeouts.

    """

    url: str = field(repr=False)
    make: Callable[[], Target]
    topics: tuple[str, ...]
    name: str = ""
    severity: Severity = Severity.MINOR
    beginning: bool = False
    follow: bool = True
    patience: Patience = field(default_factory=Patience)


def group_name(target: str, url: str, name: str = "") -> str:
    """Return the name of a forwarder's consumer group, without prefix: two targets never share one by accident.

    >>> group_name("webhook", "https://a.example"), group_name("webhook", "https://a.example", "desk")
    ('forward.webhook.74a950ef', 'forward.desk')
    """
    return f"forward.{name or f'{target}.{blake2b(url.encode(), digest_size=4).hexdigest()}'}"


class Forwarder:
    """Forwards events to one target until it is told to stop.

    Parameters
    ----------
    job
        What to forward.
    settings
        Where Kafka is, and secrets.
    now_ms
        The clock, epoch ms.

    """

    def __init__(self, job: Job, settings: Settings, now_ms: Callable[[], int]) -> None:
        self._job, self._settings, self._now_ms = job, settings, now_ms
        self.target = job.make()
        self.url = check_url(job.url, settings)
        self.counts: Counter[str] = Counter()  # sent, refused, retried, unreadable
        self.last_taken_ms = 0
        self.good = True  # whether the last attempt was, if there was one
        self.stop = asyncio.Event()
        self.feed: Feed | None = None

    async def run(self) -> None:
        """Forward.

        Raises
        ------
        ForwardError
            If the target, or Kafka, does not do its part in time.
        NotPublishedError
            If a dead letter cannot be kept.

        """
        try:
            async with Post(self.url, self._settings, self._job.patience, self.stop, self._heard) as post:
                if self.target.probe is not None:
                    await post.probe(self.target.probe)
                await self._forward(post)
        except StoppedError:
            log.info("told to stop; what was not taken is not acknowledged")

    async def _forward(self, post: Post) -> None:
        job = self._job
        group = group_name(self.target.name, self.url, job.name)
        remembers = self.target.remembers
        self.feed = feed = await asyncio.to_thread(
            lambda: Feed(self._settings, job.topics, group, remembers=remembers, beginning=job.beginning, moved=self._anew)
        )
        log.info("forwarding %s to %s at %s as group %s", ", ".join(job.topics), self.target.name, post.where, feed.group)
        try:
            while not self.stop.is_set():
                arrived = await asyncio.to_thread(feed.poll)
                for each in arrived:
                    await self._take(each)
                    if not remembers:
                        await self._send(post)
                        await asyncio.to_thread(feed.acknowledge, each.place)
                # A target that remembers is told nothing before all that is known has been folded: it might be over by now.
                if feed.assigned and (feed.ended or not remembers):
                    await self._send(post)
                    done = feed.ended and not job.follow
                    await asyncio.to_thread(partial(feed.acknowledge, must=done))
                    if done:
                        return
        finally:
            await asyncio.to_thread(feed.close)

    def _anew(self) -> None:
        self.target = self._job.make()

    async def _take(self, arrived: Arrived) -> None:
        try:
            event = from_binary(arrived.headers, arrived.place.raw)
        except (msgspec.DecodeError, ValueError) as error:
            if arrived.fresh:
                log.warning("%s: no event of ours, put into dead letters: %s", _where(arrived.place), error)
                self.counts["unreadable"] += 1
                await self._bury(arrived.place, Reason.MALFORMED, f"Expected a CloudEvent of Gnomon's: {error}")
            return
        if self._wanted(event):
            self.target.take(event, arrived.place, fresh=arrived.fresh)

    def _wanted(self, event: Event) -> bool:
        # Severity only rises while an incident is open, so one that was let through stays so until it clears. What has none is minor.
        severity = event.data.severity if isinstance(event.data, DriftData) else Severity.MINOR
        return SEVERITIES.index(severity) >= SEVERITIES.index(self._job.severity)

    async def _send(self, post: Post) -> None:
        for request in self.target.requests(self._now_ms()):
            answer = await post.send(request)
            if answer.status in REFUSED:
                log.error("%s refuses %s for good: %s; it is put into dead letters", post.where, request.about, said(answer))
                await self._bury(request.place, Reason.REFUSED, f"{self.target.name} at {post.where} answered {answer.status}")
                self.counts["refused"] += 1
                self.target.refused(request)
            else:
                log.info("%s took %s", post.where, request.about)
                self.counts["sent"] += 1
                self.last_taken_ms = self._now_ms()
                self.target.told(request, self.last_taken_ms)

    async def _bury(self, place: Place, reason: Reason, detail: str) -> None:
        topic = place.topic.removeprefix(self._settings.prefix)
        letter = dead_letter(
            Fault(0, reason, detail),
            place.raw,
            topic=topic,
            partition=place.partition,
            offset=place.offset,
            at_ms=place.at_ms,
            keep_payload=self._settings.dead_letter_payload,
        )
        await asyncio.to_thread(partial(publish, self._settings, encode(letter), name="dead-letters"))

    def _heard(self, good: bool) -> None:
        self.good = good
        self.counts["retried"] += not good


def _where(place: Place) -> str:
    return f"{place.topic}[{place.partition}] at offset {place.offset}"
