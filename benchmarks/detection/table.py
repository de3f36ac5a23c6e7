"""Tables with intervals."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

Floats = npt.NDArray[np.float64]


@dataclass
class Table:
    """A table in the making: what was measured under which conditions."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row."""
        self.rows.append(tuple(str(cell) for cell in cells))

    def markdown(self) -> str:
        """Write it."""
        lines = [f"### {self.title}", "", f"| {' | '.join(self.head)} |", f"|{'---|' * len(self.head)}"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes, ""])


def generator(row: str) -> np.random.Generator:
    """Return the row's own random numbers."""
    return np.random.default_rng(zlib.crc32(row.encode()))


def poisson(count: float, exposure: float) -> str:
    """Write a rate with its exact 95 % interval."""
    lo = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    hi = chi2.ppf(0.975, 2 * (count + 1)) / 2
    return f"{count / exposure:.3g} [{lo / exposure:.2g}, {hi / exposure:.2g}]"


def lower(count: float, exposure: float) -> float:
    """Return the lower end of that interval."""
    return float(chi2.ppf(0.025, 2 * count) / 2 / exposure) if count else 0.0


def upper(count: float, exposure: float) -> float:
    """Return the upper end of that interval."""
    return float(chi2.ppf(0.975, 2 * (count + 1)) / 2 / exposure)


def delays(found: Floats) -> str:
    """Write median and 90 % quantile of delays, NaN where a run missed, and the share of misses."""
    missed = np.isnan(found)
    filled = np.where(missed, np.inf, found)
    middle, late = (np.quantile(filled, q, method="higher") for q in (0.5, 0.9))
    text = " / ".join("missed" if np.isinf(x) else f"{x:,.0f}" for x in (middle, late))
    return text + (f", {100 * missed.mean():.0f} % missed" if missed.any() else "")


def ratio(ours: Floats, theirs: Floats, rng: np.random.Generator, of: Callable[[Floats], float] = np.median) -> tuple[float, float, float]:
    """Return the ratio of the medians of delays with its bootstrap interval (95 %); misses count as infinite."""
    a, b = (np.where(np.isnan(x), np.inf, x) for x in (ours, theirs))
    draws = [of(rng.choice(a, len(a))) / of(rng.choice(b, len(b))) for _ in range(1_000)]
    lo, hi = np.quantile(draws, (0.025, 0.975))
    return float(of(a) / of(b)), float(lo), float(hi)


def shown(three: Sequence[float]) -> str:
    """Write a value with its interval."""
    value, lo, hi = three
    return f"{value:.2f} [{lo:.2f}, {hi:.2f}]"


def verdict(reached: bool) -> str:
    """Write whether the aim was reached."""
    return "reached" if reached else "**missed**"
