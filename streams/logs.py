"""Logs on disk: JSON lines, gzipped or not, or Parquet, as bytes per record with their event times."""

import gzip
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from schemas.fields import epoch_ms

_UNREADABLE = -(2**62)  # sorts first; the joiner says what is wrong with it


class ReplayError(Exception):
    """A log that can't be read at all."""


@dataclass
class Log:
    """Records of a file in its order, with event times in epoch ms, shape (n,)."""

    lines: list[bytes]
    times: npt.NDArray[np.int64]


class _Timed(msgspec.Struct, gc=False):
    timestamp: int | Annotated[datetime, Meta(tz=True)] | None = None
    at: int | Annotated[datetime, Meta(tz=True)] | None = None  # of control records


_decoder = msgspec.json.Decoder(_Timed)
_batch_decoder = msgspec.json.Decoder(list[_Timed])


def read_log(path: Path) -> Log:
    """Read a log.

    Raises
    ------
    ReplayError
        If the file is not there, or is not what its name says.

    """
    try:
        lines = _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    except FileNotFoundError:
        raise ReplayError(f"expected a log at {path}, found no file; give the path of a .jsonl, .jsonl.gz or .parquet file") from None
    except (OSError, EOFError, ValueError) as error:
        raise ReplayError(f"expected {path} to be JSON lines, gzip or Parquet by its name, got: {error}") from None
    return Log(lines, np.array([_time(line) for line in lines], dtype=np.int64))


def _json_lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return [line for line in data.split(b"\n") if line.strip()]


def _parquet(path: Path) -> list[bytes]:
    import pyarrow.parquet as pq  # noqa: PLC0415  # heavy: only where a Parquet file is read

    encoder = msgspec.json.Encoder()
    rows = pq.read_table(path).to_pylist()
    return [encoder.encode({name: value for name, value in row.items() if value is not None}) for row in rows]


def _time(line: bytes) -> int:
    try:
        record = _batch_decoder.decode(line)[-1] if line[:1] == b"[" else _decoder.decode(line)
    except (msgspec.MsgspecError, IndexError, RecursionError, ValueError):
        return _UNREADABLE
    stamp = record.timestamp if record.timestamp is not None else record.at
    return _UNREADABLE if stamp is None or not -(2**62) < (ms := epoch_ms(stamp)) < 2**62 else ms
