"""The official parser of AsyncAPI documents, run by Node: it resolves references, and checks structure, schemas and bindings.

It is installed once into ``.cache/asyncapi`` (or ``$GNOMON_CACHE/asyncapi``), as its lock file says.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "asyncapi"
ROOT = Path(__file__).parents[2]
HOW_TO = "AsyncAPI's parser needs Node 18 or later with npm. On Debian: apt-get install nodejs npm (`make services` does it as root)."


class NoParserError(RuntimeError):
    """The parser cannot be had; the message says how to enable it."""


def installed() -> Path:
    """Return the folder where the parser is installed, fetched with npm where it is missing."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise NoParserError(HOW_TO)
    cache = Path(os.environ.get("GNOMON_CACHE", ROOT / ".cache")).resolve() / "asyncapi"
    folder = cache / hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs side by side fetch once
        if not (folder / "complete").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                raise NoParserError(f"npm could not install the parser of AsyncAPI documents:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
            (folder / "complete").touch()
    return folder


def parse(document: str) -> dict[str, Any]:
    """Return what the parser makes of a document.

    ``parsed``, ``channels`` {address: [message]}, ``said`` [{severity, code, path, message}].
    """
    command = ["node", str(HERE / "check.js")]
    done = subprocess.run(command, cwd=installed(), input=document, capture_output=True, text=True, timeout=120, check=True)
    made: dict[str, Any] = json.loads(done.stdout)
    return made
