"""An iterator of byte strings that runs in a process of its own, and is read here as it goes on.

The process is a fork: it has what was loaded and read so far, and starts at once. So it is for a process with one thread only, and for
Linux; nothing but bytes comes back. The two stand and fall together: whoever leaves ``apart`` ends the process, which ends by itself as
soon as nobody reads any more. Ctrl-C is for the reader.
"""

import contextlib
import gc
import os
import queue
import signal
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

AHEAD = 32  # byte strings that are read before they are asked for; then the other process waits

_HEAD = struct.Struct("<cI")  # what follows, and how many bytes of it
_PART, _EXPECTED, _FAULT, _END = b"p", b"e", b"f", b"."
_MOST = 2**32 - 1
_ERRORS = "surrogatepass"  # of the text of an error: a path in it may be no UTF-8


class ApartError(RuntimeError):
    """The other process failed where it should not, or was killed."""


def possible() -> bool:
    """Say whether an iterator may run apart: a fork is safe here, and a second processor there."""
    return sys.platform == "linux" and threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1


@contextmanager
def apart(make: Callable[[], Iterable[bytes]], expected: type[Exception]) -> Iterator[Iterator[bytes]]:
    """Start a process that makes an iterator and sends what it yields; give what comes.

    Parameters
    ----------
    make
        Called in the other process.
    expected
        An error that is raised here as it was there, with its text. Any other there is an ``ApartError`` here.

    Raises
    ------
    OSError
        If no process can be made, at once.

    Examples
    --------
    >>> with apart(lambda: [b"a", b"b"], ValueError) as parts:
    ...     print(list(parts))
    [b'a', b'b']

    """
    with ExitStack() as stack:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the process that is made here is sure to be ended
        process, readable = _fork(make, expected)
        pipe = os.fdopen(readable, "rb", buffering=1 << 20)
        ahead: queue.Queue[tuple[bytes, bytes]] = queue.Queue(AHEAD)
        reader = threading.Thread(target=_read, args=(pipe, ahead), daemon=True)
        stack.callback(_end, process, pipe, reader, ahead)
        reader.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        yield _parts(ahead, expected)


def _fork(make: Callable[[], Iterable[bytes]], expected: type[Exception]) -> tuple[int, int]:
    """Start the other process; return its number, and where to read what it sends."""
    readable, writable = os.pipe()
    try:
        with warnings.catch_warnings():  # later Pythons warn of the threads of numpy's library, which knows of forks
            warnings.simplefilter("ignore", DeprecationWarning)
            process = os.fork()
    except OSError:
        os.close(readable)
        os.close(writable)
        raise
    if not process:
        os.close(readable)
        _run(make, expected, writable)
    os.close(writable)
    return process, readable


def _end(process: int, pipe: BinaryIO, reader: threading.Thread, ahead: "queue.Queue[tuple[bytes, bytes]]") -> None:
    with contextlib.suppress(ChildProcessError, ProcessLookupError):  # whoever ignores SIGCHLD has no ended children
        if os.waitpid(process, os.WNOHANG) == (0, 0):  # it runs, so the number is still its own
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    while reader.is_alive():  # it may stand before a full queue
        with contextlib.suppress(queue.Empty):
            ahead.get(timeout=0.01)
    pipe.close()


def _parts(ahead: "queue.Queue[tuple[bytes, bytes]]", expected: type[Exception]) -> Iterator[bytes]:
    while True:
        what, data = ahead.get()
        if what == _END:
            return
        if what == _PART:
            yield data
        elif what == _EXPECTED:
            raise expected(data.decode(errors=_ERRORS))
        elif what == _FAULT:
            raise ApartError(f"in the other process: {data.decode()}")
        else:
            raise ApartError("the other process was killed before its end; is there enough memory?")


def _read(pipe: BinaryIO, ahead: "queue.Queue[tuple[bytes, bytes]]") -> None:
    try:
        while len(head := pipe.read(_HEAD.size)) == _HEAD.size:
            what, size = _HEAD.unpack(head)
            data = pipe.read(size)
            if len(data) < size:
                break
            ahead.put((what, data))
    finally:
        ahead.put((b"", b""))


def _run(make: Callable[[], Iterable[bytes]], expected: type[Exception], writable: int) -> None:
    """Send what there is, in the other process; never return: what waits to be done at our exit is the reader's to do."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        gc.disable()  # what stands is the reader's, and what comes makes no cycles
        with os.fdopen(writable, "wb", buffering=0) as pipe:
            try:
                for part in make():
                    _send(pipe, _PART, part)
                _send(pipe, _END, b"")
                code = 0
            except BrokenPipeError:
                pass  # nobody reads any more
            except expected as error:
                _send(pipe, _EXPECTED, str(error).encode(errors=_ERRORS))
            except Exception:  # whatever it is, the reader is told
                _send(pipe, _FAULT, traceback.format_exc().encode(errors="replace"))
    finally:
        os._exit(code)


def _send(pipe: BinaryIO, what: bytes, data: bytes) -> None:
    if len(data) > _MOST:
        raise ValueError(f"expected at most {_MOST} bytes in one string, got {len(data)}")
    left = memoryview(_HEAD.pack(what, len(data)) + data)
    while left:
        left = left[pipe.write(left) :]
