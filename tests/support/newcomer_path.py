"""Walk a newcomer's path and time it: a fresh clone, `make demo`, then the README's live part, word by word.

Run it with `python tests/support/newcomer_path.py`. It needs the ports 9092 and 6379, the package index, and what `make broker` needs; it
prints the table of docs/newcomer-path.md.
"""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.chromium import browser
from support.pages import ROOT, Block, Reader, blocks_of

FIRST = "gnomon.drift.opened"


class Timed(Reader):
    """A reader with a stopwatch."""

    def _run(self, block: Block, running: list[subprocess.Popen[bytes]]) -> str:
        begun = time.monotonic()
        printed = super()._run(block, running)
        lines = [line for line in block.text.splitlines() if line]
        told(f"`{lines[-1].split('  #')[0].strip()}`" if block.language == "bash" else "five lines of Python", begun)
        print(printed, file=sys.stderr)
        return printed


def told(what: str, begun: float) -> None:
    """Print a row of the table."""
    print(f"| {what} | {time.monotonic() - begun:.1f} |", flush=True)


def until(process: subprocess.Popen[str], text: str) -> None:
    """Read what a process prints until a text comes."""
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", file=sys.stderr)
        if text in line:
            return
    raise SystemExit(f"it ended with status {process.wait()} before it said {text!r}")


def start(command: str, folder: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command whose output is read."""
    return subprocess.Popen(
        command.split(), cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def main() -> None:
    """Walk the path."""
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    print(
        f"{datetime.now(UTC):%d %B %Y}, {os.cpu_count()} x {processor}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| step | seconds |\n|---|---|")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GNOMON_") and name != "VIRTUAL_ENV"}
    with tempfile.TemporaryDirectory(prefix="newcomer-") as name:
        clone, begun = Path(name) / "gnomon", time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        told("`git clone`", begun)
        demo = start("make demo", clone, env)
        step = time.monotonic()
        until(demo, "A broker in memory")
        told("`make demo`: packages are installed, the demo begins", step)
        step = time.monotonic()
        until(demo, FIRST)
        told("the first incident", step)
        told("**from the clone to the first incident**", begun)
        step = time.monotonic()
        until(demo, "Every record is accounted for")
        told("the demo ends, its books balance", step)
        live(clone, env)


def live(clone: Path, env: dict[str, str]) -> None:
    """Walk the live half."""
    begun = time.monotonic()
    broker = start("make broker", clone, env)
    try:
        until(broker, "Kafka is at")
        told("`make broker`", begun)
        step = time.monotonic()
        blocks = blocks_of("README.md")
        part = blocks[: next(at for at, block in enumerate(blocks) if block.language == "json")]
        Timed(clone, {"GNOMON_KAFKA": "localhost:9092"}).follow([block for block in part if block.language != "mermaid"])
        with browser() as context:
            page = context.new_page()  # type: ignore[attr-defined]
            opened = time.monotonic()
            page.goto((clone / "report.html").as_uri())
            assert page.inner_text("h2").startswith("fraud"), page.inner_text("body")
            told("`report.html`, opened in a browser", opened)
        told("**from running services to the report**", step)
    finally:
        os.killpg(broker.pid, signal.SIGINT)
        broker.wait(30)


if __name__ == "__main__":
    main()
