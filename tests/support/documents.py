"""Made-up documents that a model wrote and people verified, and probes among real traffic."""

from typing import Any

import numpy as np
from support.stories import DAY_MS, START_MS, Record


def documents(
    *,
    seed: int,
    days: int = 90,
    per_day: int = 30,
    change_day: int | None = None,
    fails: float = 0.03,
    fails_after: float = 0.2,
    group_after: str | None = None,
    delay_days: float = 0.3,
    checks: int = 10,
    name: str = "citation",
    review_s: float = 60.0,
    probes: float = 0.0,
) -> list[Record]:
    """Records in order of event time. From ``change_day`` on more documents fail, in one group or in all; half of their checks do then."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    group = rng.choice(["a", "b"], n, p=[0.7, 0.3])
    rate = np.full(n, fails)
    if change_day is not None:
        rate[(at >= START_MS + change_day * DAY_MS) & ((group == group_after) | (group_after is None))] = fails_after
    total = rng.integers(1, checks + 1, n)
    bad = rng.random(n) < rate  # the whole document, half of its checks at least
    failed = np.where(bad, (total + 1) // 2, 0)
    known = at + (rng.exponential(delay_days, n) * DAY_MS).astype(np.int64) + 1
    kinds = rng.random(n) < probes
    records: list[Record] = []
    for i in range(n):
        made: dict[str, Any] = {"request_id": f"d{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i]), "score": 0.8}
        made |= {"subgroups": {"court": str(group[i])}}
        if kinds[i]:
            made["probe"] = "planted"
        records.append((int(at[i]), "predictions", made))
        seen = {"request_id": f"d{i}", "timestamp": int(known[i]), "checks": {name: [int(total[i] - failed[i]), int(total[i])]}}
        records.append((int(known[i]), "outcomes", seen | {"review_seconds": review_s + i % 7}))
    return sorted(records, key=lambda record: record[0])


def payments(
    *,
    seed: int,
    days: int = 56,
    per_day: int = 20,
    probes_per_day: int = 40,
    change_day: int | None = None,
    band_after: float = 0.0,
    caught: float = 0.9,
    caught_after: float = 0.4,
) -> list[Record]:
    """Payments with amounts, and planted frauds among them of which fewer are caught from ``change_day`` on where the amount is large."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for number, kind in enumerate(["real"] * per_day + ["card-testing"] * probes_per_day):
        for day in range(days):
            at = START_MS + day * DAY_MS + int(rng.integers(0, DAY_MS))
            amount = float(np.round(10 ** rng.uniform(0, 5), 2))
            made: dict[str, Any] = {
                "request_id": f"p{number}-{day}",
                "model_id": "m",
                "model_version": "1",
                "timestamp": at,
                "amount": amount,
            }
            if kind == "real":
                label = int(rng.random() < 0.1)
                made["score"] = 0.6 if rng.random() < (0.9 if label else 0.02) else 0.05
            else:
                changed = change_day is not None and day >= change_day and amount >= band_after
                label = 1
                made |= {"score": 0.6 if rng.random() < (caught_after if changed else caught) else 0.05, "probe": kind}
            records.append((at, "predictions", made))
            known = at + int(rng.exponential(0.2) * DAY_MS) + 1
            records.append((known, "outcomes", {"request_id": made["request_id"], "timestamp": known, "true_label": label}))
    return sorted(records, key=lambda record: record[0])
