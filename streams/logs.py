"""Logs on disk: JSON lines, gzipped or not, or Parquet, as bytes per record with their event times."""

import gzip
import json
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta

from detectors.fixed import Ints
from schemas.fields import epoch_ms
from schemas.text_lines import TextLines

UNREADABLE = -(2**62)  # sorts first; the joiner says what is wrong with it
_READABLE = 2**62  # ms; times are less, before or after 1970
_BLOCK = 8_192  # lines that are decoded together
_PART = 1 << 18  # bytes that are looked through together
_BREAK, _OPEN, _CLOSE = b"\n{}"
_BLANK = np.frombuffer(b" \t\r\v\f", np.uint8)

_IDS = {"request_id", "model_id", "model_version", "incident_id", "unit", "alert_key", "by"}
_TIMES = {"timestamp", "at"}
_ENCODER = msgspec.json.Encoder()
_BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8


class ReplayError(Exception):
    """A log that can't be read at all."""


@dataclass
class Log:
    """Records of a file, n of them, each a line of its text; they are taken out of it when they are asked for.

    ``begins`` and ``ends`` are where in the text they stand, ``times`` event times in epoch ms, of an array of records the earliest, and
    ``numbers`` the lines' (of Parquet: the rows') numbers in the file, from 0. All of shape (n,).

    >>> log = log_of([b'{"timestamp": 7}', b'{"timestamp": 5}']).ordered("bytes")
    >>> log.times.tolist(), log.lines
    ([5, 7], [b'{"timestamp": 5}', b'{"timestamp": 7}'])
    """

    text: memoryview
    begins: Ints
    ends: Ints
    times: Ints
    numbers: Ints

    def __len__(self) -> int:
        return len(self.times)

    @property
    def lines(self) -> list[bytes]:
        """All records, in their order."""
        return list(self.between(0, len(self)))

    def between(self, first: int, last: int) -> TextLines:
        """Return some records that follow each other: from the first one to before the last."""
        return TextLines(self.text, self.begins[first:last], self.ends[first:last])

    def ordered(self, ties: Literal["bytes", "place"]) -> "Log":
        """Return the log in order of time; records of equal time in that of their bytes, or of their place in the file."""
        order = np.argsort(self.times, kind="stable")
        if ties == "bytes":
            times = self.times[order]
            starts = np.flatnonzero(np.concatenate(([True], times[1:] != times[:-1]))) if len(times) else np.zeros(0, dtype=np.intp)
            stops = np.append(starts[1:], len(times))
            several = stops - starts > 1
            for start, stop in zip(starts[several].tolist(), stops[several].tolist(), strict=True):
                order[start:stop] = sorted(order[start:stop].tolist(), key=self._line)
        if (order[1:] > order[:-1]).all():  # so it was: no copies
            return self
        return Log(self.text, self.begins[order], self.ends[order], self.times[order], self.numbers[order])

    def _line(self, at: int) -> bytes:
        return self.text[self.begins[at] : self.ends[at]].tobytes()


class _Timed(msgspec.Struct, gc=False):
    timestamp: int | Annotated[datetime, Meta(tz=True)] | None = None
    at: int | Annotated[datetime, Meta(tz=True)] | None = None  # of control records


_decode_one: Callable[[bytes], _Timed] = msgspec.json.Decoder(_Timed).decode
_decode_lines: Callable[[memoryview], list[_Timed]] = msgspec.json.Decoder(_Timed).decode_lines
_decode_many: Callable[[bytes], list[_Timed]] = msgspec.json.Decoder(list[_Timed]).decode


def read_log(path: Path) -> Log:
    """Read a log.

    Raises
    ------
    ReplayError
        If the file is not there, or is not what its name says.

    """
    try:
        if path.suffix == ".parquet":
            return log_of(_parquet(path))
        text = _text(path)
        return _log(memoryview(gzip.decompress(text)) if path.suffix == ".gz" and len(text) else text)
    except FileNotFoundError:
        raise ReplayError(f"expected a log at {path}, found no file; give the path of a .jsonl, .jsonl.gz or .parquet file") from None
    except (OSError, EOFError, ValueError, TypeError, NotImplementedError, zlib.error) as error:
        raise ReplayError(f"expected {path} to be JSON lines, gzip or Parquet by its name, got: {error}") from None


