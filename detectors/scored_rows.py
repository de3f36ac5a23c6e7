"""Rows to columns: what a batch gave, as one scored message per model (more only where it would be too long)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from detectors.entries import subgroup_pairs
from detectors.join_rows import Row
from schemas.scored import COLUMNS, Origin, Rows, pack

OTHER = "__other__"
_TEXTS = ("probe", "action", "unit", "alert_key")  # the narrow columns first: they get the low indexes
_CODED = {"origin", "offset", "index", "version", *_TEXTS}
_FIELD = {"count": "records"}  # where a field of ``Row`` has another name than its column
_PLAIN: dict[str, tuple[str, float | None]] = {
    name: (_FIELD.get(name, name), None if np.isnan(absent) else absent) for name, (_, absent) in COLUMNS.items() if name not in _CODED
}
_MAX_ORIGINS = 255
_WIDEST = 2**16

_Place = tuple[int, int, int]  # index of the origin, offset, index in the message


class RowsBuilder:
    """Collects rows, then turns each model's into columns.

    Rows of one source record must be added together, and records of one source partition in their order. The rows of a model and a
    source message are never split over two scored messages: whoever folds them holds a scored message against its marks as a whole.

    Parameters
    ----------
    max_rows
        From how many rows on a message is ended, at the next change of source message.

    Examples
    --------
    >>> builder = RowsBuilder()
    >>> origin = builder.origin(Origin("predictions", "x", 0))
    >>> builder.add(origin, 7, 0, [Row("m", "1", kind=1, score=0.25), Row("m", "1", kind=2, label=1)])
    >>> [rows] = builder.build()
    >>> rows.model_id, rows.column("offset").tolist(), rows.column("label").tolist(), rows.versions
    ('m', [7, 7], [0, 1], ['1'])

    """

    def __init__(self, max_rows: int = 8_000) -> None:
        self._max_rows = max_rows
        self._origins: dict[Origin, int] = {}
        self._models: dict[str, tuple[list[_Place], list[Row]]] = {}

    def origin(self, origin: Origin) -> int:
        """Return the index that stands for a source partition in ``add``."""
        return self._origins.setdefault(origin, len(self._origins))

    def add(self, origin: int, offset: int, index: int, rows: Iterable[Row]) -> None:
        """Add the rows of one source record."""
        place = (origin, offset, index)
        models = self._models
        for row in rows:
            kept = models.get(row[0])
            if kept is None:
                kept = models[row[0]] = ([], [])
            kept[0].append(place)
            kept[1].append(row)

    def build(self) -> list[Rows]:
        """Return the messages, models in the order of their names, each model's in the order in which its rows were added."""
        origins = list(self._origins)
        out: list[Rows] = []
        for model in sorted(self._models):
            places, rows = self._models[model]
            if len(origins) <= _MAX_ORIGINS:
                parts = [list(range(len(rows)))]
            else:  # more source partitions than a message can number
                parts = [[i for i, place in enumerate(places) if place[0] // _MAX_ORIGINS == part] for part in range(len(origins))]
            for part in parts:
                chosen = [places[i] for i in part]
                for start, stop in _cuts(chosen, self._max_rows):
                    out.append(_message(model, origins, chosen[start:stop], [rows[i] for i in part[start:stop]]))
        return out


def _cuts(places: Sequence[_Place], max_rows: int) -> Iterator[tuple[int, int]]:
    """Yield where each message starts and stops: between source messages, and as late as its length allows."""
    start = 0
    while len(places) - start > max_rows:
        stop = start + max_rows
        while stop > start and places[stop][:2] == places[stop - 1][:2]:
            stop -= 1
        if stop == start:  # one source message alone is longer
            stop += max_rows
            while stop < len(places) and places[stop][:2] == places[stop - 1][:2]:
                stop += 1
        yield start, stop
        start = stop
    if start < len(places):
        yield start, len(places)


def _message(model: str, origins: Sequence[Origin], places: Sequence[_Place], rows: Sequence[Row]) -> Rows:
    n = len(rows)
    columns: dict[str, bytes] = {}
    versions: dict[str, int] = {}
    texts = {"": 0}

    def put(name: str, values: Any) -> None:
        data = pack(name, values)
        if data is not None:
            columns[name] = data

    origin, offset, index = zip(*places, strict=True)
    used = sorted(set(origin))
    put("origin", np.searchsorted(used, origin))
    put("offset", offset)
    put("index", index)
    by_field = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    for name, (field, absent) in _PLAIN.items():
        values = by_field[field]
        if values.count(absent) < n:  # counting is far cheaper than converting, and most columns are absent
            put(name, np.array(values, np.float64) if absent is None else values)
    put("version", _codes(versions, by_field["version"]))
    for name in _TEXTS:
        if any(by_field[name]):
            put(name, _codes(texts, by_field[name]))
    dimensions = _dimensions(by_field["subgroups"], texts)
    return Rows(model, [origins[i] for i in used], n, columns, list(versions), list(texts), dimensions)


def _codes(codes: dict[str, int], values: Sequence[str]) -> list[int]:
    """Return the index of each value, new ones added; what a narrow column cannot number any more is ``__other__``."""
    if len(codes) + len(values) >= _WIDEST:
        kept = set(sorted(set(values) | codes.keys())[: _WIDEST - 1])
        values = [value if value in kept or value in codes else OTHER for value in values]
    return [codes.setdefault(value, len(codes)) for value in values]


def _dimensions(blobs: Sequence[bytes], texts: dict[str, int]) -> dict[str, bytes]:
    """Return a column of indexes into texts per dimension; each distinct combination of subgroups is read once."""
    combinations: dict[bytes, int] = {}
    codes = np.array([combinations.setdefault(blob, len(combinations)) for blob in blobs], dtype=np.intp)
    tables: dict[str, Any] = {}
    for blob, position in combinations.items():
        for dimension, value in subgroup_pairs(blob):
            if dimension not in tables:
                tables[dimension] = np.zeros(len(combinations), dtype="<u4")
            tables[dimension][position] = texts.setdefault(value, len(texts))
    return {dimension: tables[dimension][codes].tobytes() for dimension in sorted(tables)}
