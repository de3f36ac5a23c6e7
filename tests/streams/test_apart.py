"""What runs in a process of its own comes whole, fails as it would here, and ends with its reader."""

import errno
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.logs import START_MS, outcome, prediction, write_lines

from streams import apart as module
from streams import replay as replay_module
from streams.apart import AHEAD, ApartError, apart, possible
from streams.replay import ReplayError, replay

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing runs apart")


def fails(error: Exception) -> Iterator[bytes]:
    yield b"one"
    raise error


def test_all_comes_in_order_whatever_its_size():
    sent = [bytes([i % 251]) * size for i, size in enumerate([0, 1, 70_000, 3 << 20, *range(5 * AHEAD)])]
    with apart(lambda: sent, ValueError) as parts:
        assert list(parts) == sent


def test_an_expected_error_is_raised_as_it_was():
    with pytest.raises(ReplayError, match=r"^no such file: ü$"), apart(lambda: fails(ReplayError("no such file: ü")), ReplayError) as parts:
        assert next(parts) == b"one"
        next(parts)


def test_any_other_error_says_where_it_was():
    with (
        pytest.raises(ApartError, match=r"in fails(?s:.)*ZeroDivisionError: x"),
        apart(lambda: fails(ZeroDivisionError("x")), ValueError) as it,
    ):
        list(it)


def test_one_that_is_killed_is_an_error():
    def killed() -> Iterator[bytes]:
        yield b"one"
        os.kill(os.getpid(), signal.SIGKILL)
        yield b"never"

    with pytest.raises(ApartError, match="memory"), apart(killed, ValueError) as parts:
        list(parts)


def python(code, *arguments, **options):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False, **options)


@pytest.mark.parametrize("wait_s", [0, 0.5])
def test_where_ended_children_are_not_waited_for_all_comes_too(wait_s):
    code = (
        "import signal, time\nfrom streams.apart import apart\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        f"with apart(lambda: [b'a'] * 3, ValueError) as parts:\n    got = list(parts)\n    time.sleep({wait_s})\n"
        "print(got)"
    )
    done = python(code)
    assert (done.stdout, done.stderr) == (b"[b'a', b'a', b'a']\n", b"")


def test_an_interrupt_right_after_the_fork_ends_both():
    code = (
        "import itertools, os, signal, sys\nfrom streams.apart import apart\n"
        "fork = os.fork\n"
        "def interrupted():\n"
        "    process = fork()\n"
        "    if process:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return process\n"
        "os.fork = interrupted\n"
        "try:\n    with apart(lambda: itertools.repeat(b'a'), ValueError):\n        print('begun')\n"
        "except KeyboardInterrupt:\n"
        "    try:\n        os.waitpid(-1, os.WNOHANG)\n"
        "    except ChildProcessError:\n        sys.exit(77 if not signal.pthread_sigmask(signal.SIG_BLOCK, ()) else 1)\n"
    )
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (77, b"", b"")


def test_where_no_process_can_be_made_nothing_is_left(monkeypatch):
    monkeypatch.setattr(module.os, "fork", no_memory)
    mask, before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="memory"), apart(lambda: [b"a"], ValueError):
        pass
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, ()), len(list(Path("/proc/self/fd").iterdir()))) == (mask, before)


def no_memory():
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_it_does_not_run_far_ahead():
    count = mmap.mmap(-1, 8)  # shared by both

    def counted() -> Iterator[bytes]:
        for i in range(4 * AHEAD):
            count[:] = i.to_bytes(8, "little")
            yield bytes(3 << 20)

    def begun() -> int:
        return int.from_bytes(count[:], "little")

    with apart(counted, ValueError) as parts:
        assert next(parts)
        while begun() < AHEAD:
            time.sleep(0.01)
        time.sleep(0.2)  # what does not wait is past the bound by then
        assert begun() <= AHEAD + 3
        assert sum(map(len, parts)) == (4 * AHEAD - 1) * (3 << 20)


