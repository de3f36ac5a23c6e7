"""Event columns to cell rows: what each signed row adds to the sums of its pane.

One row in, one row of integers out, so that grouping is a plain sum. The low limb of a fixed-point sum holds the whole value; whoever
groups calls ``fixed.carry`` afterwards. Probes are rows like any other here: leave them out with ``where``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, CONFUSION, KNOWN, MADE, Layout
from detectors.fixed import LOSS_UNIT, SCORE_UNIT, Floats, Ints, to_fixed
from schemas.scored import Kind

CLIP = 1e-15  # log loss: probabilities are kept this far from 0 and 1
_CELLS: Ints = np.array([2, 3, 1, 0])  # by 2 * predicted + label
NOT_ACTED = frozenset({"overridden", "dismissed", "ignored"})

_Mask = npt.NDArray[np.bool_]


class Columns(Protocol):
    """Columns of equal length ``n`` by the names of ``schemas.scored.COLUMNS``; ``texts`` is what ``action`` points into."""

    @property
    def n(self) -> int:
        """How many rows there are."""

    @property
    def texts(self) -> list[str]:
        """The strings that index columns point into."""

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one column, shape (n,)."""


class Part(NamedTuple):
    """What n rows add to some columns of sums; to the others they add nothing.

    A term is a number of each row, and which of the columns it is added to: one, or for each row its own.

    Examples
    --------
    >>> part = Part(np.array([1, 3]), 2, [(0, np.array([5, 6])), (np.array([0, 1]), np.array([10, 10]))])
    >>> part.full(BIN).tolist(), part.grouped(np.array([0, 0]), 1).tolist()
    ([[0, 15, 0, 0], [0, 6, 0, 10]], [[21, 10]])

    """

    columns: Ints  # of their layout, shape (k,)
    n: int
    terms: list[tuple[int | Ints, Ints]]

    def add_to(self, out: Ints, which: Ints) -> None:
        """Add each row to the group that ``which`` says, shape (n,), of ``out``, shape (k, groups), C-contiguous."""
        for column, value in self.terms:
            if isinstance(column, int):
                np.add.at(out[column], which, value)
            else:
                np.add.at(out.reshape(-1), column * out.shape[1] + which, value)

    def grouped(self, which: Ints, groups: int) -> Ints:
        """Return the sums of the rows of each group, shape (groups, k)."""
        out = np.zeros((len(self.columns), groups), dtype=np.int64)
        self.add_to(out, which)
        return np.ascontiguousarray(out.T)

    def full(self, layout: Layout) -> Ints:
        """Return the rows with all columns of their layout, shape (n, width)."""
        out = layout.zeros(self.n)
        out[:, self.columns] = self.grouped(np.arange(self.n), self.n)
        return out


def whole(rows: Ints) -> Part:
    """Return rows that hold all columns of their layout."""
    return Part(np.arange(rows.shape[1]), len(rows), list(enumerate(rows.T)))


def log_loss(score: npt.ArrayLike, label: npt.ArrayLike) -> Floats:
    """Return the log loss of each event, the score clipped to [1e-15, 1 - 1e-15] first; any shape.

    >>> log_loss([0.5, 0.0], [1, 0]).round(4).tolist()
    [0.6931, 0.0]
    """
    score = np.clip(np.asarray(score, dtype=np.float64), CLIP, 1.0 - CLIP)
    return np.asarray(-np.log(np.where(np.asarray(label, dtype=bool), score, 1.0 - score)))


