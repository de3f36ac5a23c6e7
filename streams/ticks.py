"""How far event time, and the rows, have come in each source partition that a worker reads: what its watermark ticks say."""

from collections.abc import Iterable, Mapping

from schemas.scored import Origin, Tick

FOLLOW_MS = 1_000  # no less than the watch keeps between two publications


class Highs:
    """The greatest event time and the last offset of each source partition, of records whose rows are produced.

    An idle partition (read to its end for the idle timeout) would hold the watch's clock for ever: its time follows the worker's clock,
    the idle timeout behind, as if its last record had come then.

    Parameters
    ----------
    idle_timeout_ms
        None: a partition's time moves by its records only.

    Examples
    --------
    >>> highs, quiet = Highs(1_000), Origin("predictions", "x", 0)
    >>> highs.own([quiet])
    >>> highs.at_end([quiet], now_ms=5_000)
    >>> highs.tick({"predictions": 1}, now_ms=5_000) is None  # not idle for long enough
    True
    >>> highs.at_end([quiet], now_ms=6_100)
    >>> highs.tick({"predictions": 1}, now_ms=6_100).highs
    [(Origin(topic='predictions', topic_id='x', partition=0), 5100)]
    >>> highs.tick({"predictions": 1}, now_ms=6_200) is None  # nothing new
    True
    >>> highs.tick({"predictions": 1}, now_ms=7_300).highs  # one more, so that the watch can publish what it held back
    []

    """

    def __init__(self, idle_timeout_ms: int | None) -> None:
        self._idle_timeout_ms = idle_timeout_ms
        self._owned: frozenset[Origin] = frozenset()
        self._highs: dict[Origin, int] = {}
        self._said: dict[Origin, int] = {}
        self._done: dict[Origin, int] = {}  # not said yet
        self._end_since: dict[Origin, int] = {}
        self._rows = False  # produced since the last tick
        self._last_ms: int | None = None  # when the last tick was written, if none has followed it

    def own(self, origins: Iterable[Origin]) -> None:
        """Say of these partitions only, from now on; what is known of others is dropped."""
        self._owned = frozenset(origins)
        self._highs = {origin: high for origin, high in self._highs.items() if origin in self._owned}
        self._said.clear()  # the watch may have lost what was said to it
        self._end_since.clear()

    def produced(self, highs: Mapping[Origin, int], done: Mapping[Origin, int]) -> None:
        """Take note of the greatest event times and the last offsets of a step, once its rows are confirmed, and all those before them."""
        self._rows = True
        self._done.update(done)
        for origin, high in highs.items():
            self._end_since.pop(origin, None)
            if origin in self._owned and high > self._highs.get(origin, high - 1):
                self._highs[origin] = high

    def at_end(self, origins: Iterable[Origin], now_ms: int) -> None:
        """Take note of the partitions that are read to their end now; all others are not."""
        if self._idle_timeout_ms is None:
            return
        self._end_since = {origin: self._end_since.get(origin, now_ms) for origin in origins if origin in self._owned}
        for origin, since in self._end_since.items():
            if now_ms - since >= self._idle_timeout_ms:
                self._highs[origin] = max(self._highs.get(origin, 0), now_ms - self._idle_timeout_ms)

    def now(self) -> dict[Origin, int]:
        """Return how far event time has come in each partition, epoch ms, idle ones included."""
        return dict(self._highs)

    def tick(self, partitions: Mapping[str, int], now_ms: int) -> Tick | None:
        """Return what has not been said yet, by the worker's clock; None: nothing new.

        Rows are followed by a tick though they move no time, and every last tick by one more: the watch publishes figures at ticks, and
        no oftener than once in ``FOLLOW_MS``, so without it the last rows before a silence would stay unpublished.
        """
        news = [(origin, high) for origin, high in sorted(self._highs.items(), key=_place) if self._said.get(origin) != high]
        self._said.update(news)
        if news or self._rows:
            self._rows, self._last_ms = False, now_ms
        elif self._last_ms is not None and now_ms - self._last_ms >= FOLLOW_MS:
            self._last_ms = None
        else:
            return None
        done, self._done = sorted(self._done.items(), key=_place), {}
        return Tick(dict(partitions), news, now_ms, done)


def _place(item: tuple[Origin, int]) -> tuple[str, int]:
    return item[0].topic, item[0].partition
