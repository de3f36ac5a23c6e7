"""What waits for the companions of a model alone: each message comes to them once, in the order of the log."""

from typing import Any

import pytest
from support.stories import PREDICTIONS

from detectors import waiting_companions
from detectors.fixed import Ints
from detectors.panes import BEGINNING
from detectors.waiting_companions import WaitingCompanions
from schemas.scored import Rows


class Noted:
    """Companions that take notes."""

    def __init__(self) -> None:
        self.came: list[Any] = []

    def add(self, rows: Rows, where: Ints) -> None:
        self.came.append((rows.versions, len(where)))

    def take_back_time(self, watermark_ms: int) -> None:
        self.came.append(watermark_ms)


def message(version: str, n: int = 1) -> Rows:
    return Rows("m", [PREDICTIONS], n, {"kind": b"\x01" * n}, [version])


@pytest.fixture
def waiting() -> tuple[WaitingCompanions, Noted]:
    noted: Any = Noted()
    return WaitingCompanions(noted), noted


def test_messages_of_other_versions_are_not_counted_as_one(waiting: tuple[WaitingCompanions, Noted]) -> None:
    beside, noted = waiting
    for version in ("1", "1", "2", "1"):
        beside.follow([message(version)])
    assert noted.came == [(["1"], 2), (["2"], 1)]
    beside.passes(7)
    beside.passes(BEGINNING)
    assert beside.settled() is beside.unsettled
    assert noted.came == [(["1"], 2), (["2"], 1), (["1"], 1), 7]  # the time passes after what came before it
    assert beside.passed_ms == BEGINNING


def test_what_they_counted_ahead_is_not_counted_again(waiting: tuple[WaitingCompanions, Noted]) -> None:
    beside, noted = waiting
    rows = [message("1", n) for n in (1, 2, 3)]
    beside.add_ahead(rows[0], rows[0].column("kind"))
    beside.follow(rows, message("1", 6))
    beside.follow(rows, message("1", 6))  # now nothing was ahead: the versions' own one message will do
    beside.settled()
    assert noted.came == [(["1"], 1), (["1"], 11)]


def test_they_count_once_there_are_many(waiting: tuple[WaitingCompanions, Noted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_companions, "MOST_ROWS", 5)
    beside, noted = waiting
    beside.follow([message("1", 2) for _ in range(4)])
    assert noted.came == [(["1"], 6)]