def made_sums(rows: Columns, where: npt.NDArray[Any] | slice = slice(None)) -> Part:
    r"""Return what each PREDICTION row adds to ``cells.MADE``, times its sign, n rows; other rows add nothing.

    An abstained prediction adds to ``n``, ``abstained``, ``alerted``, ``features``, ``missing`` and ``compute_cost`` only. ``where``
    picks rows (indexes, mask or slice).

    >>> from schemas.scored import Rows
    >>> rows = Rows("m", [], 1, {"kind": b"\x01", "predicted": b"\x01", "score": np.array([0.5]).tobytes()})
    >>> sums = made_sums(rows).full(MADE)
    >>> int(MADE.count(sums, "positive")[0]), float(MADE.total(sums, "score_squared")[0])
    (1, 0.25)
    """

    def column(name: str) -> npt.NDArray[Any]:
        return rows.column(name)[where]

    sign = column("sign").astype(np.int64) * (column("kind") == Kind.PREDICTION)
    abstained = column("abstained") != 0
    kept, negative = ~abstained, (column("predicted") == 0).astype(np.int64)
    positive = kept & (negative == 0)
    score, scored = _scores(column("score"), kept)
    amount, features, missing, compute_cost = (column(name) for name in ("amount", "features", "missing", "money"))
    out = _Out(MADE, sign)
    out.add("n", 1)
    if abstained.any():
        out.add("abstained", abstained)
    out.add("alerted", column("alerted"))
    out.add_one_of(("positive", "negative"), negative, kept)
    out.add("scored", scored)
    out.add("binary", kept & (column("binary") != 0))
    fixed = to_fixed(score, SCORE_UNIT)
    out.add("score", fixed)
    out.add("score_positive", fixed, positive)
    out.add("score_squared", to_fixed(score * score, SCORE_UNIT))
    out.add("loss_negative", to_fixed(log_loss(score, 0), LOSS_UNIT), scored)
    if features.any() or missing.any():
        out.add("features", features)
        out.add("missing", missing)
    if amount.any():
        out.add_one_of(("amount_positive", "amount_negative"), negative, amount, kept)
        out.add_one_of(("stake_positive", "stake_negative"), negative, np.rint(score * amount).astype(np.int64), kept)
    if compute_cost.any():
        out.add("compute_cost", compute_cost)
    return out.part()


