"""A command per request to retrain, at least once each: the offset of a request moves after its command has succeeded."""

import logging
import random
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence

import msgspec

from schemas.findings import Event, EventType, from_binary, to_json
from schemas.retrain import RetrainCancelled, RetrainRequested
from streams.errors import StreamsError
from streams.forward.feed import Arrived, Feed
from streams.settings import Settings, child_environment

log = logging.getLogger(__name__)

FIRST_WAIT_S, MOST_WAIT_S = 1.0, 60.0
POLL_S = 0.2
GRACE_S = 10.0  # after this a command that was told to end is killed


class HookError(StreamsError):
    """The command does not succeed: somebody must look."""


class RetrainHook:
    """Runs a command for each request to retrain that has not been withdrawn by the time it is read.

    The command gets the request on standard input, as a CloudEvent in JSON. It may get the same one again after a crash, so it should
    look at ``data.request_id``.

    Parameters
    ----------
    command
        And its arguments; no shell reads them.
    settings
        Where Kafka is.
    group
        Of the consumer, without prefix.
    beginning
        Where a group that is new begins: with the oldest request that is kept, or with what comes from now on.
    follow
        Whether to wait for more at the end.
    timeout_s, give_up_s
        How long one run may take; how long to try one request.
    stop
        Set when it is to end.

    """

    def __init__(
        self,
        command: Sequence[str],
        settings: Settings,
        *,
        group: str,
        beginning: bool = False,
        follow: bool = True,
        timeout_s: float,
        give_up_s: float,
        stop: threading.Event,
    ) -> None:
        self._command, self._follow, self._stop = list(command), follow, stop
        self._timeout_s, self._give_up_s = timeout_s, give_up_s
        self._waiting: deque[tuple[Arrived, Event | None]] = deque()
        self._feed = Feed(settings, ("retrain",), group, remembers=False, beginning=beginning, moved=self._waiting.clear)
        self.ran = 0

    def run(self) -> int:
        """Run until told to stop, or to the end; return how many commands have succeeded. Blocks.

        Raises
        ------
        HookError
            If a command does not succeed in time; its request is not acknowledged.
        ForwardError
            If Kafka refuses for good.

        """
        try:
            while not self._stop.is_set():
                self._read()
                if self._waiting:
                    self._take()
                elif not self._stop.is_set():
                    done = self._feed.ended and not self._follow
                    self._feed.acknowledge(must=done)
                    if done:
                        break
        finally:
            self._feed.close()
        return self.ran

    def _read(self) -> None:
        """Take in all that there is, so that what was withdrawn is known before a command begins."""
        while not self._stop.is_set() and (arrived := self._feed.poll()):
            self._waiting += [(each, _event(each)) for each in arrived if each.fresh]

    def _withdrawn(self, event: Event) -> bool:
        """Say whether a request was withdrawn, as far as the topic has been read."""
        ident = event.data.request_id  # type: ignore[union-attr]  # requests have one
        gone = any(each and isinstance(each.data, RetrainCancelled) and each.data.request_id == ident for _, each in self._waiting)
        if gone:
            log.info("request %s was withdrawn before its command began", ident)
        return gone

    def _take(self) -> None:
        """See to the oldest that waits."""
        arrived, event = self._waiting.popleft()
        asked = event is not None and isinstance(event.data, RetrainRequested)
        if event is None or not asked or self._withdrawn(event) or self._until_done(event):
            self._feed.acknowledge(arrived.place)

    def _until_done(self, event: Event) -> bool:
        """Run the command until it succeeds, or the request is withdrawn; return False if told to stop before that."""
        deadline, wait_s = time.monotonic() + self._give_up_s, FIRST_WAIT_S
        while True:
            trouble = self._once(event)
            if trouble is None:
                return False
            if not trouble:
                self.ran += 1
                log.info("the command for request %s has succeeded", event.id)
                return True
            if time.monotonic() + wait_s > deadline:
                raise HookError(
                    f"{self._command[0]} {trouble} for request {event.id}, and did so for {self._give_up_s:g} s; mend it and start again: "
                    "the request is not acknowledged, and comes first"
                )
            log.warning("%s %s for request %s; trying again in %.0f s", self._command[0], trouble, event.id, wait_s)
            if self._stop.wait(wait_s * random.uniform(0.8, 1.2)):  # noqa: S311  # so that many do not try at once
                return False
            self._read()
            if self._withdrawn(event):
                return True
            wait_s = min(2 * wait_s, MOST_WAIT_S)

    def _once(self, event: Event) -> str | None:
        """Return what went wrong, empty if nothing did; None if told to stop before the end."""
        try:
            process = subprocess.Popen(self._command, env=child_environment({}), stdin=subprocess.PIPE)  # noqa: S603  the user's own command
        except OSError as error:
            return f"cannot be run ({error.strerror})"
        try:
            return self._end(process, to_json(event) + b"\n")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _end(self, process: "subprocess.Popen[bytes]", text: bytes) -> str | None:
        # Written apart: a command that does not read would keep us from hearing that we are told to stop.
        writer = threading.Thread(target=_feed_in, args=(process, text), daemon=True)
        writer.start()
        deadline = time.monotonic() + self._timeout_s
        while process.poll() is None:
            if self._stop.is_set():
                process.terminate()
                _wait(process, GRACE_S)
                return None
            if time.monotonic() > deadline:
                process.terminate()
                _wait(process, GRACE_S)
                return f"has not ended within {self._timeout_s:g} s"
            self._stop.wait(POLL_S)
        return f"ended with status {process.returncode}" if process.returncode else ""


def _feed_in(process: "subprocess.Popen[bytes]", text: bytes) -> None:
    pipe = process.stdin
    if pipe is None:
        return
    try:
        pipe.write(text)
        pipe.close()
    except OSError:  # it has ended, or does not care what it was asked
        log.debug("the command did not read its standard input")


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _event(arrived: Arrived) -> Event | None:
    try:
        event = from_binary(arrived.headers, arrived.place.raw)
    except (msgspec.DecodeError, ValueError) as error:
        log.warning("%s at offset %d: no event of ours, left alone: %s", arrived.place.topic, arrived.place.offset, error)
        return None
    return event if event.type in (EventType.RETRAIN_REQUESTED, EventType.RETRAIN_CANCELLED) else None
