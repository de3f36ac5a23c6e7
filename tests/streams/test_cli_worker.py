"""``gnomon worker`` on a broker in memory: both apps run, stop when told to, and fall together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.flow import done, send, traffic
from support.workers import Process, processes, wait_for

from streams.embedded import MockBroker
from streams.processes import worker_command
from streams.settings import Settings


def children(process: Process) -> dict[str, int]:
    """The worker's children by the app that they run."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) if entry.name.isdigit() else 0
            command = (entry / "cmdline").read_text() if parent == process.process.pid else ""
        except (FileNotFoundError, ProcessLookupError):
            continue
        found |= {name: int(entry.name) for name in ("join", "watch") if f"from streams.{name} import app" in command}
    return found


@pytest.fixture
def started(tmp_path):
    """A worker that has joined some records, and its children."""
    with MockBroker() as broker, processes() as running:
        env = broker.environment() | {"GNOMON_DATA_DIR": str(tmp_path / "data"), "GNOMON_COMMIT_INTERVAL_MS": "200"}
        settings, sent = Settings.from_env(env), traffic(3, 200)
        send(settings, sent.records)
        process = Process([sys.executable, "-m", "streams.cli", "worker", "--loglevel", "warning"], env, tmp_path / "log")
        running.append(process)
        wait_for(lambda: done(settings, len(sent.records)), "all is joined", 60)
        yield process, children(process)


def test_both_apps_run_and_stop_when_told_to(started):
    process, running = started
    assert running.keys() == {"join", "watch"}
    status, _ = process.stop()
    assert status == 0, process.text()
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())


@pytest.mark.parametrize("name", ["join", "watch"])
def test_when_one_dies_the_other_is_stopped_and_the_status_is_told(started, name):
    process, running = started
    os.kill(running[name], signal.SIGKILL)
    assert process.wait(60) == 128 + signal.SIGKILL, process.text()
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())


def test_one_app_alone(tmp_path):
    with MockBroker() as broker, processes() as running:
        env = broker.environment() | {"GNOMON_DATA_DIR": str(tmp_path / "data")}
        process = Process([sys.executable, "-m", "streams.cli", "worker", "--watch", "--loglevel", "WARNING"], env, tmp_path / "log")
        running.append(process)
        wait_for(lambda: children(process) != {}, "the child starts")
        assert children(process).keys() == {"watch"}
        assert process.stop()[0] in {0, 128 + signal.SIGTERM}  # it may be told before it can hear


def test_a_policy_with_a_fault_stops_the_worker_with_its_reason(tmp_path):
    (tmp_path / "bad.toml").write_text("[models.m]\nhorizn = 1")
    with MockBroker() as broker, processes() as running:
        env = broker.environment() | {"GNOMON_DATA_DIR": str(tmp_path / "data"), "GNOMON_POLICY": str(tmp_path / "bad.toml")}
        process = Process([sys.executable, "-m", "streams.cli", "worker", "--loglevel", "WARNING"], env, tmp_path / "log")
        running.append(process)
        assert process.wait(60) == 2
        assert "did you mean 'horizon'" in process.text()
        assert "Traceback" not in process.text()


def test_a_kafka_that_is_away_at_the_start_is_told_in_a_line():
    code = "import streams.engine; streams.engine.ANSWER_S = 0.5\n" + worker_command("join", "INFO")[-1]
    env = {**os.environ, "GNOMON_KAFKA": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 70  # try again, says `gnomon worker --help`
    [line] = done.stderr.splitlines()
    assert "127.0.0.1:1" in line
    assert "gnomon doctor" in line
