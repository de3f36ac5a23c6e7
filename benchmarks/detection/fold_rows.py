"""Through join and fold, as in production: thin versions of what the other rows measure, default policy but where one is named."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.detection.table import Table, delays, generator
from detectors.bets import sigmoid
from detectors.budget import DAY_MS
from schemas.policy import parse_policy

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.stories import START_MS, Record, story
from support.stories import fold as run

DAYS, CHANGE, PER_DAY = 120, 70, 60
Floats = np.ndarray


@dataclass(frozen=True, kw_only=True)
class World:
    """What a story is made of; ``t`` is in days. The default is calm: scores are probabilities, labels come after a day on average."""

    logits: Callable[[np.random.Generator, Floats], Floats] = lambda rng, t: rng.normal(-1.5, 1.5, len(t))
    truth: Callable[[Floats, Floats, Floats], Floats] = lambda p, t, group: p  # of a positive
    delay: Callable[[Floats], Floats] = lambda y: np.full(len(y), 1.0)  # mean, days, by outcome
    traffic: Callable[[Floats], Floats] = lambda t: np.ones(len(t))  # share that is kept
    costs: Callable[[np.random.Generator, Floats], Floats] | None = None
    calm: bool = False  # nothing is to be found
    until: float = np.inf  # when the change is over
    policy: str = ""  # TOML; empty: the default one


def _turned(share: Callable[[Floats, Floats], Floats]) -> Callable[[Floats, Floats, Floats], Floats]:
    """Turn a share of outcomes round."""
    return lambda p, t, group: p + share(t, group) * (1 - 2 * p)


def _after(t: Floats, value: float, before: float = 0.0) -> Floats:
    return np.where(t >= CHANGE, value, before)


def _costs(often: float, more: float) -> Callable[[np.random.Generator, Floats], Floats]:
    def draw(rng: np.random.Generator, t: Floats) -> Floats:
        size = rng.lognormal(2.0, 1.5, len(t)) * _after(t, more, 1.0)
        return np.where(rng.random(len(t)) < _after(t, often, 0.1), size.round(2), 0.0)

    return draw


def _error(turned: float) -> float:
    """Return the error rate at a threshold of a half where a share of outcomes is turned round, exact to four digits."""
    z = np.linspace(-8, 8, 100_001)
    p = sigmoid(-1.5 + 1.5 * z)
    weight = np.exp(-z * z / 2)
    wrong = np.minimum(p, 1 - p)
    return round(float(((wrong + turned * (1 - 2 * wrong)) * weight).sum() / weight.sum()), 4)


WORLDS = {
    "nothing changes": World(calm=True),
    "errors of all, 4 % of outcomes turned → 12 %": World(truth=_turned(lambda t, g: _after(t, 0.12, 0.04))),
    "the same, the rate before it known by contract": World(
        truth=_turned(lambda t, g: _after(t, 0.12, 0.04)), policy=f"[models.m.watch.error]\nbaseline = {_error(0.04)}\n"
    ),
    "errors of a 10 % group, 0 → 25 % turned": World(truth=_turned(lambda t, g: _after(t, 0.25) * (g == 0))),
    "slope 0.7": World(truth=lambda p, t, g: sigmoid(np.log(p / (1 - p)) * _after(t, 0.7, 1.0))),
    "intercept +0.5": World(truth=lambda p, t, g: sigmoid(np.log(p / (1 - p)) + _after(t, 0.5))),
    "20 % of the confident wrong": World(
        truth=lambda p, t, g: np.where(np.maximum(p, 1 - p) > 0.9, p + _after(t, 0.2) * (1 - 2 * p), p),
    ),
    "costs twice as often": World(costs=_costs(0.2, 1.0)),
    "costs twice as large": World(costs=_costs(0.1, 2.0)),
    "scores +0.5 sd": World(logits=lambda rng, t: rng.normal(-1.5, 1.5, len(t)) + _after(t, 0.75)),
    "errors for 20 days, then as before": World(
        truth=_turned(lambda t, g: np.where((t >= CHANGE) & (t < CHANGE + 20), 0.2, 0.04)),
        until=CHANGE + 20,
    ),
    "positives' labels after 6 days, negatives' after 2; traffic halves": World(
        delay=lambda y: np.where(y, 6.0, 2.0), traffic=lambda t: _after(t, 0.5, 1.0), calm=True
    ),
    "errors more at night, day after day": World(truth=_turned(lambda t, g: 0.08 + 0.06 * np.sin(2 * np.pi * t)), calm=True),
    "errors more at weekends": World(truth=_turned(lambda t, g: np.where(t.astype(int) % 7 >= 5, 0.12, 0.04)), calm=True),
    "hours of trouble, 1 in 100": World(
        truth=_turned(lambda t, g: np.where((t * 24).astype(int) * 2_654_435_761 % 2**32 < 2**32 / 100, 0.4, 0.03)), calm=True
    ),
}


def told(world: World, rng: np.random.Generator) -> list[Record]:
    """Return a world's records in order of event time."""
    t = np.sort(rng.uniform(0, DAYS, DAYS * PER_DAY))
    t = t[rng.random(len(t)) < world.traffic(t)]
    group = rng.choice(4, len(t), p=[0.1, 0.2, 0.3, 0.4])
    p = sigmoid(world.logits(rng, t))
    y = rng.random(len(t)) < world.truth(p, t, group)
    at = START_MS + (t * DAY_MS).astype(np.int64)
    known = at + 1 + (rng.exponential(world.delay(y)) * DAY_MS).astype(np.int64)
    cost = world.costs(rng, t) if world.costs is not None else None
    records: list[Record] = []
    for i in range(len(t)):
        about = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i]), "score": round(float(p[i]), 4)}
        records.append((int(at[i]), "predictions", about | {"predicted_label": int(p[i] >= 0.5), "subgroups": {"group": f"g{group[i]}"}}))
        outcome = {"request_id": f"r{i}", "timestamp": int(known[i]), "true_label": int(y[i])}
        records.append((int(known[i]), "outcomes", outcome | ({} if cost is None else {"cost": float(cost[i])})))
    return sorted(records, key=lambda record: record[0])


