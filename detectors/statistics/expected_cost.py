"""The expected cost of decisions, before labels."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import MONEY_UNIT, SCORE_UNIT, Ints
from detectors.statistics.cost import expected_costs
from detectors.statistics.decision_cost import amounts_of, matrix_of
from detectors.statistics.exact import ExactMetric, bounded, same_length, scores_of
from detectors.statistics.ratio import ratio

_ACTIONS = ("positive", "negative")


class ExpectedCost(ExactMetric):
    """Mean expected cost of decisions if the scores are believed: known before any label.

    Additive, mergeable, revertible: counts, scores and amounts per action. The decision is positive from ``threshold`` on. ``update`` takes
    the true label, as River does, and does not look at it.

    Parameters
    ----------
    tp, fp, tn, fn
        As of ``DecisionCost``.
    threshold
        Scores from here on are predicted positive.
    regret
        Return the expected regret: mean expected cost beyond that of the other action for all of a kind.
    pos_val
        The label that counts as positive.

    References
    ----------
    Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.

    Examples
    --------
    >>> cost = ExpectedCost(fp=5, fn="amount")
    >>> cost.update(None, 0.2, amount=100)  # let through: 0.2 * 100
    >>> cost.update(None, 0.8, amount=100)  # blocked: 0.2 * 5
    >>> cost
    ExpectedCost: 10.5

    """

    layout = Layout(
        counts=_ACTIONS,
        sums={f"score_{action}": SCORE_UNIT for action in _ACTIONS}
        | {f"{what}_{action}": MONEY_UNIT for what in ("amount", "stake") for action in _ACTIONS},
    )

    def __init__(
        self,
        tp: object = 0,
        fp: object = 1,
        tn: object = 0,
        fn: object = 1,
        *,
        threshold: float = 0.5,
        regret: bool = False,
        pos_val: object = True,
    ) -> None:
        self.tp, self.fp, self.tn, self.fn = tp, fp, tn, fn
        self.threshold = float(bounded([threshold], "a threshold", 0.0, 1.0)[0])
        self.regret = regret
        self._matrix = matrix_of(tp, fp, tn, fn)
        super().__init__(pos_val)

    def _events(self, y_true: Any, y_pred: Any, amount: Any = None) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        score = scores_of(y_pred, self.pos_val)
        stake = amounts_of(amount, len(score))
        same_length([score, stake, np.asarray(y_true)])
        values: dict[str, npt.ArrayLike] = {}
        for action, mask in zip(_ACTIONS, (score >= self.threshold, score < self.threshold), strict=True):
            values |= {action: mask, f"score_{action}": score * mask}
            values |= {f"amount_{action}": stake * mask, f"stake_{action}": score * stake * mask}
        return None, values

    def get(self) -> float:
        """Return the mean expected cost or regret; NaN before the first event."""
        (n1, n0), (p1, p0) = [self._count(a) for a in _ACTIONS], [self._total(f"score_{a}") for a in _ACTIONS]
        (a1, a0), (s1, s0) = ([self._total(f"{what}_{action}") for action in _ACTIONS] for what in ("amount", "stake"))
        counts: dict[str, Any] = {"tp": p1, "fp": n1 - p1, "fn": p0, "tn": n0 - p0}
        amounts: dict[str, Any] = {"tp": s1, "fp": a1 - s1, "fn": s0, "tn": a0 - s0}
        return float(ratio(expected_costs(self._matrix, counts, amounts)[self.regret], n1 + n0))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"fp": 5, "fn": "2 + 0.5*amount", "threshold": 0.3, "regret": regret} for regret in (False, True)]
