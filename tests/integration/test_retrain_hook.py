"""``gnomon retrain-hook`` on a real Kafka: every request once or more, although the hook is killed and the command fails."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.flow import provision
from support.incidents import publish
from support.kafka_broker import Broker
from support.workers import Process, committed, processes, wait_for

from schemas.findings import Event, EventType
from schemas.retrain import RetrainCancelled, RetrainRequested, TrainingData
from streams.settings import Settings

pytestmark = pytest.mark.integration

# Notes the request, then fails twice for each; notes the environment, too.
SCRIPT = """\
import json, os, pathlib, sys, time
out = pathlib.Path(sys.argv[1])
event = json.load(sys.stdin)
ident = event["data"]["request_id"]
with out.open("a") as file:
    print(json.dumps({"id": ident, "type": event["type"], "secret": os.environ.get("GNOMON_SECRET_KEY")}), file=file)
tries = sum(json.loads(line)["id"] == ident for line in out.read_text().splitlines())
if ident == "slow" and tries == 1:
    time.sleep(12)
sys.exit(0 if tries > int(sys.argv[2]) else 3)
"""


def requested(ident: str) -> Event:
    data = RetrainRequested(
        request_id=ident,
        model_id="m",
        model_version="1",
        incidents=["i"],
        reason="error rose",
        data=TrainingData(from_="2026-01-01T00:00:00.000Z", to="2026-01-02T00:00:00.000Z", n_labelled=9),
        expected_gain=None,
    )
    return Event(id=f"{ident}-requested", type=EventType.RETRAIN_REQUESTED, subject="m/1", time_ms=0, data=data)


def cancelled(ident: str) -> Event:
    data = RetrainCancelled(request_id=ident, model_id="m", model_version="1", reason="cleared")
    return Event(id=f"{ident}-cancelled", type=EventType.RETRAIN_CANCELLED, subject="m/1", time_ms=0, data=data)


@pytest.fixture
def settings(kafka: Broker, prefix: str) -> Settings:
    return provision(kafka, prefix)


@pytest.fixture
def started() -> Iterator[list[Process]]:
    with processes() as running:
        yield running


def hook(started: list[Process], settings: Settings, tmp_path: Path, *options: str, failures: int = 0) -> Process:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "out"), str(failures)]
    env = {
        "GNOMON_KAFKA": settings.kafka,
        "GNOMON_PREFIX": settings.prefix,
        "GNOMON_SESSION_TIMEOUT_MS": "6000",
        "GNOMON_SECRET_KEY": "k" * 40,
    }
    words = [sys.executable, "-m", "streams.cli", "retrain-hook", "--from-beginning", *options, "--", *command]
    started.append(Process(words, env, tmp_path / f"log-{len(started)}"))
    return started[-1]


def ran(tmp_path: Path) -> list[str]:
    path = tmp_path / "out"
    return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []


def test_each_request_is_run_until_it_succeeds_and_not_again(settings: Settings, started: list[Process], tmp_path: Path) -> None:
    publish(settings, requested("a"), cancelled("other"), requested("b"))
    first = hook(started, settings, tmp_path, "--no-follow", failures=1)
    assert first.wait(60) == 0, first.text()
    assert ran(tmp_path) == ["a", "a", "b", "b"]
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert {(line["type"], line["secret"]) for line in lines} == {("gnomon.retrain.requested", None)}
    publish(settings, requested("c"), requested("d"), cancelled("c"))
    second = hook(started, settings, tmp_path, "--no-follow")
    assert second.wait(60) == 0, second.text()
    assert ran(tmp_path)[4:] == ["d"]  # c was withdrawn before its command began


def test_a_hook_that_is_killed_runs_the_request_again(settings: Settings, started: list[Process], tmp_path: Path) -> None:
    publish(settings, requested("a"), requested("slow"), requested("z"))
    killed = hook(started, settings, tmp_path)
    wait_for(lambda: ran(tmp_path) == ["a", "slow"], "the slow command begins", 60)
    group = settings.topic("retrain-hook.default")
    wait_for(lambda: committed(settings.kafka, group, settings.topic("retrain"), 1)[0] == 1, "the first is acknowledged")
    killed.kill()
    again = hook(started, settings, tmp_path, "--no-follow")
    assert again.wait(90) == 0, again.text()
    assert ran(tmp_path) == ["a", "slow", "slow", "z"]


def test_a_command_that_never_succeeds_ends_it_unacknowledged(settings: Settings, started: list[Process], tmp_path: Path) -> None:
    publish(settings, requested("a"))
    failing = hook(started, settings, tmp_path, "--no-follow", "--give-up", "3s", failures=99)
    assert failing.wait(60) == 1
    assert "ended with status 3 for request a-requested" in failing.text()
    assert committed(settings.kafka, settings.topic("retrain-hook.default"), settings.topic("retrain"), 1)[0] <= 0
    mended = hook(started, settings, tmp_path, "--no-follow")
    assert mended.wait(60) == 0, mended.text()
    assert set(ran(tmp_path)) == {"a"}
