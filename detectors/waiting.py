"""Rows of one model that wait to be counted: to fold many small messages as one costs hardly more than to fold one of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.fixed import Ints
from detectors.many_sums import Lot
from schemas.scored import COLUMNS, Kind, Origin, Rows

MAX_ORIGINS = 255  # a row says which in one byte
MOST_TOGETHER = 1_024  # rows that wait, to be counted together with those of other models
MOST_ROWS = 16_000  # that wait; then they are counted
# What may wait: sums that do not care for the order in which they are added, and names that ``Segments.meet`` has numbered in that of
# the log, as classes are. Who numbers other names (units, checks, probes, rivals, features) must see each message as it comes.
PLAIN = frozenset(COLUMNS) - frozenset(
    ["sign", "unit", "alert_key", "action", "review_ms", "probe", "passed", "total", "rival", "loss", "rival_loss", "rival_error"]
)
_COUNT, _DISPOSITION = int(Kind.COUNT), int(Kind.DISPOSITION)
CLASSES = frozenset(["said", "truth"])  # indexes into texts


class Waiting:
    r"""Plain messages of one model, in the order in which they came; all of the same versions.

    Examples
    --------
    >>> def one(score):
    ...     return Rows("m", [Origin("p", "x", 0)], 1, {"kind": b"\x01", "score": np.array([score]).tobytes()}, versions=["1"])
    >>> waiting = Waiting()
    >>> waiting.add(one(0.25))
    >>> waiting.fits(one(0.5)), waiting.fits(Rows("m", [], 1, {"kind": b"\x01"}, versions=["2"]))
    (True, False)
    >>> waiting.add(one(0.5))
    >>> rows, where = waiting.take()
    >>> rows.column("score")[where].tolist(), waiting.n
    ([0.25, 0.5], 0)

    """

    def __init__(self) -> None:
        self.messages: list[Rows] = []
        self.lots: list[Lot] | None = []  # of the messages; None: one is too long for that, or all are
        self.n = 0
        self._origins: set[Origin] = set()

    def fits(self, rows: Rows) -> bool:
        """Say whether a message may wait with those that do."""
        if not self.messages:
            return True
        if rows.versions != self.messages[0].versions:
            return False
        return self._origins.issuperset(rows.origins) or len(self._origins.union(rows.origins)) <= MAX_ORIGINS

    def add(self, rows: Rows, lots: Sequence[Lot] | None = None) -> None:
        """Let a message wait, as what it is cut into; all of its rows are new."""
        self.messages.append(rows)
        self.n += rows.n
        if self.lots is not None and lots is not None and self.n <= MOST_TOGETHER:
            self.lots += lots
        else:
            self.lots = None
        self._origins.update(rows.origins)

    def take(self) -> tuple[Rows, Ints]:
        """Return what waits as one message, and which of its rows add to anything; nothing waits then.

        >>> waiting = Waiting()
        >>> for kinds in ([Kind.COUNT, Kind.PREDICTION], [Kind.PREDICTION, Kind.PREDICTION]):
        ...     waiting.add(Rows("m", [], 2, {"kind": bytes(kinds)}, ["1"]))
        ...     waiting.take()[1].tolist()
        [1]
        [0, 1]
        """
        rows = together(self.messages)
        self._clear()
        if _COUNT not in rows.columns["kind"]:
            return rows, np.arange(rows.n)
        return rows, np.flatnonzero(rows.column("kind") != Kind.COUNT)

    def take_lots(self) -> tuple[list[Rows], list[Lot]]:
        """Return the messages that wait, and what they are cut into; nothing where they are too many. Nothing waits then."""
        if self.lots is None:
            return [], []
        taken = self.messages, self.lots
        self._clear()
        return taken

    def _clear(self) -> None:
        self.messages, self.lots, self.n, self._origins = [], [], 0, set()


def is_plain(rows: Rows) -> bool:
    """Say whether the rows of a message may be counted later, together with others."""
    return not rows.features and rows.columns.keys() <= PLAIN and _DISPOSITION not in rows.columns.get("kind", b"")


def together(messages: Sequence[Rows]) -> Rows:
    r"""Return plain messages of one model and the same versions as one.

    >>> source, site = [Origin("predictions", "x", 0)], np.arange(3, dtype="<u4")
    >>> a = Rows("m", source, 1, {"kind": b"\x01"}, ["1"], ["", "x"], {"site": site[1:2].tobytes()})
    >>> b = Rows("m", source, 1, {"kind": b"\x01", "label": b"\x01"}, ["1"], ["", "y", "x"], {"site": site[2:].tobytes()})
    >>> both = together([a, b])
    >>> both.n, both.texts, both.dimension("site").tolist(), both.column("label").tolist()
    (2, ['', 'x', 'y'], [1, 1], [0, 1])
    """
    first = messages[0]
    if len(messages) == 1:
        return first
    origins = {origin: i for i, origin in enumerate(dict.fromkeys(origin for rows in messages for origin in rows.origins))}
    texts = {text: i for i, text in enumerate(dict.fromkeys(text for rows in messages for text in rows.texts))}
    names = dict.fromkeys(name for rows in messages for name in rows.columns if name != "origin")
    columns = {name: b"".join(rows.columns.get(name) or rows.column(name).tobytes() for rows in messages) for name in names}
    columns["origin"] = _renumbered(
        COLUMNS["origin"][0], [(rows.column("origin"), [origins[each] for each in rows.origins]) for rows in messages]
    )
    dimensions = {}
    numbers = [[texts[text] for text in rows.texts] for rows in messages]
    for name in CLASSES & columns.keys():
        columns[name] = _renumbered(COLUMNS[name][0], [(rows.column(name), of) for rows, of in zip(messages, numbers, strict=True)])
    for name in dict.fromkeys(name for rows in messages for name in rows.dimensions):
        dimensions[name] = _renumbered("<u4", [(rows.dimension(name), of) for rows, of in zip(messages, numbers, strict=True)])
    return Rows(first.model_id, list(origins), sum(rows.n for rows in messages), columns, first.versions, list(texts), dimensions)


def _renumbered(dtype: str, columns: Sequence[tuple[npt.NDArray[Any], list[int]]]) -> bytes:
    """Return columns one after another, each code as the number that stands at its place in the column's list."""
    return b"".join(np.array(numbers, dtype=dtype).take(codes).tobytes() for codes, numbers in columns)
