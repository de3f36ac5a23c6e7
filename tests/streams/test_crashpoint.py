"""Crash points end the process at the n-th passing, and nowhere else."""

import subprocess
import sys

import pytest

from streams.crashpoint import CrashPoints
from streams.setting_text import SettingsError


@pytest.mark.parametrize(("at", "passed"), [("here:1", 0), ("here:3", 2), ("there:1", 5), ("", 5)])
def test_exits_at_the_nth_passing(at: str, passed: int) -> None:
    program = (
        f"from streams.crashpoint import CrashPoints\nc = CrashPoints({at!r})\nfor _ in range(5):\n c('here'); print('passed', flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count("passed")) == (137 if passed < 5 else 0, passed)


@pytest.mark.parametrize("at", ["here", ":1", "here:0", "here:x"])
def test_a_point_that_cannot_be_is_refused(at: str) -> None:
    with pytest.raises(SettingsError, match="name:n"):
        CrashPoints(at)
