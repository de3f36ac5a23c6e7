"""Memory that was freed, given back to the system: glibc keeps what lies between things still in use. And Python's collector, spared."""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 30.0
_YOUNG = 50_000  # objects made before the collector looks for cycles among them
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h
_LARGE = 4 << 20  # bytes: what is larger numpy asks large pages for


def one_heap() -> bool:
    """Let all threads that come share one heap; say whether the C library can (glibc).

    Else each thread that reads, folds or writes has a heap of its own, which keeps the holes that its greatest batch left.
    """
    return _set(_ARENA_MAX, 1)


def keep_freed() -> bool:
    """Let blocks that are freed stay in the heap, the very large ones apart; say whether the C library can (glibc).

    Else each step's columns come in pages that the system clears for them and takes back with them. For a process of many equal steps.
    """
    return _set(_MMAP_THRESHOLD, _LARGE) and _set(_TRIM_THRESHOLD, 16 * _LARGE)


def _set(option: int, value: int) -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(option, value))


def trimmer() -> Callable[[], bool] | None:
    """Return what gives back the free pages of the heap; None where the C library has no such thing (musl, macOS).

    >>> trim = trimmer()
    >>> trim is None or trim() in (True, False)
    True
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: bool(trim(0))


async def keep_trimmed() -> None:
    """Give back what is free, every half minute, for as long as it runs.

    A batch of records, a pane that is read, a table that grows by a copy leave holes, in the heap of each thread that made one. Nothing
    but this ever returns them: the resident memory of a watch of fifty models is a third less with it.
    """
    trim = trimmer()
    while trim is not None:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(trim)


@contextmanager
def collector_spared() -> Iterator[None]:
    """Let Python's collector of cycles leave alone what stands by now, and look less often, for as long as it lasts.

    >>> with collector_spared():
    ...     gc.get_threshold()
    (50000, 10, 10)
    """
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.set_threshold(_YOUNG, 10, 10)
    if not frozen:
        gc.freeze()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not frozen:
            gc.unfreeze()