def log_of(lines: list[bytes]) -> Log:
    """Return records, none with a line break in it, as a log of their own, numbered by their places."""
    return _log(memoryview(b"\n".join(lines)))


def _text(path: Path) -> memoryview:
    """Return what a file holds; where its size is known, in memory of numpy's: that comes in large pages where the system has them."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        text = np.empty(size, np.uint8).data
        at = 0
        while at < size and (read := file.readinto(text[at:])):
            at += read
        rest = file.read()
    return memoryview(text[:at].tobytes() + rest) if rest else text[:at]  # of a pipe, or of a file that grows


def _log(text: memoryview) -> Log:
    codes = np.frombuffer(text, np.uint8)
    first = len(_BOM) if text[: len(_BOM)] == _BOM else 0
    parts = range(0, len(codes), _PART)
    breaks = np.concatenate([np.zeros(0, dtype=np.int64), *(at + np.flatnonzero(codes[at : at + _PART] == _BREAK) for at in parts)])
    begins, ends = np.append(first, breaks + 1), np.append(breaks, len(text))
    numbers = np.flatnonzero(ends > begins)
    perhaps = numbers[np.isin(codes[begins[numbers]], _BLANK)].tolist()
    blank = [number for number in perhaps if text[begins[number] : ends[number]].tobytes().isspace()]
    numbers = np.setdiff1d(numbers, blank, assume_unique=True)
    begins, ends = begins[numbers], ends[numbers]
    return Log(text, begins, ends, _times(text, begins, ends), numbers)


def _parquet(path: Path) -> list[bytes]:
    import pyarrow as pa  # noqa: PLC0415  # heavy: only where a Parquet file is read
    import pyarrow.parquet as pq  # noqa: PLC0415

    lines: list[bytes] = []
    for batch in pq.ParquetFile(path).iter_batches():
        rows = pa.table({name: _plain(pa, batch.column(name)) for name in batch.schema.names}).to_pylist(maps_as_pydicts="strict")
        lines += [_line({name: _field(name, value) for name, value in row.items() if value is not None}) for row in rows]
    return lines


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


def _times(text: memoryview, begins: Ints, ends: Ints) -> Ints:
    """Return the event times of records: many lines in one call, and one by one where that does not go."""
    blocks = (_block_times(text, begins[at : at + _BLOCK], ends[at : at + _BLOCK]) for at in range(0, len(begins), _BLOCK))
    return np.concatenate([np.zeros(0, dtype=np.int64), *blocks])


def _block_times(text: memoryview, begins: Ints, ends: Ints) -> Ints:
    codes = np.frombuffer(text, np.uint8)
    if (codes[begins] == _OPEN).all() and (codes[ends - 1] == _CLOSE).all():  # see ``schemas.bulk.joined_lines``
        try:
            records = _decode_lines(text[begins[0] : ends[-1]])
            if len(records) == len(begins):
                times = np.array([record.timestamp for record in records], dtype=np.int64)
                if ((times > -_READABLE) & (times < _READABLE)).all():
                    return times
        except (msgspec.MsgspecError, RecursionError, ValueError, TypeError, OverflowError):
            pass  # one of them cannot be read, or its time is no number
    return np.array([_time(text[begin:end].tobytes()) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)], dtype=np.int64)


def _time(line: bytes) -> int:
    try:
        records = _decode_many(line) if line[:1] == b"[" else (_decode_one(line),)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return UNREADABLE
    return min(map(_stamp, records), default=UNREADABLE)


def _stamp(record: _Timed) -> int:
    stamp = record.timestamp if record.timestamp is not None else record.at
    return UNREADABLE if stamp is None or not -_READABLE < (ms := epoch_ms(stamp)) < _READABLE else ms
