"""Bets: what evidence is made of. One file a bet, found by itself.

A module of this folder that has a ``BET`` is a bet (one that has ``BETS``, several); the families it serves (what is watched, and in
which direction) are declared beside it in ``BET.families``. A bet turns the integer cells of a pane into an *observation* (a row of
floats that adds up over panes), fits a null from the observations of a baseline, and gives for each of its ``stakes`` alternatives the log
of a factor whose expectation under that null is at most one. Everything else (deposits, mixing, onset, alarms) is the same for all and
lives in ``detectors.panel``.
"""

import importlib
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import numpy as np

from detectors.baselines.wilson import Z_90, sequence, wilson
from detectors.fixed import Floats
from detectors.reading import Reading
from schemas.policy_models import ModelPolicy

UP, DOWN = 1, -1


@dataclass(frozen=True, kw_only=True)
class Family:
    """One watched quantity. ``n`` and ``x`` are sums of named counts (``made.`` or ``known.`` and the column), for rates."""

    name: str
    kind: str  # of an incident: what changed
    noun: str  # in a sentence: "the ... of car-loan rose"
    look: str  # where to look first
    directions: tuple[int, ...] = (UP,)
    needs_labels: bool = True  # False: read at age 0
    groups: bool = True  # False: aggregate only
    opt_in: bool = False
    mature_only: bool = False  # only the last rung, where the known labels are not a biased part
    tolerance: float = 0.2
    watch: str = ""  # its table in a policy, where that is not its own name
    n: Mapping[str, int] = field(default_factory=dict)
    x: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A frozen baseline: the null's terms, shape (terms,), the estimate with its 90 % interval, and a remark for people."""

    null: Floats
    value: float
    lo: float
    hi: float
    n: float
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Enough:
    """How much a baseline needs before its monitor may page."""

    labels: int = 200
    failures: int = 20
    plenty: int = 10_000  # labels that make up for failures not seen
    days: float = 28.0
    outcome_days: float = 5.0
    share: float = 1.0  # of one page in 30 days that the budget allows, at most 1; bounds fail in proportion to it
    seasonal: bool = True  # learn the hour of the week where a bet can follow it


def enough_for(policy: ModelPolicy, part: float = 1.0) -> Enough:
    """Return what a policy asks of baselines whose monitors may spend a part of its budget.

    >>> from schemas.policy_models import Budget
    >>> enough_for(ModelPolicy(budget=Budget(pages=0.5, days=30))).share, enough_for(ModelPolicy(), part=0.2).share
    (0.5, 0.2)
    """
    learn, budget = policy.baseline, policy.budget
    share = min(1.0, part * 30 * budget.pages / budget.days)
    return Enough(labels=learn.labels, failures=learn.failures, days=learn.days, seasonal=learn.seasonal, share=share)


