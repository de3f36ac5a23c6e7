"""What a batch gave, as one scored message per model (more only where it would be too long)."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.contexts import Names
from detectors.feature_packing import feature_columns
from detectors.fixed import Ints
from detectors.join_rows import Row
from detectors.stretches import Distinct, distinct, ranges, stretch_of, unique
from schemas.scored import COLUMNS, Origin, Rows

OTHER = "__other__"
_PLACE = ("origin", "offset", "index")
_TEXTS = ("probe", "action", "rival", "unit", "alert_key", "said", "truth")  # the narrow columns first: they get the low indexes
_PLAIN = tuple(name for name in COLUMNS if name not in {*_PLACE, *_TEXTS, "version"})
_FEATURED = ("feature_names", "feature_values")
_NUMBERED = ("model", "version", *_TEXTS)  # held as numbers of ``Names`` until a message is made
_FLOATS = frozenset(name for name, (dtype, _) in COLUMNS.items() if dtype == "<f8")
_FIELD = {"count": "records"}  # where a field of ``Row`` has another name than its column
_MAX_ORIGINS = 255
_WIDEST = 2**16
_AT_ONCE = 2**18  # places of rows in dimensions

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
        starts = np.concatenate(([0], np.flatnonzero(rank[1:] != rank[:-1]) + 1, [len(rank)]))
        starts = _cut(starts, columns, self._max_rows)
        models = [group[number] for number in rank[starts[:-1]].tolist()]
        out: list[Rows] = []
        for some in self._some(columns.get("subgroups"), starts):
            begin, end = int(starts[some.start]), int(starts[some.stop])
            mine = {name: column[begin:end] for name, column in columns.items()}
            out += self._messages(models[some], mine, starts[some.start : some.stop + 1] - begin)
        return out

    def _some(self, subgroups: Column | None, starts: Ints) -> list[slice]:
        """Return which messages are made in one go: many, for speed, but each row has a place for each dimension meanwhile."""
        at = [0, len(starts) - 1]
        if subgroups is not None:
            places = np.cumsum(self._names.subgroups.column("count")[subgroups])[starts[1:] - 1]
            at[1:1] = (np.flatnonzero(np.diff(places // _AT_ONCE)) + 1).tolist()
        return [slice(first, end) for first, end in pairwise(at)]

    def _rows_columns(self) -> dict[str, Column]:
        """Return the rows that came one by one as columns."""
        fields = dict(zip(Row._fields, zip(*self._rows, strict=True), strict=True))
        columns: dict[str, Column] = {
            name: np.array(values, dtype=np.int64)
            for name, values in zip(("order", "origin", "offset", "index"), zip(*self._places, strict=True), strict=True)
        }
        for name in _NUMBERED:
            if any(fields[name]):
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
        dtype, absent = COLUMNS[name] if name in _PLAIN else ("<i8", 0)
        parts = [part[name] if name in part else np.full(len(part["order"]), absent, dtype=dtype) for part in self._parts]
        return np.concatenate(parts, dtype=dtype, casting="unsafe")

    def _groups(self, columns: Mapping[str, Column]) -> tuple[Ints, list[str]]:
        """Return a number for each row such that rows of one message share it, in the order of messages; and each number's model."""
        model = columns.get("model", np.zeros(len(columns["order"]), dtype=np.int64))
        used, _, code = unique(model, len(self._names.texts))
        texts, rank = self._ranked(used)
        parts = -(-len(self._origins) // _MAX_ORIGINS)  # more than one: more source partitions than a message can number
        return rank[code] * parts + columns["origin"] // _MAX_ORIGINS, [text for text in texts for _ in range(parts)]

    def _ranked(self, numbers: Ints) -> tuple[list[str], Ints]:
        """Return the texts of some numbers in their order, and where each number's own stands there."""
        texts = [self._names.texts[number] for number in numbers.tolist()]
        order = sorted(range(len(texts)), key=texts.__getitem__)
        rank = np.empty(len(texts), dtype=np.int64)
        rank[order] = np.arange(len(texts))
        return [texts[i] for i in order], rank

    def _messages(self, models: Sequence[str], columns: Mapping[str, Column], starts: Ints) -> list[Rows]:
        """Return the messages of rows in their order; ``starts`` as of ``stretches.distinct``."""
        origins, local = _numbered(columns["origin"], starts)
        packed = [_pack("origin", local, starts)]
        packed += [_pack(name, columns[name], starts) for name in ("offset", "index", *_PLAIN) if name in columns]
        zero = np.zeros(int(starts[-1]), dtype=np.int64)
        versions, texts = _Texts(self._names, len(models)), _Texts(self._names, len(models), "")
        packed.append(_pack("version", versions.add(distinct(columns.get("version", zero), starts)), starts))
        for name in _TEXTS:
            if name in columns and columns[name].any():
                packed.append(_pack(name, texts.add(distinct(columns[name], starts)), starts))
        dimensions = self._dimensions(columns.get("subgroups", zero), starts, texts)
        packed = [each for each in packed if each.data]
        features = []
        if columns.get("feature_names", zero).any():
            for codes, (begin, end) in zip(texts.codes(), pairwise(starts.tolist()), strict=True):
                features.append(self._features({name: columns[name][begin:end] for name in _FEATURED}, codes))
        out = []
        each = zip(models, pairwise(starts.tolist()), versions.lists(), texts.lists(), strict=True)
        for i, (model, (begin, end), version, text) in enumerate(each):
            mine = {name: data[begin * width : end * width] for name, data, width, present in packed if present[i]}
            used = [self._origins[number] for number in origins[i]]
            out.append(Rows(model, used, end - begin, mine, version, text, dimensions[i], features[i] if features else {}))
        return out

    def _dimensions(self, subgroups: Ints, starts: Ints, texts: "_Texts") -> list[dict[str, bytes]]:
        """Return for each message a column of indexes into its texts per dimension; each distinct combination is read once."""
        names = self._names
        used = distinct(subgroups, starts)
        count = names.subgroups.column("count")[used.numbers]
        pair = names.members.column()[ranges(names.subgroups.column("first")[used.numbers], count)]
        out: list[dict[str, bytes]] = [{} for _ in range(len(starts) - 1)]
        if not len(pair):
            return out
        owner = np.repeat(np.arange(len(count)), count)  # of each pair, which of those used
        code = texts.add(distinct(names.pairs.column("value")[pair], np.searchsorted(owner, used.starts)), most=None)
        number, _, dimension = unique(names.pairs.column("dimension")[pair], len(names.texts))
        titles, rank = self._ranked(number)
        made, _, column = unique(stretch_of(used.starts)[owner] * len(titles) + rank[dimension], len(out) * len(titles))
        message = made // len(titles)  # of each column: one for each message and dimension in it, in the order of the dimensions' names
        sizes, rows = np.diff(used.starts)[message], np.diff(starts)[message]
        begin = np.cumsum(sizes) - sizes - used.starts[message]
        table = np.zeros(int(sizes.sum()), dtype="<u4")  # by column, and which of those used in its message
        table[begin[column] + owner] = code
        data = table[np.repeat(begin, rows) + used.which[ranges(starts[message], rows)]].tobytes()
        ends = np.cumsum(rows)
        bounds = zip((4 * (ends - rows)).tolist(), (4 * ends).tolist(), strict=True)
        for i, title, (first, end) in zip(message.tolist(), (made % len(titles)).tolist(), bounds, strict=True):
            out[i][titles[title]] = data[first:end]
        return out

    def _features(self, columns: Mapping[str, Column], texts: dict[str, int]) -> dict[str, bytes]:
        """Return a column of codes per feature."""
        names, kept = columns["feature_names"], columns["feature_values"]
        used = distinct(names, np.array([0, len(names)]))
        groups = []
        for place, number in enumerate(used.numbers.tolist()):
            if number:
                rows = np.flatnonzero(used.which == place)
                groups.append((self._names.feature_names[number], rows, [self._values[i] for i in kept[rows].tolist()]))
        return feature_columns(groups, len(names), lambda word: texts.setdefault(word, len(texts)))


class _Texts:
    """The texts that the rows of each message point into; ``first`` stand in all of them."""

    def __init__(self, names: Names, messages: int, *first: str) -> None:
        self._texts = names.texts
        self._first = first
        self._lists = [list(first) for _ in range(messages)]
        self._codes: list[dict[str, int]] = []  # of each message, once they must be looked up

    def lists(self) -> list[list[str]]:
        """Return the texts of each message."""
        return list(map(list, self._codes)) if self._codes else self._lists

    def codes(self) -> list[dict[str, int]]:
        """Return the index of each text, by message; more texts may be added."""
        if not self._codes:
            self._codes = [{text: i for i, text in enumerate(mine)} for mine in self._lists]
        return self._codes

    def add(self, found: Distinct, most: int | None = _WIDEST) -> Ints:
        """Return the index of each text in its message, new ones added; of ``most`` the last stands for the rest."""
        texts = list(map(self._texts.__getitem__, found.numbers.tolist()))
        counts, bounds, first = np.diff(found.starts), pairwise(found.starts.tolist()), len(self._first)
        alone = not self._codes and all(len(mine) == first for mine in self._lists)
        if alone and (most is None or first + counts.max() < most) and not set(self._first).intersection(texts):
            for mine, (begin, end) in zip(self._lists, bounds, strict=True):
                mine.extend(texts[begin:end])
            return (first + np.arange(len(texts)) - np.repeat(found.starts[:-1], counts))[found.which]
        index = []
        for codes, (begin, end) in zip(self.codes(), bounds, strict=True):
            for text in texts[begin:end]:
                code = codes.get(text)
                if code is None:
                    code = codes.setdefault(text if most is None or len(codes) < most - 1 else OTHER, len(codes))
                index.append(code)
        return np.array(index, dtype=np.int64)[found.which]


class _Packed(NamedTuple):
    """A column of all messages as bytes."""

    name: str
    data: bytes
    width: int  # bytes of an element
    present: list[bool]  # by message: whether it is anything but absent there


def _pack(name: str, column: Column, starts: Ints) -> _Packed:
    dtype, absent = COLUMNS[name]
    present = np.logical_or.reduceat(~np.isnan(column) if np.isnan(absent) else column != absent, starts[:-1])
    return _Packed(name, column.astype(dtype).tobytes() if present.any() else b"", np.dtype(dtype).itemsize, present.tolist())


def _cut(starts: Ints, columns: Mapping[str, Column], max_rows: int) -> Ints:
    """Return where messages start, and the number of rows: what is longer is cut between source messages, as late as its length allows."""
    more: list[int] = []
    if np.diff(starts).max() <= max_rows:
        return starts
    for begin, end in pairwise(starts.tolist()):
        if end - begin > max_rows:
            origin, offset = columns["origin"][begin:end], columns["offset"][begin:end]
            ends = begin + np.append(np.flatnonzero((origin[1:] != origin[:-1]) | (offset[1:] != offset[:-1])) + 1, end - begin)
            start = begin
            while start < end:
                at = int(np.searchsorted(ends, start + max_rows, side="right")) - 1
                if at < 0 or ends[at] <= start:  # one source message alone is longer
                    at = int(np.searchsorted(ends, start, side="right"))
                start = int(ends[at])
                more.append(start)
    return np.union1d(starts, more).astype(np.int64) if more else starts


def _numbered(origins: Ints, starts: Ints) -> tuple[list[list[int]], Ints]:
    """Return each message's origins in their order, and for each row which of them is its own."""
    stretch, width = stretch_of(starts), int(origins.max(initial=0)) + 1
    used, _, which = unique(stretch * width + origins, (len(starts) - 1) * width)
    bounds = np.searchsorted(used // width, np.arange(len(starts)))
    numbers = (used % width).tolist()
    return [numbers[begin:end] for begin, end in pairwise(bounds.tolist())], which - bounds[stretch]
