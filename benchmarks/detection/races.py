"""Many runs at once: a change after so many events, and when each detector says so."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from river import drift
from scipy.sparse import csr_matrix, identity
from scipy.sparse.linalg import spsolve

from detectors.bets import Bet
from detectors.kernel import crossed, grow

Floats = npt.NDArray[np.float64]
Draw = Callable[[bool, int], Floats]  # (changed, events) -> observations of all runs, shape (runs, width)


@dataclass
class Race:
    """Delays in events, NaN where missed, shape (runs,); false alarms in ``exposure`` events before the change."""

    found: Floats
    false: int
    exposure: float


def bank(bet: Bet, tables: Floats, draw: Draw, *, deposit: float, before: int, after: int, batch: int, before_batch: int = 100) -> Race:
    """Run the kernel of the evidence bank; ``deposit`` is per event. Delays are whole batches."""
    runs, false = len(tables), 0
    log_r, found = np.full((runs, bet.stakes), -np.inf), np.full(runs, np.nan)
    for _ in range(before // before_batch):
        log_r = grow(log_r, np.full(runs, deposit * before_batch), bet.log_factors(draw(False, before_batch), tables))
        fired = crossed(log_r)
        false += len(fired)
        log_r[fired] = -np.inf
    for step in range(after // batch):
        log_r = grow(log_r, np.full(runs, deposit * batch), bet.log_factors(draw(True, batch), tables))
        now = crossed(log_r)
        found[now] = np.fmin(found[now], (step + 1.0) * batch)
        if not np.isnan(found).any():
            break
    return Race(found, false, float(runs * (before // before_batch) * before_batch))


class Told:
    """A bet that is told the change: one alternative, the truth. Observations are its log likelihood ratios, shape (runs, 1)."""

    stakes = 1

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the observations."""
        return obs


def told(draw: Draw, *, runs: int, deposit: float, after: int, batch: int) -> Race:
    """Run the recursion with the true law before and the true law after: what nobody can beat by much at this rate of false alarms."""
    return bank(Told(), np.zeros((runs, 0)), draw, deposit=deposit, before=0, after=after, batch=batch)  # type: ignore[arg-type]


def cusum(p0: float, p1: float, threshold: float, rng: np.random.Generator, *, runs: int, before: int, after: int) -> Race:
    """Run Page's CUSUM of a Bernoulli rate, the change known to it."""
    up, down = np.log(p1 / p0), np.log((1 - p1) / (1 - p0))
    state, found, false = np.zeros(runs), np.full(runs, np.nan), 0
    for step in range(before + after):
        changed = step >= before
        state = np.maximum(state, 0.0) + np.where(rng.random(runs) < (p1 if changed else p0), up, down)
        fired = state >= threshold
        if not changed:
            false += int(fired.sum())
            state[fired] = 0.0
        else:
            found = np.where(np.isnan(found) & fired, step - before + 1.0, found)
            if not np.isnan(found).any():
                break
    return Race(found, false, float(runs * before))


def cusum_threshold(p0: float, p1: float, rate: float, cells: int = 1_500) -> float:
    """Return the threshold at which the CUSUM gives so many false alarms an event: a Markov chain on a fine grid, by bisection.

    Brook & Evans, Biometrika 59 (1972).
    """
    up, down = np.log(p1 / p0), np.log((1 - p1) / (1 - p0))

    def run_length(h: float) -> float:
        at, here = (np.arange(cells) + 0.5) * h / cells, np.arange(cells)
        moves = csr_matrix((cells, cells))
        for chance, step in ((1 - p0, down), (p0, up)):
            to = np.maximum((at + step) / h * cells - 0.5, 0.0)  # shared by the two nearest cells, so that the mean is exact
            for cell, part in ((np.floor(to), 1 - to % 1), (np.floor(to) + 1, to % 1)):
                stays = cell < cells
                moves += csr_matrix((chance * part[stays], (here[stays], cell[stays].astype(int))), (cells, cells))
        return float(spsolve((identity(cells) - moves).tocsc(), np.ones(cells))[0])

    low, high = 1.0, 30.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if run_length(middle) < 1 / rate else (low, middle)
    return high


def river(make: Callable[[], object], values: Callable[[int, bool], list[float]], *, runs: int, before: int, after: int) -> Race:
    """Run one of River's detectors, event by event: its drift after a change, and those before it."""
    found, false = np.full(runs, np.nan), 0
    for run in range(runs):
        detector: drift.ADWIN = make()  # type: ignore[assignment]  # any detector of River's
        update = detector.update
        for value in values(before, False):
            update(value)
            false += detector.drift_detected
        for place, value in enumerate(values(after, True)):
            update(value)
            if detector.drift_detected:
                found[run] = place + 1.0
                break
    return Race(found, false, float(runs * before))
