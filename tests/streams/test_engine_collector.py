"""Python's collector of cycles does not walk through everything that was ever loaded, batch after batch."""

import asyncio
import subprocess
import sys
from pathlib import Path

import faust
import pytest

from streams.engine import YOUNG, new_app
from streams.settings import Settings


def test_a_worker_spares_it_and_gives_back_memory_once_it_has_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def started(app: faust.App) -> None:
        said.append("started")

    async def trimmed() -> None:
        said.append("trimmed")

    async def run() -> None:
        await new_app("join", Settings(data_dir=tmp_path)).on_started()
        await asyncio.sleep(0.01)

    monkeypatch.setattr(faust.App, "on_started", started)
    monkeypatch.setattr("streams.engine.keep_trimmed", trimmed)
    monkeypatch.setattr("streams.engine.spare_collector", lambda: said.append("spared"))
    asyncio.run(run())
    assert said == ["started", "spared", "trimmed"]


def test_what_stands_is_left_alone_and_young_cycles_still_go() -> None:
    code = f"""
import gc, weakref
from streams.engine import spare_collector
class Node: pass
spare_collector()
assert gc.get_freeze_count() > 10_000 and gc.isenabled()
node = Node(); node.me = node; gone = weakref.ref(node); del node
kept = [[] for _ in range({2 * YOUNG})]
assert gone() is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
