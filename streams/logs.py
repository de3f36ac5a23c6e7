"""Logs on disk: JSON lines, gzipped or not, or Parquet, as bytes per record with their event times."""

import gzip
import json
import math
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from schemas.bulk import joined_lines
from schemas.fields import epoch_ms

UNREADABLE = -(2**62)  # sorts first; the joiner says what is wrong with it
_READABLE = 2**62  # ms; times are less, before or after 1970
_BLOCK = 8_192  # lines that are decoded together

_IDS = {"request_id", "model_id", "model_version", "incident_id", "unit", "alert_key", "by"}
_TIMES = {"timestamp", "at"}
_ENCODER = msgspec.json.Encoder()
_BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8


class ReplayError(Exception):
    """A log that can't be read at all."""


@dataclass
class Log:
    """Records of a file in its order.

    ``times`` are event times in epoch ms, shape (n,); of an array of records the earliest. ``numbers``, shape (n,), are the lines' (of
    Parquet: the rows') numbers in the file, from 0.
    """

    lines: list[bytes]
    times: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]

    def ordered(self, ties: Literal["bytes", "place"]) -> "Log":
        """Return the log in order of time; records of equal time in that of their bytes, or of their place in the file."""
        order = np.argsort(self.times, kind="stable")
        if ties == "bytes":
            times = self.times[order]
            starts = np.flatnonzero(np.concatenate(([True], times[1:] != times[:-1]))) if len(times) else np.zeros(0, dtype=np.intp)
            ends = np.append(starts[1:], len(times))
            several = ends - starts > 1
            for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
                order[start:end] = sorted(order[start:end].tolist(), key=self.lines.__getitem__)
        return Log([self.lines[number] for number in order.tolist()], self.times[order], self.numbers[order])


class _Timed(msgspec.Struct, gc=False):
    timestamp: int | Annotated[datetime, Meta(tz=True)] | None = None
    at: int | Annotated[datetime, Meta(tz=True)] | None = None  # of control records


_decode_one: Callable[[bytes], _Timed] = msgspec.json.Decoder(_Timed).decode
_decode_lines: Callable[[bytes], list[_Timed]] = msgspec.json.Decoder(_Timed).decode_lines
_decode_many: Callable[[bytes], list[_Timed]] = msgspec.json.Decoder(list[_Timed]).decode


def read_log(path: Path) -> Log:
    """Read a log.

    Raises
    ------
    ReplayError
        If the file is not there, or is not what its name says.

    """
    try:
        lines, numbers = _parquet(path) if path.suffix == ".parquet" else _json_lines(path)
    except FileNotFoundError:
        raise ReplayError(f"expected a log at {path}, found no file; give the path of a .jsonl, .jsonl.gz or .parquet file") from None
    except (OSError, EOFError, ValueError, TypeError, NotImplementedError, zlib.error) as error:
        raise ReplayError(f"expected {path} to be JSON lines, gzip or Parquet by its name, got: {error}") from None
    return Log(lines, times_of(lines), numbers)


def log_of(lines: list[bytes]) -> Log:
    """Return records as a log of their own, numbered by their places."""
    return Log(lines, times_of(lines), np.arange(len(lines), dtype=np.int64))


def _json_lines(path: Path) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    data = path.read_bytes()
    if path.suffix == ".gz" and data:
        data = gzip.decompress(data)
    lines = data.removeprefix(_BOM).split(b"\n")
    if not lines[-1]:
        lines.pop()
    if all(lines) and not any(map(bytes.isspace, lines)):
        return lines, np.arange(len(lines))
    numbers = [number for number, line in enumerate(lines) if line and not line.isspace()]
    return [lines[number] for number in numbers], np.array(numbers, dtype=np.int64)


def _parquet(path: Path) -> tuple[list[bytes], npt.NDArray[np.int64]]:
    import pyarrow as pa  # noqa: PLC0415  # heavy: only where a Parquet file is read
    import pyarrow.parquet as pq  # noqa: PLC0415

    lines: list[bytes] = []
    for batch in pq.ParquetFile(path).iter_batches():
        rows = pa.table({name: _plain(pa, batch.column(name)) for name in batch.schema.names}).to_pylist(maps_as_pydicts="strict")
        lines += [_line({name: _field(name, value) for name, value in row.items() if value is not None}) for row in rows]
    return lines, np.arange(len(lines))


def _plain(pa: Any, column: Any) -> Any:
    """Return a column whose values JSON can hold: times to the millisecond, those without a zone in UTC; decimals as floats."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ms", column.type.tz or "UTC"), safe=False)
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def _field(name: str, value: Any) -> Any:
    """Return a value as the records want it: tables hold ids as numbers, and times as whole numbers that became floats beside a null."""
    if isinstance(value, float) and value.is_integer() and name in _IDS | _TIMES:
        value = int(value)
    return str(value) if name in _IDS and isinstance(value, int) and not isinstance(value, bool) else value


def _line(row: dict[str, Any]) -> bytes:
    """Return a row as JSON; NaN and Infinity stand as such, which is no JSON, so that the row is a dead letter as it would be in a file."""
    line = _ENCODER.encode(row)
    if b"null" not in line or _finite(row):
        return line
    return json.dumps(msgspec.to_builtins(row), ensure_ascii=False).encode()


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def times_of(lines: list[bytes]) -> npt.NDArray[np.int64]:
    """Return the event times of records, shape (n,): many lines in one call, and one by one where that does not go.

    >>> times_of([b'{"timestamp": 5}', b"{", b'[{"timestamp": "1970-01-01T00:00:01Z"}, {"at": 7}]']).tolist() == [5, UNREADABLE, 7]
    True
    """
    blocks = (lines[begin : begin + _BLOCK] for begin in range(0, len(lines), _BLOCK))
    return np.concatenate([np.zeros(0, dtype=np.int64), *map(_times, blocks)])


def _times(lines: list[bytes]) -> npt.NDArray[np.int64]:
    joined = joined_lines(lines, sys.maxsize)
    try:
        records = [] if joined is None else _decode_lines(joined.lines)
        if len(records) == len(lines):
            times = np.array([record.timestamp for record in records], dtype=np.int64)
            if (np.abs(times) < _READABLE).all():
                return times
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError):
        pass  # one of them cannot be read, or its time is no number
    return np.array([_time(line) for line in lines], dtype=np.int64)


def _time(line: bytes) -> int:
    try:
        records = _decode_many(line) if line[:1] == b"[" else (_decode_one(line),)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return UNREADABLE
    return min(map(_stamp, records), default=UNREADABLE)


def _stamp(record: _Timed) -> int:
    stamp = record.timestamp if record.timestamp is not None else record.at
    return UNREADABLE if stamp is None or not -_READABLE < (ms := epoch_ms(stamp)) < _READABLE else ms
