"""The lock file: what the image and `make venv` install is what pyproject.toml allows, all of it and nothing else. No network is needed."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TEXT = (ROOT / "requirements.lock").read_text()
ENTRY = re.compile(r"^(\S.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)
LOCKED = [Requirement(text) for text, _ in ENTRY.findall(TEXT)]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def versions(python: str) -> dict[str, str]:
    """Return what is installed with a version of Python on Linux: name → version."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    chosen = [one for one in LOCKED if one.marker is None or one.marker.evaluate(environment)]
    found = {canonicalize_name(one.name): pinned.version for one in chosen for pinned in one.specifier}
    assert len(found) == len(chosen)
    return found


def test_every_line_is_a_pinned_version_with_its_hashes():
    assert LOCKED
    assert ENTRY.sub("", "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")) + "\n") == ""
    for one in LOCKED:
        assert [pinned.operator for pinned in one.specifier] == ["=="], one
        assert one.url is None


def test_it_names_no_place_to_fetch_from():
    assert "://" not in TEXT
    assert "index-url" not in TEXT


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_locked_within_its_bounds(python):
    locked = versions(python)
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_every_dependency_has_bounds():
    """From a version that works to below the next that may not, or one version."""
    for requirement in map(Requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]):
        assert {one.operator for one in requirement.specifier} in ({"=="}, {">=", "<"}), requirement


def reached() -> set[str]:
    """Return the packages that ours need and those need in turn, as installed here."""
    found: set[str] = set()
    queue = [(Requirement(text), frozenset({""})) for text in PROJECT["dependencies"]]
    seen = set()
    while queue:
        requirement, extras = queue.pop()
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        wanted = frozenset({"", *requirement.extras})
        if (name, wanted) not in seen:
            seen.add((name, wanted))
            queue += [(Requirement(text), wanted) for text in distribution(name).requires or ()]
    return found


def installed(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def test_what_is_locked_is_what_is_needed_and_what_is_tested():
    here = versions(default_environment()["python_version"])
    differing = {name: (version, installed(name)) for name, version in here.items() if installed(name) != version}
    assert differing == {}, "not what is installed (name: locked, installed): make venv, or make lock"
    assert reached() == set(here)


def test_the_image_and_the_environment_are_made_of_it():
    install = "pip install --no-cache-dir --require-hashes -r requirements.lock"
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    first, second = (line for line in lines if "pip install" in line)
    assert install in first
    assert second.endswith("--no-deps .")
    assert "COPY requirements.lock ./" in lines[: lines.index(first)]
    assert re.search(r"pip install .*--require-hashes -r requirements\.lock$", (ROOT / "Makefile").read_text(), re.MULTILINE)
