"""Champion and challenger on the same requests."""

import numpy as np

from benchmarks.detection import races
from benchmarks.detection.table import Floats, Table, delays, generator, poisson, upper, verdict
from detectors.bets import DOWN, UP
from detectors.bets.rates import BET

A_DAY = 1_000  # requests with a label
DEPOSIT = 0.1 * 0.4 / 2 / 30 / A_DAY  # a page a month: a tenth of it, 40 % of that for a whole, half for each direction
CHAMPION = 0.10


def _pairs(rng: np.random.Generator, runs: int, challenger: float, common: float) -> races.Draw:
    """Draw (one alone wrong, the challenger alone wrong): with a share ``common`` of the requests both hang on one number."""
    together = common * max(challenger - CHAMPION, 0.0), common * max(CHAMPION - challenger, 0.0)
    apart = (1 - common) * challenger * (1 - CHAMPION), (1 - common) * CHAMPION * (1 - challenger)
    alone, other = together[0] + apart[0], together[1] + apart[1]

    def draw(changed: bool, n: int) -> Floats:
        counts = rng.multinomial(n, [alone, other, 1 - alone - other], runs)
        return np.stack([counts[:, 0] + counts[:, 1], counts[:, 0]], axis=1).astype(float)

    return draw


def _unpaired(rng: np.random.Generator, runs: int, challenger: float) -> races.Draw:
    """Draw as if the two answered requests of their own: a coin by mistakes of either, whose null is that the rates are alike."""

    def draw(changed: bool, n: int) -> Floats:
        own, theirs = rng.binomial(n, challenger, runs), rng.binomial(n, CHAMPION, runs)
        return np.stack([own + theirs, own], axis=1).astype(float)

    return draw


def challenger(scale: float) -> Table:
    """Tell 10 % from 8 % of errors by the same requests, and not tell 10 % from 10 %."""
    rng, runs = generator("challenger"), max(40, int(400 * scale))
    table = Table(
        "Champion with 10 % errors, challenger from the start, one page a month at 1,000 requests a day: median / p90 delay in requests",
        ("share of requests as hard for both", "9 %", "8 %", "5 %", "12 %", "10 %: false alarms a month"),
    )
    tables = {direction: np.tile(BET.table(np.array([0.5, 0.5]), direction), (runs, 1)) for direction in (UP, DOWN)}
    worst = 0.0

    def race(draw: races.Draw, direction: int, *, before: int = 0, after: int = 60_000) -> races.Race:
        return races.bank(BET, tables[direction], draw, deposit=DEPOSIT, before=before, after=after, batch=50)

    for common in (0.0, 0.5, 0.9):
        cells = [
            delays(race(_pairs(rng, runs, error, common), UP if error > CHAMPION else DOWN).found) for error in (0.09, 0.08, 0.05, 0.12)
        ]
        calm = [race(_pairs(rng, runs, CHAMPION, common), direction, before=100_000, after=0) for direction in (UP, DOWN)]
        months = calm[0].exposure / (30 * A_DAY)
        false = sum(each.false for each in calm)
        worst = max(worst, upper(false, months))
        table.add(f"{100 * common:.0f} %", *cells, poisson(false, months))
    apart = [delays(race(_unpaired(rng, runs, error), UP if error > CHAMPION else DOWN).found) for error in (0.09, 0.08, 0.05, 0.12)]
    table.add("each its own requests", *apart, "")
    table.notes.append(
        f"{runs} runs a cell, of 100,000 requests for false alarms. Allowed: 0.04 a month; upper bound of each: {verdict(worst <= 0.04)}."
    )
    return table
