"""Child processes that stand and fall together."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

POLL_S = 0.1
GRACE_S = 45.0  # after this a child that was told to stop is killed; workers exit within their drain timeout, 20 s


class Child(NamedTuple):
    """A process to start."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] | None = None  # None: ours
    log: Path | None = None  # where its output goes; None: where ours does


def supervise(children: Sequence[Child], *, grace_s: float = GRACE_S) -> int:
    """Run processes until the first ends, then stop the others; return the exit status of the first.

    SIGTERM and SIGINT are passed on to all; the status is then the first that is not 0. One that was killed by a signal counts as 128 and
    its number, as in a shell.
    """
    told: list[int] = []

    def tell(number: int, _: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    running: list[subprocess.Popen[bytes]] = []
    try:
        for child in children:
            running += [start(child)]
        while not told and all(process.poll() is None for process in running):
            time.sleep(POLL_S)
        ended = [process.returncode for process in running if process.poll() is not None]
        stop(running, told[0] if told else signal.SIGTERM, grace_s)
        return next((status(code) for code in [*ended, *(process.returncode for process in running)] if code), 0)
    finally:
        stop(running, signal.SIGKILL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def start(child: Child) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own: Ctrl-C in a terminal reaches us alone, and each child is told once."""
    with contextlib.ExitStack() as stack:
        out = None if child.log is None else stack.enter_context(child.log.open("ab"))
        return subprocess.Popen(child.command, env=child.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)  # noqa: S603  our own command


def worker_command(name: str, loglevel: str) -> list[str]:
    """Return the command that runs one of the Faust apps: join or watch.

    Not ``faust -A``: it puts the working directory first on the path, where another ``streams`` may lie.
    """
    code = f"from streams.engine import run; from streams.{name} import app; run(app, loglevel={loglevel!r})"
    return [sys.executable, "-P", "-c", code]


def stop(processes: Sequence[subprocess.Popen[bytes]], number: int, grace_s: float) -> None:
    """Send a signal to those that run, and kill what has not ended in time."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)
    deadline = time.monotonic() + grace_s
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def status(code: int) -> int:
    """Return an exit status as a shell shows it.

    >>> status(70), status(-9)
    (70, 137)
    """
    return code if code >= 0 else 128 - code
