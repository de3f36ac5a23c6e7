"""Segments: the aggregate, each subgroup value, and caps on how many there may be."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.crowds import NONE, Crowds
from detectors.fixed import Ints
from detectors.panes import FEW, distinct
from schemas.scored import Rows

OTHER = "__other__"  # values of a dimension beyond the cap
PROBE = "__probe__"  # synthetic traffic, apart from the real
MAX_VALUES = 1_000  # per dimension
MAX_DIMENSIONS = 64

Pair = tuple[str, str]


class Segments:
    """Numbers the segments of a model version in order of their first event; 0 is the aggregate.

    Examples
    --------
    >>> segments = Segments()
    >>> segments.number("race", "White"), segments.number("race", "White"), segments.name(1), segments.name(0)
    (1, 1, {'race': 'White'}, {})

    """

    def __init__(self) -> None:
        self.pairs: list[Pair | None] = [None]
        self._numbers: dict[Pair, int] = {}
        self._values: dict[str, int] = {}  # dimension -> how many values
        self._listed: tuple[int, list[Ints]] = (0, [])  # what ``by_dimension`` found when there were so many segments

    def __len__(self) -> int:
        return len(self.pairs)

    def number(self, dimension: str, value: str) -> int:
        """Return the segment of a subgroup value, new or known; values and dimensions past the cap share one."""
        number = self._numbers.get((dimension, value))
        if number is not None:
            return number
        count = self._values.get(dimension, 0)
        if (count >= MAX_VALUES and value != OTHER) or (not count and len(self._values) >= MAX_DIMENSIONS and dimension != OTHER):
            return self.number(dimension if count else OTHER, OTHER)
        self._values[dimension] = count + 1
        self._numbers[dimension, value] = len(self.pairs)
        self.pairs.append((dimension, value))
        return len(self.pairs) - 1

    def name(self, number: int) -> dict[str, str]:
        """Return a segment as {dimension: value}; the aggregate is empty."""
        pair = self.pairs[number]
        return {} if pair is None else {pair[0]: pair[1]}

    def find(self, name: dict[str, str]) -> int | None:
        """Return the number of a segment; None: there is none of that name.

        >>> segments = Segments()
        >>> segments.find({}), segments.find({"race": "White"})
        (0, None)
        """
        return self._numbers.get(next(iter(name.items()))) if name else 0

    def is_probe(self, number: int) -> bool:
        """Say whether a segment holds synthetic traffic."""
        pair = self.pairs[number]
        return pair is not None and pair[0] == PROBE

    def has_probes(self) -> bool:
        """Say whether any segment holds synthetic traffic."""
        return PROBE in self._values

    def by_dimension(self) -> list[Ints]:
        """Return the segments of each dimension of real traffic; dimensions, and the segments of each, by name.

        >>> segments = Segments()
        >>> [segments.number("city", name) for name in ("Rome", "Oslo")]
        [1, 2]
        >>> segments.by_dimension()
        [array([2, 1])]
        """
        if self._listed[0] != len(self.pairs):
            of: dict[str, list[int]] = {}
            for (dimension, _), number in sorted(self._numbers.items()):
                if dimension != PROBE:
                    of.setdefault(dimension, []).append(number)
            self._listed = len(self.pairs), [np.array(numbers, dtype=np.int64) for numbers in of.values()]
        return self._listed[1]

    def overflown(self) -> list[int]:
        """Return the segments that gather what is beyond the caps.

        >>> segments = Segments()
        >>> [segments.number("city", str(i)) for i in range(MAX_VALUES + 2)][-2:], segments.overflown()
        ([1001, 1001], [1001])
        """
        return [number for dimension in self._values if (number := self._numbers.get((dimension, OTHER))) is not None]

    def real(self, numbers: Ints) -> npt.NDArray[np.bool_]:
        """Say of each segment whether it holds real traffic.

        >>> segments = Segments()
        >>> segments.real(np.array([0, segments.number(PROBE, "planted")])).tolist()
        [True, False]
        """
        if not self.has_probes():
            return np.ones(len(numbers), dtype=np.bool_)
        synthetic = [number for (dimension, _), number in self._numbers.items() if dimension == PROBE]
        return ~np.isin(numbers, synthetic)

    def meet(self, rows: Rows, where: Ints) -> npt.NDArray[np.int32] | None:
        """Give the segments of picked rows of real traffic their numbers, which go by the order of the log, as ``crowds`` does.

        Returns them where there are few rows: the aggregate first, then by dimension, NONE for none; shape (k, 1 + dimensions).
        """
        names = sorted(rows.dimensions)
        if len(where) > FEW:
            for name in names:
                there = np.zeros(len(rows.texts), dtype=np.bool_)
                there[rows.dimension(name) if len(where) == rows.n else rows.dimension(name)[where]] = True
                self._numbered(name, np.flatnonzero(there), rows.texts)
            return None
        members = np.zeros((len(where), 1 + len(names)), dtype=np.int32)
        for i, name in enumerate(names, 1):
            codes = rows.dimension(name)[where].tolist()
            number = {code: self.number(name, rows.texts[code]) if code else NONE for code in sorted(set(codes))}
            members[:, i] = [number[code] for code in codes]
        return members

    def crowds(self, rows: Rows, where: Ints) -> Crowds:
        """Return which of the picked rows lie in the same segments, and in which; new segments get their numbers.

        A probe lies in the segment of its kind only.
        """
        columns = [(name, rows.dimension(name)[where]) for name in sorted(rows.dimensions)]
        probe = rows.column("probe")[where] if "probe" in rows.columns else np.zeros(0, dtype=np.uint16)
        if probe.any():
            columns = [(name, np.where(probe == 0, codes, 0)) for name, codes in columns] + [(PROBE, probe)]
        few = len(where) <= FEW  # to look for crowds would cost more than they spare
        of = np.arange(len(where)) if few else np.zeros(len(where), dtype=np.int64)
        members = np.zeros((len(where) if few else 1, 1), dtype=np.int64)  # all of them in the aggregate
        for dimension, codes in columns:
            if few:
                used, which = distinct(codes)
                members = np.column_stack([members, self._numbered(dimension, used, rows.texts)[which]])
                continue
            used, code = np.arange(len(rows.texts)), codes.astype(np.int64)
            if len(members) * len(used) > len(codes):  # of few texts those that come are found with the crowds
                used, code = distinct(codes)
            found, of = distinct(of * len(used) + code)
            come, which = distinct(found % len(used))
            members = np.column_stack([members[found // len(used)], self._numbered(dimension, used[come], rows.texts)[which]])
        if probe.any():
            members[members[:, -1] != NONE, 0] = NONE
        return Crowds(of, members)

    def _numbered(self, dimension: str, codes: Ints, texts: list[str]) -> Ints:
        """Return the segment of each of some values of a dimension, by their place among the texts."""
        return np.array([self.number(dimension, texts[code]) if code else NONE for code in codes.tolist()], dtype=np.int64)

    def to_state(self) -> list[Any]:
        """Return the state as plain values."""
        return [list(pair) for pair in self.pairs[1:] if pair is not None]

    @classmethod
    def from_state(cls, state: list[Any]) -> "Segments":
        """Return the segments that ``to_state`` wrote."""
        segments = cls()
        for dimension, value in state:
            segments._values[dimension] = segments._values.get(dimension, 0) + 1
            segments._numbers[dimension, value] = len(segments.pairs)
            segments.pairs.append((dimension, value))
        return segments
