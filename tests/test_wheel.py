"""What is installed is what is here: a wheel, without the repository around it, replays and shows its version."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.logs import START_MS, outcome, prediction, write_lines

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the wheel's contents alone."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("schemas", "detectors", "streams"):
        shutil.copytree(ROOT / name, folder / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "tree" / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(folder / "tree")]
    result = subprocess.run(build, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"the build tools cannot be had: {result.stderr.splitlines()[-1]}")
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def gnomon(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-P", "-m", "streams.cli", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def test_a_wheel_replays_without_the_repository(installed, tmp_path):
    write_lines(tmp_path / "p.jsonl", [prediction("a", START_MS, 0.5)])
    write_lines(tmp_path / "o.jsonl", [outcome("a", START_MS, 1)])
    where = gnomon(installed, tmp_path, "replay", "p.jsonl", "o.jsonl", "--json")
    assert where.returncode == 0, where.stderr
    assert json.loads(where.stdout)["join"]["joined"] == 1


def test_what_runs_is_the_wheel(installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import streams, schemas, detectors; print(streams.__file__, schemas.__file__, detectors.__file__)"
    shown = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert all(path.startswith(str(installed)) for path in shown.split())


def test_a_wheel_holds_every_file_that_is_read_at_run_time(installed):
    wanted = {
        path.relative_to(ROOT)
        for room in ("schemas", "detectors", "streams")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in wanted if not (installed / path).exists()} == set()


def test_a_wheel_holds_nothing_else(installed):
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"schemas", "detectors", "streams"}