def known_sums(rows: Columns, where: npt.NDArray[Any] | slice = slice(None)) -> Part:
    r"""Return what LABEL, DISPOSITION and COST rows add to ``cells.KNOWN``, times their sign, n rows; others add nothing.

    A label of an abstained prediction adds to ``abstained`` and ``abstained_wrong`` only. A disposition counts as ``disposed`` when it
    names an action, and as ``acted`` when that action is none of overridden, dismissed, ignored (in any case). ``where`` picks rows.

    >>> from schemas.scored import Rows
    >>> rows = Rows("m", [], 1, {"kind": b"\x02", "label": b"\x01", "score": np.array([0.5]).tobytes()})
    >>> sums = known_sums(rows).full(KNOWN)
    >>> int(KNOWN.count(sums, "fn")[0]), float(KNOWN.total(sums, "brier")[0])
    (1, 0.25)
    """

    def column(name: str) -> npt.NDArray[Any]:
        return rows.column(name)[where]

    kind = column("kind")
    labelled, disposed, costed = (kind == k for k in (Kind.LABEL, Kind.DISPOSITION, Kind.COST))
    kept = labelled & (column("abstained") == 0)
    predicted, label = column("predicted") != 0, column("label") != 0
    score, scored = _scores(column("score"), kept)
    amount, money = column("amount"), column("money")
    cell, matrix = confusion_cell(predicted, label), column("costed") == 0
    out = _Out(KNOWN, column("sign").astype(np.int64))
    by_matrix = kept & matrix
    out.add_one_of(CONFUSION, cell, kept)
    out.add_one_of([f"matrix_{name}" for name in CONFUSION], cell, by_matrix)
    if amount.any():
        out.add_one_of([f"amount_{name}" for name in CONFUSION], cell, amount, kept)
        out.add_one_of([f"matrix_amount_{name}" for name in CONFUSION], cell, amount, by_matrix)
    out.add("scored", scored)
    out.add("score", to_fixed(score, SCORE_UNIT))
    out.add("brier", to_fixed(np.square(score - label), SCORE_UNIT), scored)
    out.add("loss", to_fixed(log_loss(score, label), LOSS_UNIT), scored)
    out.add("score_squared", to_fixed(score * score, SCORE_UNIT))
    out.add("loss_negative", to_fixed(log_loss(score, 0), LOSS_UNIT), scored)
    out.add("delay_s", (column("known_at") - column("predicted_at")) // 1000, kept)
    abstained = labelled & ~kept
    if abstained.any():
        out.add("abstained", abstained)
        out.add("abstained_wrong", abstained & (predicted != label))
    if disposed.any():
        named, acted = _actions(rows.texts)
        action, review_ms = column("action"), column("review_ms")
        reviewed = disposed & (review_ms >= 0)
        out.add("disposed", disposed & named[action])
        out.add("acted", disposed & acted[action])
        out.add("reviewed", reviewed)
        out.add("review_ms", review_ms, reviewed)
        out.add("valued", disposed & ~matrix)
        out.add("value", money, disposed)
    if costed.any():
        out.add("realised", costed)
        out.add("realised_cost", money, costed)
    return out.part()


def bin_sums(rows: Columns, where: npt.NDArray[Any] | slice = slice(None)) -> Part:
    """Return what each PREDICTION or LABEL row adds to its cell of the calibration grid, layout ``cells.BIN``, n rows.

    Rows without a score and abstained ones add nothing. ``positive`` counts true labels, so a PREDICTION row leaves it at 0. Which cell
    it is: ``cells.grid_cell`` of the raw score.
    """

    def column(name: str) -> npt.NDArray[Any]:
        return rows.column(name)[where]

    kind = column("kind")
    labelled = kind == Kind.LABEL
    score, scored = _scores(column("score"), (column("abstained") == 0) & (labelled | (kind == Kind.PREDICTION)))
    out = _Out(BIN, column("sign").astype(np.int64))
    out.add("n", scored)
    if labelled.any():
        out.add("positive", scored & labelled & (column("label") != 0))
    out.add("score", to_fixed(score, SCORE_UNIT))
    return out.part()


class _Out:
    """Terms under construction; columns that nothing is added to stay out."""

    def __init__(self, layout: Layout, sign: Ints) -> None:
        self.layout, self.sign = layout, sign
        self.signed = not (sign == 1).all()
        self.columns: list[int] = []
        self.terms: list[tuple[int | Ints, Ints]] = []

    def add(self, name: str, value: npt.ArrayLike, mask: _Mask | None = None) -> None:
        self.add_one_of((name,), 0, value, mask)

    def add_one_of(self, names: Sequence[str], which: int | Ints, value: npt.ArrayLike, mask: _Mask | None = None) -> None:
        """Add each row's value to the column that ``which`` says of it."""
        signed = self.sign * np.asarray(value) if self.signed else np.asarray(value)
        signed = signed if mask is None else signed * mask
        self.terms.append((which + len(self.columns), np.broadcast_to(signed, self.sign.shape).astype(np.int64, copy=False)))
        self.columns += [self.layout.at[name] + (name in self.layout.sums) for name in names]  # a sum's low limb stands after its high one

    def part(self) -> Part:
        return Part(np.array(self.columns, dtype=np.int64), len(self.sign), self.terms)


def _scores(score: Floats, kept: _Mask) -> tuple[Floats, _Mask]:
    """Return the scores with 0 where there is none to count, and where there is one."""
    scored = kept & np.isfinite(score)
    return np.where(scored, score, 0.0), scored


def confusion_cell(predicted: _Mask, label: _Mask) -> Ints:
    """Return which cell of the confusion matrix each decision lies in, in the order of ``CONFUSION``.

    >>> confusion_cell(np.array([True, False]), np.array([False, False])).tolist()
    [1, 2]
    """
    return _CELLS.take(predicted.view(np.uint8) << 1 | label.view(np.uint8))


def _actions(texts: list[str]) -> tuple[_Mask, _Mask]:
    named = np.array([bool(text.strip()) for text in texts], dtype=np.bool_)
    refused = np.array([text.strip().lower() in NOT_ACTED for text in texts], dtype=np.bool_)
    return named, named & ~refused
