"""What commands share: mistakes, safe text, whole files."""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import typer

MISTAKE = 2  # exit status: used wrongly; nothing was done
FOUND = 3  # exit status: an event that ``--fail-on`` names was raised
GONE = 141  # exit status: whoever read the output has left, as of a program that SIGPIPE ends: ``gnomon replay ... | head``
TROUBLE = 1  # exit status: Kafka or Redis are away, or refuse; or it went wrong on the way


def fail(message: str, code: int = MISTAKE) -> NoReturn:
    """Say what is wrong and what to do, and exit."""
    typer.echo(f"gnomon: {clean(message, keep_lines=True)}", err=True)
    raise typer.Exit(code)


def clean(text: str, *, keep_lines: bool = False) -> str:
    r"""Return text of a record as a terminal may see it: what is not printable is a question mark.

    >>> clean("a\x1b[2J\nb"), clean("a\nb", keep_lines=True)
    ('a?[2J?b', 'a\nb')
    """
    return "".join(c if c.isprintable() or (keep_lines and c == "\n") else "?" for c in text)


def check_writable(path: Path | None, option: str, *, apart_from: Iterable[Path | None] = ()) -> None:
    """Exit unless a file can be written there: before the work, not after it."""
    if path is None:
        return
    try:
        if path.is_dir() or not path.parent.is_dir():
            fail(f"{option}: expected a file in a folder that is there, got {path}; make it: mkdir -p {path.parent}")
        if not path.exists() or path.is_file():
            tempfile.TemporaryFile(dir=path.parent).close()  # as ``write`` makes one there
    except OSError as error:  # a folder that may not be entered or written to, a name that is too long
        fail(f"{option}: cannot write {path}: {error.strerror}; see: ls -ld {path.parent}")
    if any(other is not None and _same(path, other) for other in apart_from):
        fail(f"{option}: {path} is one of the files to read; name another")


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one is not there, or cannot be looked at: to read it says why
        return False


def write(path: Path | None, data: bytes) -> None:
    """Write a file whole, or leave what was there: a reader never sees half of it."""
    if path is None:
        return
    if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
        path.write_bytes(data)
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".gnomon.", delete=False) as file:
            file.write(data)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}; see: ls -ld {path.parent}", TROUBLE)


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()
