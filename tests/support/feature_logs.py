"""Predictions with inputs, of which one changes."""

from typing import Any

import numpy as np
from support.stories import DAY_MS, START_MS, Record

CHANGE = 18


def inputs(what: str = "", *, seed: int = 1, days: int = 30, per_day: int = 120) -> list[Record]:
    """Predictions with an age, a site and an income, of which one changes on day 18."""
    rng, n = np.random.default_rng(seed), days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    late = at >= START_MS + CHANGE * DAY_MS
    age = rng.normal(50, 15, n) + np.where(late & (what == "age"), 15, 0)
    rare = rng.random(n) < np.where(late & (what == "site"), 0.35, 0.1)
    site = np.where(rare, "B", rng.choice(["A", "C"], n, p=[0.7, 0.3]))
    missing = rng.random(n) < np.where(late & (what in ("income", "gone")), 0.15, 0.01)
    score = rng.beta(1, 2, n).round(3)
    records: list[Record] = []
    for i in range(n):
        features: dict[str, Any] = {"age": float(age[i]), "site": str(site[i]), "income": None if missing[i] else float(i % 97)}
        if what == "gone" and missing[i]:
            del features["income"]
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i]), "score": float(score[i])}
        records.append((int(at[i]), "predictions", made | {"features": features}))
    return records
