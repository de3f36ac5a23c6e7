"""Which class was taken for which, of models that answer with one of many classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detectors.baselines.wilson import wilson
from detectors.cells import Layout
from detectors.companions import Tally
from detectors.fixed import Ints
from detectors.model_version import ModelVersion
from detectors.panes import SumTable
from detectors.segments import OTHER
from detectors.state_version import expect_version
from detectors.statistics.clustered import Z_95
from schemas.drift import Interval
from schemas.policy_models import ModelPolicy
from schemas.report import ClassFigures, ClassPair, Confusion
from schemas.scored import Kind, Rows

STATE_VERSION = 1
MOST = 30  # classes that are told apart: the first that come; the rest is OTHER
_BITS = 5
_LAYOUT = Layout(counts=("n",), sums={})


class _Table:
    """The classes of one version by number, 0 being ``OTHER``, and how many labels there are by (true, predicted) class."""

    def __init__(self) -> None:
        self.names = [OTHER]
        self.counts = SumTable(_LAYOUT)
        self._numbers = {OTHER: 0}

    def number(self, name: str) -> int:
        """Return the number of a class, new or known; past the cap that of the rest."""
        if name not in self._numbers and len(self.names) <= MOST:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers.get(name, 0)

    def matrix(self) -> Ints:
        """Return the counts, shape (true, predicted); what a correction took back before it came is none."""
        out = np.zeros((len(self.names), len(self.names)), dtype=np.int64)
        out[self.counts.keys >> _BITS, self.counts.keys & ((1 << _BITS) - 1)] = self.counts.rows[:, 0]
        return np.maximum(out, 0)

    def to_state(self) -> list[Any]:
        """Return the state as plain values and bytes."""
        return [self.names, *self.counts.to_state()]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> "_Table":
        """Return the table that ``to_state`` wrote."""
        table = cls()
        for name in state[0]:
            table.number(name)
        table.counts = SumTable.from_state(_LAYOUT, state[1:])
        return table


class Classes(Tally):
    """Confusion of classes by version, of real traffic that did not abstain, over all labels known so far.

    Counts of integers: additive, revertible, and mergeable by the names of the classes. Predictions of 0 or 1, and of numbers, have none.
    """

    name = "classes"

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.versions: dict[str, _Table] = {}

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the labels of what was one of many classes."""
        if "said" not in rows.columns:
            return
        kept = (rows.column("kind")[where] == Kind.LABEL) & (rows.column("said")[where] != 0)
        where = where[kept & (rows.column("probe")[where] == 0) & (rows.column("abstained")[where] == 0)]
        pairs = np.stack([rows.column("truth")[where], rows.column("said")[where]], axis=1).astype(np.int64)
        version, sign = rows.column("version")[where], rows.column("sign")[where].astype(np.int64)
        for code in np.unique(version).tolist():
            mine = version == code
            table = self.versions.setdefault(rows.versions[code], _Table())
            used, first, which = np.unique(pairs[mine].ravel(), return_index=True, return_inverse=True)
            numbers = np.zeros(len(used), dtype=np.int64)
            for place in np.argsort(first).tolist():  # in the order in which they come, however the log is cut
                numbers[place] = table.number(rows.texts[int(used[place])])
            true, said = numbers[which].reshape(-1, 2).T
            table.counts.add(true << _BITS | said, sign[mine][:, np.newaxis])

    def report(self, version: ModelVersion) -> Confusion | None:
        """Return the confusion of a version, the most frequent first."""
        table = self.versions.get(version.name)
        return None if table is None else confusion(table.names, table.matrix())

    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values and bytes; versioned."""
        if not self.versions:
            return None
        return {"version": STATE_VERSION, "versions": {name: table.to_state() for name, table in sorted(self.versions.items())}}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If it is of another version.

        """
        expect_version(state, STATE_VERSION, "a state of classes")
        self.versions = {name: _Table.from_state(table) for name, table in state["versions"].items()}


def confusion(names: Sequence[str], matrix: Ints) -> Confusion | None:
    """Return recall and precision by class with Wilson's 95 % intervals, and the pairs of (true, predicted); None: nothing is known.

    Parameters
    ----------
    names, matrix
        The classes, and counts by (true, predicted); shapes (k,), (k, k).

    Examples
    --------
    >>> found = confusion(["cat", "dog"], np.array([[8, 2], [0, 5]]))
    >>> [(each.name, each.recall.value, round(each.precision.value, 3)) for each in found.classes]
    [('cat', 0.8, 1.0), ('dog', 1.0, 0.714)]
    >>> [(pair.true, pair.predicted, pair.n) for pair in found.pairs]
    [('cat', 'cat', 8), ('dog', 'dog', 5), ('cat', 'dog', 2)]

    """
    if not matrix.any():
        return None
    true, said, right = matrix.sum(axis=1).tolist(), matrix.sum(axis=0).tolist(), matrix.diagonal().tolist()
    order = sorted((i for i in range(len(names)) if true[i] or said[i]), key=lambda i: (-true[i], -said[i], names[i]))
    pairs = sorted(
        zip(*(each.tolist() for each in matrix.nonzero()), strict=True), key=lambda at: (-matrix[at], names[at[0]], names[at[1]])
    )
    return Confusion(
        n=int(matrix.sum()),
        classes=[
            ClassFigures(
                name=names[i],
                n=true[i],
                predicted=said[i],
                recall=None if names[i] == OTHER else _rate(right[i], true[i]),  # one of the rest may have been taken for another
                precision=None if names[i] == OTHER else _rate(right[i], said[i]),
            )
            for i in order
        ],
        pairs=[ClassPair(true=names[i], predicted=names[j], n=int(matrix[i, j])) for i, j in pairs],
    )


def _rate(right: int, n: int) -> Interval | None:
    if not n:
        return None
    lo, hi = wilson(n, right, Z_95)
    return Interval(value=right / n, lo=lo, hi=hi, n=n)


COMPANION = Classes
