"""What the README says of installing, word by word: a fresh environment, every package fetched with its hash, and a replay in it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import missing
from support.logs import START_MS, outcome, prediction, write_lines
from support.pages import ROOT, given_to

NO_INDEX = re.compile(r"Temporary failure in name resolution|Connection refused|Network is unreachable")


def clean() -> dict[str, str]:
    """Return an environment in which nothing points to the repository."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the README's block makes, in a copy of what it needs of the repository."""
    [block] = given_to("tests/test_install.py")
    tree = tmp_path_factory.mktemp("clone")
    for name in ("schemas", "detectors", "streams"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    done = subprocess.run(["bash", "-euc", block.text], cwd=tree, env=clean(), capture_output=True, text=True, check=False)
    if done.returncode and NO_INDEX.search(done.stdout + done.stderr):
        missing("packages cannot be fetched: no index answers")
    assert done.returncode == 0, done.stdout + done.stderr
    return tree / "gnomon"


def test_a_fresh_environment_replays(environment: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "p.jsonl", [prediction("a", START_MS, 0.5)])
    write_lines(tmp_path / "o.jsonl", [outcome("a", START_MS, 1)])
    command = [environment / "bin" / "gnomon", "replay", "p.jsonl", "o.jsonl", "--json", "--html", "page.html"]
    done = subprocess.run(command, cwd=tmp_path, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["join"]["joined"] == 1
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
