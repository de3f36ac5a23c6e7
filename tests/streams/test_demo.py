"""The demo: it finds what the story changes, and its books balance; when something is lost it says so."""

from collections import Counter

import pytest
from support.logs import gnomon

from schemas.report import Report
from schemas.scored import Forwarded, Origin, encode
from streams import demo
from streams.demo import DemoError, Seen, Told
from streams.processes import worker_command
from streams.scenario_small import CHANGED, DAYS, PER_DAY, Item, play


def test_the_story_is_the_same_every_time_and_in_order():
    items = list(play(0))
    assert items == list(play(0))
    assert [item.at_ms for item in items] == sorted(item.at_ms for item in items)
    count = Counter(item.is_a for item in items)
    assert count["prediction"] == count["label"] == DAYS * PER_DAY
    assert min(count["repeat"], count["correction"], count["cut"]) > 0


def test_the_demo_finds_the_change_and_its_books_balance():
    lines: list[str] = []
    told = demo.run(lines.append, lambda _: None, pace=6.0)
    assert told.faults == []
    assert told.found is not None, lines
    assert {"clinic": CHANGED} in told.found.data.affected
    assert told.seconds < 60
    assert any("gnomon.drift.opened" in line for line in lines)
    assert {model.model_id for model in told.report.models} == {"retina-screen"}
    assert told.report.models[0].segments[0].cost_total is not None  # the policy came by its topic


def test_a_worker_that_ends_ends_the_demo_with_its_log(monkeypatch):
    monkeypatch.setattr(
        demo, "worker_command", lambda name, level: [*worker_command(name, level)[:-1], "print('oh no'); raise SystemExit(70)"]
    )
    with pytest.raises(DemoError, match="status 70:\noh no"):
        demo.run(lambda _: None, lambda _: None)


def test_a_record_that_is_lost_is_told(monkeypatch):
    # The first bad record never reaches the broker.
    send = demo._Stage.send
    dropped: list[bytes] = []

    def lossy(stage, topic, value, partition=None):
        if value.endswith(b'request_id": ') and not dropped:
            dropped.append(value)
        else:
            send(stage, topic, value, partition)

    monkeypatch.setattr(demo._Stage, "send", lossy)
    monkeypatch.setattr(demo, "SETTLE_S", 2.0)
    with pytest.raises(DemoError, match="waited 2 s for every record to be counted"):
        demo.run(lambda _: None, lambda _: None, days=12, change_day=None, pace=20.0)
    assert dropped


def test_books_that_do_not_balance_name_the_difference():
    items = [Item(0, "predictions", b"{", "cut"), Item(0, "predictions", b"{}", "prediction")]
    faults = demo._faults(Seen(), items, 0, days=1)
    assert "records counted once: expected 2, got 0" in faults
    assert f"predictions known to the watch: expected {PER_DAY}, got 0" in faults


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (Told(Report(), [], None, ["predictions: expected 2, got 1"], 1.0), "predictions: expected 2, got 1"),
        (Told(Report(), [], None, [], 1.0), "was not found"),
    ],
)
def test_the_command_fails_when_the_demo_does(monkeypatch, told, says):
    monkeypatch.setattr(demo, "run", lambda say, status: told)
    result = gnomon("demo")
    assert result.exit_code == 1
    assert says in result.output


def test_a_demo_that_cannot_go_on_says_why(monkeypatch):
    def broken(say, status):
        raise DemoError("the join worker has ended")

    monkeypatch.setattr(demo, "run", broken)
    result = gnomon("demo")
    assert result.exit_code == 1
    assert "the join worker has ended" in result.stderr


def test_the_policy_opens_the_stage():
    seen = Seen()
    record = Forwarded(Origin("control", "mock", 0), 0, 0, b'{"type":"policy","by":"a","at":0,"body":{"toml":""}}')
    seen.take("scored", (), encode(record))
    assert seen.begun
