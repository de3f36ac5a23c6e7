"""What ``gnomon retrain-hook`` makes of its topic, without Kafka: which requests it runs a command for, and what it acknowledges."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.findings import Event, EventType, to_binary
from schemas.retrain import RetrainCancelled, RetrainRequested, TrainingData
from streams import retrain_hook
from streams.forward.feed import Arrived
from streams.forward.target import Place
from streams.retrain_hook import HookError, RetrainHook
from streams.settings import Settings

NOTE = "import json, sys; open(sys.argv[1], 'a').write(json.load(sys.stdin)['data']['request_id']); sys.exit(int(sys.argv[2]))"


def requested(ident: str) -> Event:
    span = TrainingData(from_="2026-01-01T00:00:00.000Z", to="2026-01-02T00:00:00.000Z", n_labelled=9)
    data = RetrainRequested(
        request_id=ident, model_id="m", model_version="1", incidents=["i"], reason="error rose", data=span, expected_gain=None
    )
    return Event(id=f"{ident}-requested", type=EventType.RETRAIN_REQUESTED, subject="m/1", time_ms=0, data=data)


def cancelled(ident: str) -> Event:
    data = RetrainCancelled(request_id=ident, model_id="m", model_version="1", reason="cleared")
    return Event(id=f"{ident}-cancelled", type=EventType.RETRAIN_CANCELLED, subject="m/1", time_ms=0, data=data)


class Topic:
    """Stands in for a feed: its records come when their time has come, at most two in a poll."""

    ended = True

    def __init__(self, *records: tuple[Event, Callable[[], bool]]) -> None:
        self.records, self.read, self.acknowledged = list(records), 0, 0

    def poll(self) -> list[Arrived]:
        found: list[Arrived] = []
        while self.read < len(self.records) and len(found) < 2 and self.records[self.read][1]():
            headers, value = to_binary(self.records[self.read][0])
            found.append(Arrived(Place("retrain", 0, self.read, 0, value), [(name, each) for name, each in headers], True))
            self.read += 1
        return found

    def acknowledge(self, to: Place | None = None, *, must: bool = False) -> None:
        self.acknowledged = self.read if to is None else to.offset + 1

    def close(self) -> None:
        """Nothing to leave."""


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    return tmp_path / "noted"


def run(monkeypatch: pytest.MonkeyPatch, topic: Topic, noted: Path, *, status: int = 0, give_up_s: float = 60.0) -> str:
    monkeypatch.setattr(retrain_hook, "Feed", lambda *_, **__: topic)
    command = [sys.executable, "-c", NOTE, str(noted), str(status)]
    hook = RetrainHook(command, Settings(), group="g", follow=False, timeout_s=30, give_up_s=give_up_s, stop=threading.Event())
    hook.run()
    return noted.read_text() if noted.exists() else ""


def now() -> bool:
    return True


def test_a_request_that_is_withdrawn_however_much_later_in_the_topic_is_passed_over(monkeypatch, noted):
    topic = Topic((requested("a"), now), (requested("b"), now), (requested("c"), now), (cancelled("a"), now), (cancelled("c"), now))
    assert run(monkeypatch, topic, noted) == "b"
    assert topic.acknowledged == 5


def test_a_request_that_is_withdrawn_while_another_is_at_work_is_passed_over(monkeypatch, noted):
    topic = Topic((requested("a"), now), (requested("b"), now), (cancelled("b"), noted.exists))
    assert run(monkeypatch, topic, noted) == "a"
    assert topic.acknowledged == 3


def test_a_request_whose_command_fails_is_tried_until_it_is_withdrawn(monkeypatch, noted):
    topic = Topic((requested("a"), now), (cancelled("a"), noted.exists))
    assert run(monkeypatch, topic, noted, status=3) == "a"
    assert topic.acknowledged == 2


def test_what_does_not_succeed_is_not_acknowledged(monkeypatch, noted):
    topic = Topic((requested("a"), now), (requested("b"), now))
    with pytest.raises(HookError, match="ended with status 3 for request a-requested"):
        run(monkeypatch, topic, noted, status=3, give_up_s=0.5)
    assert (noted.read_text(), topic.acknowledged) == ("a", 0)
