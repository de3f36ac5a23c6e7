"""Segments: the aggregate, each subgroup value, and caps on how many there may be."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.fixed import Ints
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
        synthetic = [number for (dimension, _), number in self._numbers.items() if dimension == PROBE] if PROBE in self._values else []
        return ~np.isin(numbers, synthetic)

    def meet(self, rows: Rows, where: Ints) -> None:
        """Give the segments of picked rows of real traffic their numbers, which go by the order of the log, as ``memberships`` does."""
        for name in sorted(rows.dimensions):
            codes = set(rows.dimension(name)[where].tolist())
            for code in sorted(codes - {0}):
                self.number(name, rows.texts[code])

    def memberships(self, rows: Rows, where: Ints) -> tuple[Ints, Ints]:
        """Return which of the picked rows lie in which segments: positions in ``where``, and segment numbers, shape (memberships,).

        A probe lies in the segment of its kind only.
        """
        probe = rows.column("probe")[where]
        real = np.flatnonzero(probe == 0)
        positions, numbers = [real], [np.zeros(len(real), dtype=np.int64)]
        columns = [(name, rows.dimension(name)[where], real) for name in sorted(rows.dimensions)]
        if len(real) < len(where):
            columns.append((PROBE, probe.astype(np.uint32), np.flatnonzero(probe)))
        for dimension, codes, among in columns:
            picked = among[codes[among] != 0]
            values, inverse = np.unique(codes[picked], return_inverse=True)
            known = np.array([self.number(dimension, rows.texts[code]) for code in values.tolist()], dtype=np.int64)
            positions.append(picked)
            numbers.append(known[inverse])
        return np.concatenate(positions), np.concatenate(numbers)

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