def test_whoever_leaves_ends_it():
    def endless() -> Iterator[bytes]:
        while True:
            yield os.getpid().to_bytes(8, "little")

    with apart(endless, ValueError) as parts:
        process = int.from_bytes(next(parts), "little")
        assert process != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "Z"  # nobody waits for it here


def test_it_ends_by_itself_when_its_reader_is_gone():
    code = (
        "import itertools, os\nfrom streams.apart import apart\n"
        "with apart(lambda: (os.getpid().to_bytes(8, 'little') for _ in itertools.count()), ValueError) as parts:\n"
        "    print(int.from_bytes(next(parts), 'little'), flush=True)\n"
        "    os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 60
    while not ended(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended(int(done.stdout))


def test_with_other_threads_or_one_processor_nothing_runs_apart(monkeypatch):
    monkeypatch.setattr(module.threading, "active_count", lambda: 1)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0, 1})
    assert possible()
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {0})
    assert not possible()
    monkeypatch.undo()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert not possible()
    finally:
        done.set()
        thread.join()


def files(folder, n=40):
    made = [prediction(str(i), START_MS + i * 60_000, 0.5) for i in range(n)]
    known = [outcome(str(i), START_MS + i * 60_000, i % 2) for i in range(n)]
    return write_lines(folder / "p.jsonl", made), write_lines(folder / "o.jsonl", known)


@pytest.mark.parametrize("two", [False, True])
def test_a_replay_says_what_it_cannot_read(tmp_path, two):
    made, _ = files(tmp_path)
    with pytest.raises(ReplayError, match=r"^expected a log at .*none.jsonl, found no file; give the path of a"):
        replay(made, tmp_path / "none.jsonl", started_ms=START_MS, two=two)


@pytest.mark.parametrize("two", [False, True])
def test_a_path_that_is_no_text_is_named(tmp_path, two):
    made, _ = files(tmp_path)
    with pytest.raises(ReplayError, match=r"\udcff\.jsonl, found no file"):
        replay(made, tmp_path / os.fsdecode(b"\xff.jsonl"), started_ms=START_MS, two=two)


def test_where_no_process_can_be_made_a_replay_takes_one(tmp_path, monkeypatch):
    logs = files(tmp_path)
    alone = replay(*logs, started_ms=START_MS + 10**9, two=False)
    monkeypatch.setattr(module.os, "fork", no_memory)
    monkeypatch.setattr(replay_module, "possible", lambda: True)
    monkeypatch.setattr(replay_module, "LARGE", 1)
    assert replay(*logs, started_ms=START_MS + 10**9).report == alone.report
    with pytest.raises(OSError, match="memory"):
        replay(*logs, started_ms=START_MS + 10**9, two=True)


def test_only_large_files_are_read_apart(tmp_path, monkeypatch):
    logs = files(tmp_path)
    sizes = sum(path.stat().st_size for path in logs)
    used = []
    monkeypatch.setattr(replay_module, "possible", lambda: True)
    monkeypatch.setattr(replay_module, "apart", lambda *given: used.append(given) or apart(*given))
    for large in (sizes + 1, sizes):
        monkeypatch.setattr(replay_module, "LARGE", large)
        replay(*logs, started_ms=START_MS + 10**9)
        assert len(used) == (large == sizes)


def test_an_interrupted_replay_ends_both(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom streams import replay_join\nfrom streams.replay import replay\n"
        "def stop(done, total):\n    if done: os.killpg(0, signal.SIGINT)\n"
        "replay_join.CHUNK = 4\n"
        "try:\n    replay(*map(Path, sys.argv[1:]), started_ms=2**42, two=True, progress=stop)\n"
        "except KeyboardInterrupt:\n"
        "    try:\n        os.waitpid(-1, 0)\n    except ChildProcessError:\n        sys.exit(77)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files(tmp_path))], start_new_session=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (77, b"")
