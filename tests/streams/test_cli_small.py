"""``gnomon check`` and ``gnomon schemas``; processes that stand and fall together."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from support.logs import gnomon

from schemas.json_schemas import RECORDS
from streams.processes import Child, supervise, worker_command


def test_check_shows_what_holds_for_each_model(tmp_path):
    (tmp_path / "p.toml").write_text(
        """
        [defaults]
        lateness = "1m"
        [models.fraud]
        horizon = "60d"
        on_timeout = "negative"
        cost = { fp = 5, fn = "25 - 0.3*amount" }
        [models.fraud.watch.error]
        detector = "adwin"
        delta = 0.01
        [models.fraud.watch.fnr]
        detector = "ddm"
        role = "watch"
        [models.fraud.watch.gap]
        [models.fraud.fatigue]
        response_time = "5m"
        """
    )
    lines = {" ".join(line.split()) for line in gnomon("check", tmp_path / "p.toml").output.splitlines()}
    assert {
        "fraud",
        "* lateness 1m",
        "* horizon 60d",
        "horizon labels never expire",
        "* on_timeout negative",
        "* cost tp 0, fp 5, tn 0, fn 25 - 0.3*amount",
        "* watch.error adwin, delta 0.01",
        "* watch.fnr bank, ddm beside it",
        "* watch.gap bank",
        "watch.gap off",
        "* fatigue.response_time 5m",
    } <= lines


def test_check_explains_one_model(tmp_path):
    (tmp_path / "p.toml").write_text('[models.a]\nhorizon = "1d"\n[models.b]\nhorizon = "2d"')
    shown = gnomon("check", tmp_path / "p.toml", "--model", "b").output
    assert "2d" in shown
    assert re.search(r"retrain\.decay_within +never", shown)
    assert re.search(r"fatigue\.ppv +held against its own past", shown)
    assert "1d" not in shown.replace("fatigue.stale                1d", "")
    assert "not named in the policy" in gnomon("check", tmp_path / "p.toml", "--model", "c").output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[models.m]\nhorizn = 1", "did you mean 'horizon'?"),
        (b"[models.m", "not TOML"),
        (b"\xff", "UTF-8"),
        (b"[defaults.watch.error]\ndetector = 'adwim'", "did you mean 'adwin'?"),
        (b"[defaults.watch.gap]\ndetector = 'adwin'", "defaults.watch.gap: detector: expected 'bank', got 'adwin'"),
        (b"[defaults.watch.score]\ndetector = 'ddm'", "one that takes means (adwin, page-hinkley, kswin), got 'ddm'"),
        (b"[defaults.watch.error]\nrole = 'watch'", "defaults.watch.error.role: expected a detector of River's beside it"),
        (b"[defaults.baseline]\nfile = 'none.parquet'", "none.parquet"),
    ],
)
def test_a_fault_of_a_policy_is_told(tmp_path, text, says):
    (tmp_path / "p.toml").write_bytes(text)
    result = gnomon("check", tmp_path / "p.toml")
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_policy_that_is_not_there_is_told_what_to_type(tmp_path):
    result = gnomon("check", tmp_path / "none.toml")
    assert result.exit_code == 2
    assert f"touch {tmp_path / 'none.toml'}" in result.stderr


def test_a_policy_is_explained_to_programs_too(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text("[models.fraud]\nthreshold = 0.8\n")
    result = gnomon("check", path, "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["faults"]) == (0, [])
    assert [(each["model"], each["named"]) for each in found["models"]] == [(None, False), ("fraud", True)]
    differing = {key for key, value in found["models"][1]["keys"].items() if not value["built_in"]}
    assert differing == {"threshold"}
    [other] = json.loads(gnomon("check", path, "--json", "--model", "credit").stdout)["models"]
    assert (other["model"], other["named"]) == ("credit", False)
    path.write_text("[models.fraud]\nthreshold = 8\nhorizont = '1d'\n")
    result = gnomon("check", path, "--json")
    assert result.exit_code == 2
    assert len(json.loads(result.stdout)["faults"]) == 2


def test_schemas_are_written_and_checked(tmp_path):
    folder = tmp_path / "made" / "schemas"
    assert gnomon("schemas", folder).exit_code == 0
    assert len(list(folder.iterdir())) == len(RECORDS)
    assert gnomon("schemas", folder, "--check").exit_code == 0
    (folder / "outcome.schema.json").write_text("{}")
    result = gnomon("schemas", folder, "--check")
    assert result.exit_code == 1
    assert "outcome.schema.json" in result.stderr
    assert (folder / "outcome.schema.json").read_text() == "{}"


def test_a_document_is_checked_without_being_written(tmp_path):
    for path in (tmp_path / "none" / "asyncapi.json", tmp_path / ("x" * 300)):
        result = gnomon("schemas", "--asyncapi", path, "--check")
        assert result.exit_code == 1
        assert f"not up to date: {path}; write anew" in result.stderr


def test_schemas_of_this_tree_are_up_to_date():
    assert gnomon("schemas", "--check").exit_code == 0


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_end_of_one_process_ends_the_other_with_its_status():
    begun = time.monotonic()
    assert supervise([Child("long", python("import time; time.sleep(60)")), Child("short", python("raise SystemExit(70)"))]) == 70
    assert time.monotonic() - begun < 30


def test_a_process_killed_by_a_signal_counts_as_a_shell_counts_it():
    assert supervise([Child("killed", python("import os; os.kill(os.getpid(), 9)"))]) == 137


def test_one_that_will_not_stop_is_killed():
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    short = "import time; time.sleep(1.5); raise SystemExit(3)"
    assert supervise([Child("deaf", python(deaf)), Child("short", python(short))], grace_s=0.5) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(tmp_path, number):
    child = (
        "import signal, sys, time; from pathlib import Path; me = Path(sys.argv[1])\\n"
        "for n in (signal.SIGTERM, signal.SIGINT): signal.signal(n, lambda n, _: (me.write_text(str(int(n))), sys.exit(0)))\\n"
        "me.with_suffix('.ready').touch(); time.sleep(60)"
    )
    folder = str(tmp_path)
    code = f"""
import sys
from streams.processes import Child, supervise
child = "{child}"
sys.exit(supervise([Child(name, [sys.executable, "-c", child, f"{folder}/{{name}}.told"]) for name in ("a", "b")]))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("*.ready"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert [(tmp_path / f"{name}.told").read_text() for name in ("a", "b")] == [str(int(number))] * 2


def test_a_worker_is_ours_whatever_lies_in_the_working_directory(tmp_path):
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams" / "__init__.py").write_text("raise SystemExit(99)")
    command = worker_command("join", "INFO")
    command[-1] = command[-1].split("; run(")[0] + "; print(app.conf.id)"
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("gnomon.join"), result.stderr


def test_an_unknown_log_level_is_a_mistake():
    result = gnomon("worker", "--loglevel", "LOUD")
    assert result.exit_code == 2
    assert "WARNING" in result.stderr
