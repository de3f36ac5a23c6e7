"""Forecasts of decay: how often a model that does not decay would ask for retraining, and one that does."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.detection.table import Table
from detectors.baselines.wilson import wilson
from detectors.cells import KNOWN
from detectors.decay_forecast import foresee
from detectors.ladder import DAY_MS, WEEK_MS
from detectors.panes import SumTable
from schemas.policy import parse_policy

WITHIN_MS = 30 * DAY_MS


def asks(seed: int, *, weeks: int, labels: int, rate: float, limit: float, slope: float = 0.0, wander: float = 0.0) -> bool:
    """Say whether a model whose error rate changes by ``slope`` a week asks in its life; ``wander``: a week's own deviation of the rate."""
    rng = np.random.default_rng(seed)
    policy = parse_policy(f"[models.m]\n[models.m.decay]\nerror = {limit}\n").for_model("m")
    errors = rng.binomial(labels, np.clip(rate + slope * np.arange(weeks) + wander * rng.standard_normal(weeks), 0, 1))
    table, rows = SumTable(KNOWN), KNOWN.zeros(weeks)
    rows[:, KNOWN.at["fp"]], rows[:, KNOWN.at["tn"]] = errors, labels - errors
    table.add(np.arange(weeks), rows)
    version: Any = SimpleNamespace(
        model_id="m",
        name="1",
        mature_sums=SimpleNamespace(weeks=table),
        ladder=SimpleNamespace(weeks_since_ms=lambda _: 0),
        schedule=SimpleNamespace(first_ms=0),
    )
    for week in range(weeks):
        due_ms = (week + 1) * WEEK_MS
        ground = foresee(version, policy, week, due_ms)
        if ground is not None and ground.forecast is not None and ground.forecast.crosses_ms - WITHIN_MS < ground.forecast.fresh_until_ms:
            return True
    return False


def decay_forecast(scale: float) -> Table:
    """Look every week of a year where the error rate is going, as the fold does."""
    runs = max(20, round(2_000 * scale))
    table = Table(
        "A request before decay crosses its limit: error rate, 200 labels a week, a year of weekly looks, 30 days ahead",
        ("model", "limit", "asked", "share [95 %]"),
    )
    cases: tuple[tuple[str, float, dict[str, float]], ...] = (
        ("9 %, does not change", 0.12, {"rate": 0.09}),
        ("9 %, does not change", 0.10, {"rate": 0.09}),
        ("9 %, does not change, limit crossed already", 0.08, {"rate": 0.09}),
        ("9 %, weeks differ by 2 points", 0.12, {"rate": 0.09, "wander": 0.02}),
        ("6 → 12 % over the year", 0.12, {"rate": 0.06, "slope": 0.06 / 52}),
    )
    for name, limit, how in cases:
        n = sum(asks(50_000 + seed, weeks=52, labels=200, limit=limit, **how) for seed in range(runs))
        lo, hi = wilson(runs, n, 1.959964)
        table.add(name, f"{limit:.0%}", f"{n} of {runs}", f"{n / runs:.2%} [{lo:.2%}, {hi:.2%}]")
    table.notes.append("Seeds 50,000 and on.")
    return table
