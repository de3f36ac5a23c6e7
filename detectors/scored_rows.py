"""What a batch gave, as one scored message per model (more only where it would be too long)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.contexts import Names
from detectors.feature_packing import feature_columns
from detectors.fixed import Ints
from detectors.join_rows import Row
from schemas.scored import COLUMNS, Origin, Rows

OTHER = "__other__"
_PLACE = ("origin", "offset", "index")
_TEXTS = ("probe", "action", "rival", "unit", "alert_key")  # the narrow columns first: they get the low indexes
_PLAIN = tuple(name for name in COLUMNS if name not in {*_PLACE, *_TEXTS, "version"})
_NUMBERED = ("model", "version", *_TEXTS)  # held as numbers of ``Names`` until a message is made
_FLOATS = frozenset(name for name, (dtype, _) in COLUMNS.items() if dtype == "<f8")
_FIELD = {"count": "records"}  # where a field of ``Row`` has another name than its column
_MAX_ORIGINS = 255
_WIDEST = 2**16

Column = npt.NDArray[Any]


class RowsBuilder:
    """Collects rows, then turns each model's into columns.

    Rows may be added in any order: they are put in that of their records. The rows of a model and a source message are never split over
    two scored messages: whoever folds them holds a scored message against its marks as a whole.

    Parameters
    ----------
    origins
        The source partitions that rows point into.
    names
        What numbers of texts and subgroups stand for.
    max_rows
        From how many rows on a message is ended, at the next change of source message.

    Examples
    --------
    >>> builder = RowsBuilder([Origin("predictions", "x", 0)])
    >>> builder.add(0, 0, 7, 0, [Row("m", "1", kind=1, score=0.25), Row("m", "1", kind=2, label=1)])
    >>> [rows] = builder.build()
    >>> rows.model_id, rows.column("offset").tolist(), rows.column("label").tolist(), rows.versions
    ('m', [7, 7], [0, 1], ['1'])

    """

    def __init__(self, origins: Sequence[Origin], names: Names | None = None, max_rows: int = 8_000) -> None:
        self._origins = list(dict.fromkeys(origins))
        numbers = {origin: number for number, origin in enumerate(self._origins)}
        self._number = np.array([numbers[origin] for origin in origins], dtype=np.int64)  # of the origin, by position
        self._names = names or Names()
        self._max_rows = max_rows
        self._values = [b""]
        self._parts: list[dict[str, Column]] = []
        self._rows: list[Row] = []
        self._places: list[tuple[int, int, int, int]] = []

    def add(self, order: int, origin: int, offset: int, index: int, rows: Iterable[Row]) -> None:
        """Add the rows of one source record; ``order`` is its place among all records, ``origin`` the position of its partition."""
        for row in rows:
            self._rows.append(row)
            self._places.append((order, origin, offset, index))

    def add_columns(self, order: Ints, origin: Ints, offset: Ints, index: Ints, columns: Mapping[str, Column]) -> None:
        """Add rows, one per element: columns by the names of ``schemas.scored.COLUMNS``, those left out being absent everywhere.

        Texts (also "model", "subgroups" and "feature_names") are numbers of ``Names``, "feature_values" what ``keep`` returned.
        """
        if len(order):
            self._parts.append({"order": order, "origin": origin, "offset": offset, "index": index, **columns})

    def keep(self, values: Sequence[bytes]) -> Ints:
        """Keep the values of features until messages are made; return what stands for them in a column, shape of ``values``."""
        begin = len(self._values)
        self._values += values
        return np.arange(begin, len(self._values))

    def build(self) -> list[Rows]:
        """Return the messages, models in the order of their names, each model's rows in the order of their records."""
        if self._rows:
            self._parts.append(self._rows_columns())
        if not self._parts:
            return []
        columns = {name: self._column(name) for name in {name for part in self._parts for name in part}}
        columns["origin"] = self._number[columns["origin"]]
        rank, group = self._groups(columns)
        order = np.argsort(rank * (int(columns["order"].max()) + 1) + columns["order"], kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
        rank = rank[order]
        starts = np.flatnonzero(np.concatenate(([True], rank[1:] != rank[:-1])))
        present = {name: _present(name, columns[name], starts) for name in columns if name in COLUMNS}
        out = []
        for i, (start, stop) in enumerate(zip(starts.tolist(), [*starts[1:].tolist(), len(rank)], strict=True)):
            mine = {name: column[start:stop] for name, column in columns.items() if name not in present or present[name][i]}
            for begin, end in _cuts(mine, stop - start, self._max_rows):
                out.append(self._message(group[rank[start]], {name: column[begin:end] for name, column in mine.items()}, end - begin))
        return out

    def _rows_columns(self) -> dict[str, Column]:
        """Return the rows that came one by one as columns."""
        fields = dict(zip(Row._fields, zip(*self._rows, strict=True), strict=True))
        columns: dict[str, Column] = {
            name: np.array(values, dtype=np.int64)
            for name, values in zip(("order", "origin", "offset", "index"), zip(*self._places, strict=True), strict=True)
        }
        for name in _NUMBERED:
            columns[name] = np.array([self._names.number(text) for text in fields[name]], dtype=np.int64)
        columns["subgroups"] = np.array([self._names.subgroups_number(blob) for blob in fields["subgroups"]], dtype=np.int64)
        if any(fields["feature_names"]):
            columns["feature_names"] = np.array(
                [self._names.feature_names_number(blob) for blob in fields["feature_names"]], dtype=np.int64
            )
            columns["feature_values"] = self.keep(fields["feature_values"])
        for name in _PLAIN:
            columns[name] = np.array(fields[_FIELD.get(name, name)], dtype=np.float64 if name in _FLOATS else np.int64)
        return columns

    def _column(self, name: str) -> Column:
        _, absent = COLUMNS.get(name, ("", 0))
        dtype = np.float64 if name in _FLOATS else np.int64
        parts = [part[name] if name in part else np.full(len(part["order"]), absent, dtype=dtype) for part in self._parts]
        return np.concatenate(parts)

    def _groups(self, columns: Mapping[str, Column]) -> tuple[Ints, dict[int, str]]:
        """Return a number for each row such that rows of one message share it, in the order of messages; and each number's model."""
        model = columns.get("model", np.zeros(len(columns["order"]), dtype=np.int64))
        used, code = np.unique(model, return_inverse=True)
        texts = [self._names.texts[number] for number in used.tolist()]
        ranked = sorted(range(len(texts)), key=texts.__getitem__)
        rank = np.empty(len(texts), dtype=np.int64)
        rank[ranked] = np.arange(len(texts))
        parts = -(-len(self._origins) // _MAX_ORIGINS)  # more than one: more source partitions than a message can number
        number = rank[code] * parts + columns["origin"] // _MAX_ORIGINS
        return number, {at * parts + part: texts[i] for at, i in enumerate(ranked) for part in range(parts)}

    def _message(self, model: str, columns: dict[str, Column], n: int) -> Rows:
        names = self._names
        zero = np.zeros(n, dtype=np.int64)
        used, codes = np.unique(columns.get("origin", zero), return_inverse=True)
        local: dict[str, Column] = {"origin": codes, "offset": columns.get("offset", zero), "index": columns.get("index", zero)}
        local |= {name: columns[name] for name in _PLAIN if name in columns}
        versions: dict[str, int] = {}
        local["version"] = _codes(versions, columns.get("version", zero), names.texts)
        texts = {"": 0}
        for name in _TEXTS:
            if name in columns and columns[name].any():
                local[name] = _codes(texts, columns[name], names.texts)
        dimensions = _dimensions(columns.get("subgroups", zero), names.subgroups, texts)
        features = self._features(columns, n, texts) if columns.get("feature_names", zero).any() else {}
        packed = {name: column.astype(COLUMNS[name][0]).tobytes() for name, column in local.items() if _present(name, column, [0])[0]}
        return Rows(model, [self._origins[i] for i in used.tolist()], n, packed, list(versions), list(texts), dimensions, features)

    def _features(self, columns: Mapping[str, Column], n: int, texts: dict[str, int]) -> dict[str, bytes]:
        """Return a column of codes per feature."""
        names, kept = columns["feature_names"], columns["feature_values"]
        used, which = _distinct(names)
        groups = []
        for place, number in enumerate(used):
            if number:
                rows = np.flatnonzero(which == place)
                groups.append((self._names.feature_names[number], rows, [self._values[i] for i in kept[rows].tolist()]))
        return feature_columns(groups, n, lambda word: texts.setdefault(word, len(texts)))


def _present(name: str, column: Column, starts: Any) -> Any:
    """Say in which groups of rows, by where they start, a column is anything but absent; shape of ``starts``."""
    absent = COLUMNS[name][1]
    return np.logical_or.reduceat(~np.isnan(column) if np.isnan(absent) else column != absent, starts)


def _cuts(columns: Mapping[str, Column], n: int, max_rows: int) -> Iterator[tuple[int, int]]:
    """Yield where each message starts and stops: between source messages, and as late as its length allows."""
    if n <= max_rows:
        yield 0, n
        return
    zero = np.zeros(n, dtype=np.int64)
    changes = [column[1:] != column[:-1] for column in (columns.get("origin", zero), columns.get("offset", zero))]
    ends = np.append(np.flatnonzero(changes[0] | changes[1]) + 1, n)  # of source messages
    start = 0
    while start < n:
        at = int(np.searchsorted(ends, start + max_rows, side="right")) - 1
        if at < 0 or ends[at] <= start:  # one source message alone is longer
            at = int(np.searchsorted(ends, start, side="right"))
        stop = int(ends[at])
        yield start, stop
        start = stop


def _distinct(numbers: Ints) -> tuple[list[int], Ints]:
    """Return the distinct numbers in order of their first use, and for each element which of them it is."""
    if (numbers == numbers[0]).all():
        return [int(numbers[0])], np.zeros(len(numbers), dtype=np.int64)
    used, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(used), dtype=np.int64)
    rank[order] = np.arange(len(used))
    return used[order].tolist(), rank[inverse]


def _codes(codes: dict[str, int], numbers: Ints, texts: Sequence[str]) -> Ints:
    """Return the index of each text, new ones added; what a narrow column cannot number any more is ``__other__``."""
    used, which = _distinct(numbers)
    index = []
    for number in used:
        text = texts[number]
        if text not in codes and len(codes) >= _WIDEST - 1:
            text = OTHER
        index.append(codes.setdefault(text, len(codes)))
    return np.array(index, dtype=np.int64)[which]


def _dimensions(numbers: Ints, subgroups: Sequence[list[tuple[str, str]]], texts: dict[str, int]) -> dict[str, bytes]:
    """Return a column of indexes into texts per dimension; each distinct combination of subgroups is read once."""
    used, which = _distinct(numbers)
    tables: dict[str, Ints] = {}
    for position, number in enumerate(used):
        for dimension, value in subgroups[number]:
            if dimension not in tables:
                tables[dimension] = np.zeros(len(used), dtype=np.int64)
            tables[dimension][position] = texts.setdefault(value, len(texts))
    return {dimension: tables[dimension].astype("<u4")[which].tobytes() for dimension in sorted(tables)}
