"""Champion and challenger on the same requests."""

from typing import NamedTuple

import numpy as np

from benchmarks.detection import races
from benchmarks.detection.table import Floats, Table, delays, generator, poisson, upper, verdict
from detectors.bets import DOWN, UP, Bet
from detectors.bets.pairs import BET as SCORES
from detectors.bets.rates import BET

A_DAY = 1_000  # requests with a label
DEPOSIT = 0.1 * 0.4 / 2 / 30 / A_DAY  # a page a month: a tenth of it, 40 % of that for a whole, half for each direction
CHAMPION = 0.10
NOISE = 0.7  # of the champion's log odds, where scores are compared; those of the truth have a deviation of 1.5


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


class Story(NamedTuple):
    """A challenger: the noise in its log odds, and how much each of the two makes of them; ``same``: its noise is the champion's."""

    noise: float
    sure: tuple[float, float] = (1.0, 1.0)  # the champion, the challenger
    same: bool = False

    def said(self, rng: np.random.Generator, runs: int, n: int) -> tuple[Floats, Floats, Floats]:
        """Draw labels and log odds, the champion's and the challenger's, shape (runs, n)."""
        truth = rng.normal(0, 1.5, (runs, n))
        label = (rng.random((runs, n)) < 1 / (1 + np.exp(-truth))).astype(float)
        first = rng.normal(0, 1, (runs, n))
        second = first if self.same else rng.normal(0, 1, (runs, n))
        return label, self.sure[0] * (truth + NOISE * first), self.sure[1] * (truth + self.noise * second)

    def coins(self, rng: np.random.Generator, runs: int, n: int) -> Floats:
        """Draw (one alone wrong, the challenger alone wrong)."""
        label, *said = self.said(rng, runs, n)
        theirs, own = ((each > 0) != (label > 0) for each in said)
        return np.stack([(own ^ theirs).sum(axis=1), (own & ~theirs).sum(axis=1)], axis=1).astype(float)

    def squares(self, rng: np.random.Generator, runs: int, n: int) -> Floats:
        """Draw (requests, squared errors, the champion's, squares of their differences)."""
        label, *said = self.said(rng, runs, n)
        theirs, own = (np.square(1 / (1 + np.exp(-each)) - label) for each in said)
        return np.stack([np.full(runs, float(n)), own.sum(axis=1), theirs.sum(axis=1), np.square(own - theirs).sum(axis=1)], axis=1)

    def means(self, rng: np.random.Generator) -> tuple[str, str]:
        """Write error rates and Brier scores, of a million requests."""
        label, *said = self.said(rng, 1, 1_000_000)
        errors = (100 * float(((each > 0) != (label > 0)).mean()) for each in said)
        scores = (float(np.square(1 / (1 + np.exp(-each)) - label).mean()) for each in said)
        return " / ".join(f"{rate:.1f} %" for rate in errors), " / ".join(f"{score:.4f}" for score in scores)


STORIES = {
    "noise 0.6": (DOWN, Story(0.6)),
    "noise 0.4": (DOWN, Story(0.4)),
    "no noise": (DOWN, Story(0.0)),
    "noise 1.2": (UP, Story(1.2)),
    "the same answers; the champion is twice as sure": (DOWN, Story(NOISE, sure=(2.0, 1.0), same=True)),
}


def challenger_scores(scale: float) -> Table:
    """Tell better scores from worse by the same requests, and not tell equal ones."""
    rng, runs = generator("challenger_scores"), max(40, int(400 * scale))
    table = Table(
        f"Champion with noise of {NOISE} in its log odds, challenger from the start, one page a month at 1,000 requests a day: median / "
        "p90 delay in requests",
        ("challenger", "errors", "Brier score", "coin, where no scores are sent", "coin", "bet on the Brier score"),
    )

    def race(bet: Bet, draw: races.Draw, direction: int, deposit: float, *, before: int = 0, after: int = 60_000) -> races.Race:
        tables = np.tile(bet.table(np.full(bet.terms, 0.5), direction), (runs, 1))
        return races.bank(bet, tables, draw, deposit=deposit, before=before, after=after, batch=50)

    def bets(story: Story) -> list[tuple[Bet, races.Draw, float]]:
        def coins(changed: bool, n: int) -> Floats:
            return story.coins(rng, runs, n)

        def squares(changed: bool, n: int) -> Floats:
            return story.squares(rng, runs, n)

        return [(BET, coins, DEPOSIT), (BET, coins, DEPOSIT / 2), (SCORES, squares, DEPOSIT / 2)]

    for name, (direction, story) in STORIES.items():
        found = [delays(race(bet, draw, direction, deposit).found) for bet, draw, deposit in bets(story)]
        table.add(name, *story.means(rng), *found)
    alike = Story(NOISE)
    calm = [
        [race(bet, draw, direction, deposit, before=100_000, after=0) for direction in (UP, DOWN)] for bet, draw, deposit in bets(alike)
    ]
    months = calm[0][0].exposure / (30 * A_DAY)
    false = [sum(each.false for each in both) for both in calm]
    table.add("as good: false alarms a month", *alike.means(rng), *(poisson(count, months) for count in false))
    within = all(upper(count, months) <= allowed for count, allowed in zip(false, (0.04, 0.02, 0.02), strict=True))
    table.notes.append(
        f"{runs} runs a cell, of 100,000 requests for false alarms. Allowed: 0.04 a month for the coin alone, 0.02 for each of the two; "
        f"upper bound of each: {verdict(within)}. Errors and Brier scores: the champion's / the challenger's."
    )
    return table