def thinned(scale: float) -> Table:
    """Tell each world a few times: what is said before the change, whether it is found, and what the first word of it is."""
    runs = max(1, round(2 * scale))
    table = Table(
        f"Through the whole fold: {PER_DAY} predictions a day in 4 groups, change on day {CHANGE} of {DAYS}",
        (
            "what happens",
            "incidents where nothing had changed",
            "found",
            "median / p90 delay, days",
            "first named",
            "cleared after it was over",
        ),
    )
    for name, world in WORLDS.items():
        rng, before, found, named, cleared = generator(f"thinned, {name}"), 0, np.full(runs, np.nan), [], 0
        for number in range(runs):
            _, events = run(told(world, rng), policy=parse_policy(world.policy))
            days = [
                (event, (event.time_ms - START_MS) / DAY_MS - CHANGE) for event in events if event.type.value.startswith("gnomon.drift.")
            ]
            opened = [(event.data, day) for event, day in days if event.type.value == "gnomon.drift.opened"]
            before += sum(day < 0 or world.calm for _, day in opened)
            hits = [(data, day) for data, day in opened if day >= 0 and not world.calm]
            if hits:
                found[number] = hits[0][1]
                named.append(hits[0][0].metric)
                cleared += any(event.type.value == "gnomon.drift.cleared" and day >= world.until - CHANGE for event, day in days)
        some = int((~np.isnan(found)).sum())
        table.add(
            name,
            before,
            "" if world.calm else f"{some} of {runs}",
            "" if world.calm else delays(found),
            ", ".join(dict.fromkeys(named)),
            f"{cleared} of {some}" if np.isfinite(world.until) else "",
        )
    table.notes.append(f"{runs} runs a row; cleared: after the change was over.")
    return table


def fold(scale: float) -> Table:
    """Run a thinned version through join and fold, as in production: errors that rise, calm twins, default policy."""
    runs, change = max(1, round(8 * scale)), 60
    table = Table(
        "Through the whole fold: 60 predictions a day, labels after a day on average, change on day 60 of 120",
        ("errors", "incidents before the change", "found after it", "median / p90 delay, days"),
    )
    for after in (0.08, 0.16, 0.30):
        found, before = np.full(runs, np.nan), 0
        for seed in range(runs):
            _, events = run(story(seed=10_000 + seed, change_day=change, error_after=after))
            opened = [event for event in events if event.type.value == "gnomon.drift.opened"]
            at = [(event.time_ms - START_MS) / DAY_MS - change for event in opened]  # whichever monitor comes first: one incident
            before += sum(event.time_ms < START_MS + change * DAY_MS for event in opened)
            found[seed] = min((day for day in at if day > 0), default=np.nan)
        hits = int((~np.isnan(found)).sum())
        table.add(f"8 → {100 * after:g} %", before, f"{hits} of {runs}", delays(found) if after > 0.08 else "")
    table.notes.append(f"{runs} seeds a row, 10,000 and on.")
    return table