class Bet(ABC):
    """The interface of a bet. Arrays in, arrays out; ``k`` monitors at a time; no state of its own."""

    name: ClassVar[str]
    width: ClassVar[int]  # columns of an observation
    terms: ClassVar[int]  # columns of a null
    stakes: ClassVar[int]  # alternatives that are mixed, with equal weight
    families: ClassVar[tuple[Family, ...]]
    shaped: ClassVar[bool] = False  # whether the clear test must know the observation since the onset, not its mean alone
    seasonal: ClassVar[bool] = False  # whether its null can follow the hour of the week
    relative: ClassVar[bool] = False  # whether it compares groups with the rest: none of the whole, and a contract is for each group
    tallied: ClassVar[int] = 3  # columns of a tally

    @abstractmethod
    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return observations, shape (families, segments, width)."""

    @abstractmethod
    def size(self, obs: Floats) -> Floats:
        """Return how many events observations shaped (..., width) hold, shape (...)."""

    @abstractmethod
    def fault(self, obs: Floats) -> str:
        """Return what is wrong with observations, or an empty string."""

    @abstractmethod
    def series(self, obs: Floats) -> Floats:
        """Return (sum, weight) for the test of over-dispersion, shape (k, 2)."""

    def unseries(self, series: Floats) -> Floats:
        """Return the observations that a ``series`` stands for, shape (k, width); for seasonal bets."""
        raise NotImplementedError

    @abstractmethod
    def dispersion(self, total: Floats) -> float:
        """Return the variance of a ``series`` sum per unit of its weight, from the total observation, shape (width,)."""

    @abstractmethod
    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether a baseline's total observation holds enough to be frozen."""

    @abstractmethod
    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Return the null that a baseline's total observation supports.

        ``parent`` is the aggregate's null, for a group; ``bound`` is how many standard errors the null lies beyond the estimate, where a
        bet has no bound of its own.
        """

    @abstractmethod
    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return the interval to show beside the expected mean of a change."""

    def along(self, value: float, lo: float, hi: float, expected: float) -> tuple[float, float]:
        """Return the interval of a value, moved to what is expected; as it is where the bet knows no better."""
        return lo, hi

    @abstractmethod
    def table(self, null: Floats, direction: int) -> Floats:
        """Return what ``log_factors`` needs to know of one monitor's null: a row of floats."""

    @abstractmethod
    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""

    @abstractmethod
    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (events, sum, expected sum, ...) in the sense of each alternative, shape (k, stakes or 1, tallied)."""

    @abstractmethod
    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return the size of a change in units of the tolerance's scale; positive in the direction watched."""

    @abstractmethod
    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Say whether a change since its onset is worth a page."""

    @abstractmethod
    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Return the table of the test whose null is that the change is still there, with ``mean``.

        ``seen`` is the observation since the onset, for a bet that is ``shaped``.
        """

    @abstractmethod
    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of that test for one observation, shape (alternatives,)."""

    @abstractmethod
    def contract(self, value: float) -> Fit | None:
        """Return the null that a contract value stands for, or None where it makes no sense."""

    def mean(self, obs: Floats) -> float:
        """Return the mean of one observation, shape (width,), of some events; of bets that have means."""
        raise NotImplementedError

    def seasoned(self, table: Floats, factors: Floats) -> Floats:
        """Return tables, shape (k, columns), of nulls that are so many times as large, shape (k,); for seasonal bets."""
        return table

    def clear_seasoned(self, table: Floats, factor: float) -> Floats:
        """Return the table of the clear test likewise."""
        return table

    def direction(self, direction: int, stake: int) -> str:
        """Return up, down or both: the direction of a change that an alternative stands for."""
        return "up" if direction == UP else "down"

    def describe(self, stake: int, null: Floats | None = None) -> str:
        """Say in a few words what an alternative stands for under a null; empty if the direction says it all."""
        return ""

    def figure(self, total: Floats, table: Floats) -> str:
        """Give one more figure for people, of the total observation since an alarm; empty if there is none."""
        return ""

    def rates(self, sums: Floats) -> tuple[float, float] | None:
        """Return the rates whose difference a summed tally stands for; None where it stands for itself."""
        return None

    def spread(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return the 90 % interval of the mean of a summed tally, shape (tallied,), of whose events ``phi`` count as one."""
        return wilson(float(sums[0]) / phi, float(sums[1]) / phi)

    def sequence(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return the 95 % interval of such a mean that may be looked at at any time."""
        return sequence(float(sums[0]) / phi, float(sums[1]) / phi)


def sigmoid(z: Floats) -> Floats:
    """Return 1 / (1 + exp(-z)) without overflow.

    >>> sigmoid(np.array([0.0, 800.0, -800.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)))


def odds(p: float) -> float:
    """Return p / (1 - p) of a probability kept within 1e-6 of the ends."""
    p = min(max(p, 1e-6), 1 - 1e-6)
    return p / (1 - p)


def scaled(value: float, lo: float, hi: float, expected: float) -> tuple[float, float]:
    """Return the interval of a value times what is expected over the value; as it is if that is the same.

    >>> scaled(0.5, 0.25, 0.75, 0.25), scaled(0.0, 0.0, 0.1, 0.2)
    ((0.125, 0.375), (0.0, 0.1))
    """
    if value <= 0 or math.isclose(value, expected, rel_tol=1e-9):
        return lo, hi
    return lo * expected / value, hi * expected / value


@cache
def discover() -> dict[str, Bet]:
    """Return every bet of this folder by name, in the order of the names.

    >>> {"calibration", "rates"} <= set(discover())
    True
    """
    found: dict[str, Bet] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda item: item.name):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        for bet in (*getattr(loaded, "BETS", ()), getattr(loaded, "BET", None)):
            if isinstance(bet, Bet):
                found[bet.name] = bet
    return found
