"""What is installed is what is here: a wheel, in an environment of its own without the repository, replays and shows its version."""

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
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("schemas", "detectors", "streams"):
        shutil.copytree(ROOT / name, folder / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "tree" / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(folder / "tree")]
    result = subprocess.run(build, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"the build tools cannot be had: {result.stderr.splitlines()[-1]}")
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """The folder of packages of a fresh environment with the wheel. What it depends on is borrowed, so that no network is needed."""
    env = wheel.parent / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    python = str(env / "bin" / "python")
    # Only folders of packages, and not what they lead to: an editable install of this tree stays out
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    [site] = (env / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
        str(wheel),
    ]
    subprocess.run(pip, check=True, capture_output=True)
    return site


def environment(installed: Path, program: str) -> str:
    return str(installed.parents[2] / "bin" / program)


def gnomon(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment(installed, "gnomon"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_a_wheel_replays_without_the_repository(installed, tmp_path):
    write_lines(tmp_path / "p.jsonl", [prediction("a", START_MS, 0.5)])
    write_lines(tmp_path / "o.jsonl", [outcome("a", START_MS, 1)])
    where = gnomon(installed, tmp_path, "replay", "p.jsonl", "o.jsonl", "--json")
    assert where.returncode == 0, where.stderr
    assert json.loads(where.stdout)["join"]["joined"] == 1


def test_what_runs_is_the_wheel(installed, tmp_path):
    code = "import streams, schemas, detectors; print(streams.__file__, schemas.__file__, detectors.__file__)"
    command = [environment(installed, "python"), "-P", "-c", code]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert all(path.startswith(str(installed)) for path in shown.split())
    assert gnomon(installed, tmp_path, "--version").stdout == metadata_version(installed)


def metadata_version(installed: Path) -> str:
    [info] = installed.glob("gnomon-*.dist-info")
    return info.name.split("-")[1].removesuffix(".dist") + "\n"


def test_a_wheel_holds_every_file_that_is_read_at_run_time(installed):
    wanted = {
        path.relative_to(ROOT)
        for room in ("schemas", "detectors", "streams")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in wanted if not (installed / path).exists()} == set()


def test_a_wheel_holds_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"schemas", "detectors", "streams"}
