"""What each room may import and do. ``schemas <- detectors <- streams``, never back."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"schemas": {"schemas"}, "detectors": {"schemas", "detectors"}, "streams": {"schemas", "detectors", "streams"}}
OUTSIDE = {
    "time",
    "random",
    "os",
    "socket",
    "asyncio",
    "threading",
    "subprocess",
    "redis",
    "confluent_kafka",
    "kafka",
    "aiokafka",
    "faust",
    "mode",
}
UNSAFE = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
CLOCKS = {"now", "utcnow", "today"}
SEEDED = {"Generator", "BitGenerator", "SeedSequence", "PCG64", "PCG64DXSM", "Philox", "SFC64", "default_rng"}
ENVIRONMENT = {"environ", "getenv", "environb", "putenv"}
IMPORTERS = {"importlib.import_module", "import_module", "__import__"}
SETTINGS = "streams/settings.py"


def canonical(name):
    """Return a distribution's name as package indexes compare it."""
    return re.sub("[-_.]+", "-", name).lower()


def dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {canonical(re.match("[A-Za-z0-9._-]+", line)[0]) for line in project["dependencies"]}


DEPENDENCIES = dependencies()
DISTRIBUTIONS = packages_distributions()


def is_ours_to_import(module):
    return module in sys.stdlib_module_names or any(canonical(name) in DEPENDENCIES for name in DISTRIBUTIONS.get(module, ()))


def imports(tree):
    """Yield (line, module) of every import; relative ones are of the room itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS and node.args and isinstance(node.args[0], ast.Constant):
            yield node.lineno, str(node.args[0].value)


def import_faults(path, tree):
    room = path.split("/")[0]
    for line, name in imports(tree):
        top = name.split(".")[0]
        if top in MAY_IMPORT:
            if top not in MAY_IMPORT[room]:
                yield f"{path}:{line}: {room} must not import {top}"
        elif top in UNSAFE:
            yield f"{path}:{line}: {top} runs what it reads"
        elif room != "streams" and top in OUTSIDE:
            yield f"{path}:{line}: {room} must not know {top}"
        elif not is_ours_to_import(top):
            yield f"{path}:{line}: {top} is in none of pyproject's dependencies"


def use_faults(path, tree):
    pure = not path.startswith("streams/")
    for node in ast.walk(tree):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if path != SETTINGS:
            if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT and ast.unparse(node.value) == "os":
                yield f"{where}: only {SETTINGS} reads the environment"
            if isinstance(node, ast.ImportFrom) and node.module == "os" and any(alias.name in ENVIRONMENT for alias in node.names):
                yield f"{where}: only {SETTINGS} reads the environment"
        if (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and not (isinstance(node.value, ast.Constant) and node.value.value is False)
        ):
            yield f"{where}: allow_pickle runs what it reads"
        if not pure:
            continue
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"} and node.attr not in SEEDED:
            yield f"{where}: np.random.{node.attr} is the global generator"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.endswith("default_rng") and not node.args and not node.keywords:
                yield f"{where}: {called}() has no seed"
            if called == "open" or (
                isinstance(node.func, ast.Attribute) and node.func.attr in {"read_text", "read_bytes", "write_text", "write_bytes"}
            ):
                yield f"{where}: {path.split('/')[0]} reads and writes no files"
            if called.split(".")[-1] in CLOCKS and called.split(".")[0] in {"datetime", "date", "dt"}:
                yield f"{where}: {called} is a clock"


def faults(path, source):
    tree = ast.parse(source)
    return [*import_faults(path, tree), *use_faults(path, tree)]


def modules():
    return [path.relative_to(ROOT).as_posix() for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))]


@pytest.mark.parametrize("path", modules())
def test_module_keeps_to_its_room(path):
    assert faults(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("schemas/a.py", "import detectors"),
        ("schemas/a.py", "from streams.settings import x"),
        ("detectors/a.py", "def f():\n    import streams.join"),
        ("detectors/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from streams import x"),
        ("detectors/a.py", "importlib.import_module('streams.join')"),
        *(("detectors/a.py", f"import {module}") for module in sorted(OUTSIDE)),
        ("detectors/a.py", "from redis.asyncio import Redis"),
        ("schemas/a.py", "from time import time"),
        ("streams/a.py", "import pickle"),
        ("streams/settings.py", "from cloudpickle import loads"),
        ("streams/a.py", "import os\nos.environ['X']"),
        ("streams/a.py", "import os\nos.getenv('X')"),
        ("streams/a.py", "from os import environ"),
        ("streams/a.py", "import sklearn"),
        ("streams/a.py", "import nowhere_to_be_found"),
        ("detectors/a.py", "np.load(x, allow_pickle=True)"),
        ("detectors/a.py", "np.random.seed(1)"),
        ("detectors/a.py", "np.random.normal()"),
        ("detectors/a.py", "np.random.default_rng()"),
        ("detectors/a.py", "open('x')"),
        ("detectors/a.py", "Path('x').read_text()"),
        ("detectors/a.py", "datetime.now()"),
        ("detectors/a.py", "datetime.datetime.utcnow()"),
    ],
)
def test_a_breach_is_seen(path, source):
    assert faults(path, source) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("detectors/a.py", "import math\nimport numpy as np\nfrom river import drift\nfrom schemas import scored\nfrom . import b"),
        ("detectors/a.py", "np.random.default_rng(7)\nnp.load(x, allow_pickle=False)\nself.now"),
        ("streams/settings.py", "import os\nos.environ['X']"),
        ("streams/a.py", "import os, time, faust, redis, confluent_kafka, prometheus_client\nimport detectors.watch\nopen('x')"),
    ],
)
def test_what_is_allowed_is_let_through(path, source):
    assert faults(path, source) == []


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_each_package_is_the_checkouts_own(room):
    assert Path(importlib.import_module(room).__file__).parent == ROOT / room


def test_who_joins_loads_no_detector():
    """River, and scipy.stats with it, would be half of a join worker's memory at its start."""
    loaded = "import streams.join, sys; print(sorted({'river', 'scipy', 'detectors.watch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
