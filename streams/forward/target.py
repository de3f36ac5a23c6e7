"""What an alert target is: a fold over events that says what to send. It does no I/O and reads no clock, so it is tested without either."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from schemas.findings import Event


class Place(NamedTuple):
    """Where an event lies in Kafka."""

    topic: str  # its name in Kafka
    partition: int
    offset: int
    at_ms: int  # of the record, epoch ms
    raw: bytes  # its value


class Request(NamedTuple):
    """One POST to the target; it may be sent more than once."""

    key: str  # names it to the target that made it
    about: str  # for people
    path: str  # after the target's URL
    body: Callable[[int], bytes]  # from the time of the attempt, epoch ms: what says until when it holds must not be sent when it is over
    headers: Callable[[int], Mapping[str, str]]  # from the time of the attempt, in whole seconds since 1970
    place: Place  # of the newest event in it


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may set of every target.

    Parameters
    ----------
    resend_ms
        How often an alert that is still active is sent again, by targets that must be reminded.
    labels
        Fixed labels beside our own, by targets that have labels.
    signing_key
        The key of signatures, by targets that are sent signed bodies; empty: no signature.

    """

    resend_ms: int = 60_000
    labels: Mapping[str, str] = field(default_factory=dict)
    signing_key: str = field(default="", repr=False)


class Target(ABC):
    """One kind of alert target.

    ``take`` is given events in the order of each partition, ``requests`` is then asked what to send, and each request ends in ``told`` or
    ``refused``. Offsets are committed after that, so whatever was taken and not told is taken again after a crash.

    """

    name: ClassVar[str]
    doc: ClassVar[str]  # what it is, for --help
    topics: ClassVar[tuple[str, ...]]  # that it can make something of
    default_topics: ClassVar[tuple[str, ...]] = ("drift", "fatigue")
    remembers: ClassVar[bool]  # whether it must see the topics from their beginning at each start
    probe: ClassVar[str | None] = None  # a path that answers GET with 200 where the URL is right

    @abstractmethod
    def __init__(self, options: Options) -> None:
        """Take what the user has set.

        Raises
        ------
        ValueError
            If an option cannot be used; the message says what was expected.

        """

    @abstractmethod
    def take(self, event: Event, place: Place, *, fresh: bool) -> None:
        """Take an event; not ``fresh``: one that the target was told of before this process began."""

    @abstractmethod
    def requests(self, now_ms: int) -> list[Request]:
        """Return what is to be sent now, in order."""

    @abstractmethod
    def told(self, request: Request, now_ms: int) -> None:
        """Note that the target took a request."""

    @abstractmethod
    def refused(self, request: Request) -> None:
        """Note that the target will never take this request."""

    def active(self) -> int:
        """Return how many alerts are kept active."""
        return 0
