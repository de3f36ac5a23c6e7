"""Rows picked from a message; each column is cut out of it once."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.fixed import Floats, Ints
from schemas.scored import Kind, Rows


class Picked:
    r"""Columns of the picked rows of a message (``sums.Columns``).

    Parameters
    ----------
    rows
        The message.
    where
        Positions in it, ascending; shape (n,).

    Examples
    --------
    >>> Picked(Rows("m", [], 3, {"kind": b"\x01\x02\x03"}), np.array([0, 2])).column("kind").tolist()
    [1, 3]

    """

    def __init__(self, rows: Rows, where: Ints) -> None:
        self.n, self.texts, self.names = len(where), rows.texts, rows.columns.keys()
        self._rows, self._where = rows, where if len(where) < rows.n else slice(None)
        self._columns: dict[str, npt.NDArray[Any]] = {}
        self._scores: tuple[Floats, Ints] | None = None

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one column, shape (n,); not to be written to."""
        if name not in self._columns:
            self._columns[name] = self._rows.column(name)[self._where]
        return self._columns[name]

    def labelled_scores(self) -> tuple[Floats, Ints]:
        """Return the scores of labelled predictions that were not abstained, and where each stands among the picked rows."""
        if self._scores is None:
            score = self.column("score")
            scored = np.flatnonzero((self.column("kind") == Kind.LABEL) & np.isfinite(score) & (self.column("abstained") == 0))
            self._scores = score[scored], scored
        return self._scores
