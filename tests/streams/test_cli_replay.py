"""``gnomon replay``: files in, files out, exit status."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import msgspec
import pytest
from support.logs import START_MS, gnomon, outcome, prediction, story, write_lines

from schemas.findings import from_json
from schemas.report import Report
from streams import replay as replay_module
from streams.apart import ApartError
from streams.cli import replay as command

POLICY = '[defaults]\nages = ["1d"]\nbaseline = { days = 6, labels = 100, failures = 10 }\n'


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    made, known = story(days=24, per_day=50, changes_on=10)
    (folder / "policy.toml").write_text(POLICY)
    write_lines(folder / "p.jsonl", [*made, b"{"])
    (folder / "o.jsonl.gz").write_bytes(gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in known)))
    return folder / "p.jsonl", folder / "o.jsonl.gz", folder / "policy.toml"


@pytest.fixture
def small(tmp_path):
    made, known = [prediction("a", START_MS, 0.5), prediction("b", START_MS, 0.75)], [outcome("a", START_MS + 1, 1)]
    return write_lines(tmp_path / "p.jsonl", made), write_lines(tmp_path / "o.jsonl", known)


def test_everything_is_written_and_summed_up(logs, tmp_path):
    predictions, outcomes, policy = logs
    out = {name: tmp_path / name for name in ("report.json", "events.jsonl", "dead.jsonl")}
    result = gnomon(
        "replay", predictions, outcomes, "--policy", policy, "--report", out["report.json"], "--events", out["events.jsonl"],
        "--dead-letters", out["dead.jsonl"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = msgspec.json.decode(out["report.json"].read_bytes(), type=Report)
    assert (report.join.predictions, report.join.joined, report.join.dead_letter) == (1_200, 1_200, 1)
    events = [from_json(line) for line in out["events.jsonl"].read_bytes().splitlines()]
    assert len(events) == sum(report.events.values()) > 0
    [letter] = out["dead.jsonl"].read_bytes().splitlines()
    assert msgspec.json.decode(letter)["offset"] == 1_200
    assert "1,200 predictions" in result.output
    assert "region = north" in result.output
    assert "predictions line 1201: malformed" in result.output
    incidents = {event.data.incident_id for event in events}
    assert f"{len(incidents)} incident" in result.output
    assert all(any(event.data.message in result.output for event in events if event.data.incident_id == one) for one in incidents)


def test_json_is_the_report_and_nothing_else(small):
    result = gnomon("replay", *small, "--json")
    assert msgspec.json.decode(result.stdout, type=Report).join.pending == 1


@pytest.mark.parametrize("name", ["gnomon.drift.opened", "gnomon.drift", "drift", "gnomon"])
def test_fail_on_exits_with_3_when_the_event_was_raised(logs, name):
    predictions, outcomes, policy = logs
    result = gnomon("replay", predictions, outcomes, "--policy", policy, "--fail-on", name)
    assert result.exit_code == 3
    assert "gnomon.drift.opened" in result.stderr


def test_fail_on_exits_with_0_when_it_was_not(logs):
    predictions, outcomes, policy = logs
    assert gnomon("replay", predictions, outcomes, "--policy", policy, "--fail-on", "gnomon.budget.breached").exit_code == 0


@pytest.mark.parametrize(
    ("name", "meant"), [("gnomon.drift.open", "gnomon.drift.opened"), ("drfit", "gnomon.drift"), ("gnomon.dr", "gnomon.drift")]
)
def test_an_unknown_type_is_told_what_was_meant(small, name, meant):
    result = gnomon("replay", *small, "--fail-on", name)
    assert result.exit_code == 2
    assert f"did you mean --fail-on {meant}" in result.stderr


def test_a_missing_file_is_named(small, tmp_path):
    result = gnomon("replay", small[0], tmp_path / "none.jsonl")
    assert result.exit_code == 2
    assert "none.jsonl" in result.stderr


def test_a_replay_whose_other_process_is_killed_says_so(small, monkeypatch):
    def killed(*_, **__):
        raise ApartError("the other process was killed before its end\nis there enough memory?")

    monkeypatch.setattr(replay_module, "replay", killed)
    result = gnomon("replay", *small)
    assert (result.exit_code, result.stderr) == (1, "gnomon: the other process was killed before its end\nis there enough memory?\n")


def test_a_bad_policy_is_told_all_its_faults(small, tmp_path):
    (tmp_path / "bad.toml").write_text(
        '[models.m]\nhorizn = "1d"\nmetrics = ["Acuracy"]\n[models.m.watch.error]\ndetector = "adwin"\ndelta = 7\n'
    )
    result = gnomon("replay", *small, "--policy", tmp_path / "bad.toml")
    assert result.exit_code == 2
    assert "did you mean 'horizon'?" in result.stderr
    (tmp_path / "bad.toml").write_text('[models.m]\nmetrics = ["Acuracy"]\n[models.m.watch.error]\ndetector = "adwin"\ndelta = 7\n')
    result = gnomon("replay", *small, "--policy", tmp_path / "bad.toml")
    assert result.exit_code == 2
    assert "models.m.metrics: no River label metric 'Acuracy'; did you mean 'Accuracy'?" in result.stderr
    assert "models.m.watch.error: adwin: expected delta" in result.stderr
    assert f"gnomon check {tmp_path / 'bad.toml'}" in result.stderr


def test_a_log_is_never_written_over(small):
    before = small[0].read_bytes()
    result = gnomon("replay", *small, "--report", small[0])
    assert result.exit_code == 2
    assert small[0].read_bytes() == before


def test_a_folder_that_is_not_there_is_told_before_the_work(small, tmp_path):
    result = gnomon("replay", *small, "--events", tmp_path / "none" / "e.jsonl")
    assert result.exit_code == 2
    assert f"mkdir -p {tmp_path / 'none'}" in result.stderr


OUTPUTS = ("--report", "--events", "--dead-letters", "--audit", "--html")


@pytest.mark.parametrize("option", OUTPUTS)
def test_a_name_that_is_too_long_is_told_before_the_work(tmp_path, option):
    result = gnomon("replay", tmp_path / "none.jsonl", tmp_path / "none.jsonl", option, tmp_path / ("x" * 300))
    assert result.exit_code == 2
    assert f"{option}: cannot write {tmp_path}" in result.stderr
    assert "File name too long" in result.stderr


def test_the_longest_name_is_written(small, tmp_path):
    path = tmp_path / ("x" * 255)
    assert gnomon("replay", *small, "--report", path).exit_code == 0
    assert path.stat().st_size


def test_a_log_whose_name_is_too_long_is_told(small, tmp_path):
    result = gnomon("replay", tmp_path / ("x" * 300), small[1], "--report", small[0].with_name("r.json"))
    assert result.exit_code == 2
    assert result.stderr.startswith("gnomon: expected")
    assert "File name too long" in result.stderr


@pytest.fixture
def home_of_nobody():
    """A folder of a user to whom rights apply, as whom the test runs."""
    folder, nobody = Path(tempfile.mkdtemp()), 65_534
    if root := os.geteuid() == 0:
        os.chown(folder, nobody, -1)
        os.seteuid(nobody)
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o000, 0o555], ids=["not to be entered", "not to be written to"])
def test_a_locked_folder_is_told_before_the_work(home_of_nobody, mode):
    folder = home_of_nobody / "locked"
    folder.mkdir(mode)
    result = gnomon("replay", "none.jsonl", "none.jsonl", "--events", folder / "e.jsonl")
    assert result.exit_code == 2
    assert f"--events: cannot write {folder / 'e.jsonl'}: Permission denied; see: ls -ld {folder}" in result.stderr


def test_one_file_for_two_outputs_is_a_mistake(small, tmp_path):
    assert gnomon("replay", *small, "--events", tmp_path / "x", "--report", tmp_path / "x").exit_code == 2


def test_empty_logs_work(tmp_path):
    empty = write_lines(tmp_path / "p.jsonl", [])
    result = gnomon("replay", empty, empty, "--report", tmp_path / "r.json", "--events", tmp_path / "e.jsonl")
    assert result.exit_code == 0
    assert msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=Report) == Report()
    assert (tmp_path / "e.jsonl").read_bytes() == b""


def test_a_bad_line_does_not_change_the_exit_status(small):
    with small[0].open("ab") as file:
        file.write(b"\x00\xff\n" + b"[" * 50_000 + b"\n")
    result = gnomon("replay", *small)
    assert result.exit_code == 0
    assert "2 dead letter" in result.stdout


def test_what_a_record_says_cannot_steer_the_terminal(tmp_path):
    nasty = prediction("a", START_MS, 0.5, model_id="\x1b[2J[bold]m\nm", subgroups={"g\x07": "\u202eevil[/]"})
    result = gnomon("replay", write_lines(tmp_path / "p.jsonl", [nasty]), write_lines(tmp_path / "o.jsonl", []))
    assert result.exit_code == 0
    assert "?[2J[bold]m?m 1" in result.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(result.stdout)


def test_the_bar_has_no_thread_until_the_logs_are_read(monkeypatch):
    monkeypatch.setattr(command, "on_terminal", lambda: True)
    before = threading.active_count()
    with command._progress() as tell:
        assert threading.active_count() == before  # a replay may still become two processes
        tell(0, 5)
        tell(5, 5)
        assert threading.active_count() == before + 1


def test_no_progress_bar_is_drawn_where_nobody_watches(small):
    result = subprocess.run([sys.executable, "-m", "streams.cli", "replay", *map(str, small)], capture_output=True, text=True, check=True)
    assert result.stderr == ""
