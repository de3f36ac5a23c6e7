"""Memory that was freed goes back to the system."""

import asyncio
import ctypes
import subprocess
import sys

import pytest

from streams import heap
from streams.engine import new_app
from streams.settings import Settings

HOLES = """
import numpy as np
from streams.heap import trimmer

def resident():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) // 1024

kept = []
for _ in range(2_000):  # what stays lies between what goes
    made = np.ones(8_192), np.ones(16)
    kept.append(made[1])
    kept.append(made[0])
full = resident()
del kept[1::2]
del made
freed = resident()
assert trimmer()()
print(full, freed, resident())
"""

THREADS = """
import ctypes
import sys
import threading
from streams.heap import one_heap

if sys.argv[1] == "one":
    assert one_heap()

def allocate():
    kept = [bytes(200) for _ in range(1_000)]
    together.wait()

together = threading.Barrier(5)
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
together.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""

STEPS = """
import resource
import sys
import numpy as np
from streams.heap import keep_freed

if sys.argv[1] == "kept":
    assert keep_freed()
for _ in range(20):
    made = [np.ones(1 << 16) for _ in range(16)]
    del made
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library has no malloc_info: nobody can count its heaps")
def test_all_threads_share_one_heap():
    heaps = {
        how: subprocess.run([sys.executable, "-c", THREADS, how], capture_output=True, text=True, check=True).stdout.count("<heap nr")
        for how in ("own", "one")
    }
    assert heaps["own"] > 1
    assert heaps["one"] == 1


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="this C library is not glibc, whose blocks these are")
def test_equal_steps_get_the_pages_that_they_gave():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("given", "kept")
    }
    assert faults["given"] - faults["kept"] > 15 * 16 * 128  # of 20 steps, each 16 blocks of 128 pages


@pytest.mark.skipif(heap.trimmer() is None, reason="this C library has no malloc_trim: nothing is given back, and nothing asked")
def test_what_lies_between_things_in_use_is_given_back():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    full, freed, trimmed = map(int, done.stdout.split())
    assert freed > full - 40
    assert trimmed < full - 80


async def test_it_is_asked_again_and_again(monkeypatch):
    asked = asyncio.Event()
    times: list[int] = []

    def trim() -> bool:
        times.append(1)
        if len(times) == 3:
            loop.call_soon_threadsafe(asked.set)
        return True

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(heap, "EVERY_S", 0.001)
    monkeypatch.setattr(heap, "trimmer", lambda: trim)
    task = asyncio.create_task(heap.keep_trimmed())
    await asyncio.wait_for(asked.wait(), 10)
    task.cancel()


async def test_where_there_is_none_nothing_runs(monkeypatch):
    monkeypatch.setattr(heap, "trimmer", lambda: None)
    await asyncio.wait_for(heap.keep_trimmed(), 5)


def test_workers_ask_for_one_heap(monkeypatch, tmp_path):
    asked: list[bool] = []
    monkeypatch.setattr("streams.engine.one_heap", lambda: asked.append(True))
    new_app("join", Settings(data_dir=tmp_path))
    assert asked == [True]
