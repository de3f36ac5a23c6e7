"""Streams that two or more versions of a model answer: the same requests, mistakes that hang together, one label for all."""

from collections.abc import Mapping

import numpy as np
from support.stories import DAY_MS, START_MS, Record


def rivals(
    *,
    seed: int,
    errors: Mapping[str, float],
    days: int = 60,
    per_day: int = 100,
    common: float = 0.5,
    after: Mapping[str, float] | None = None,
    change_day: int = 0,
    delay_days: float = 0.5,
    positive_delay_days: float | None = None,
) -> list[Record]:
    """Records in order of event time; ``errors`` by version, from ``change_day`` on ``after``.

    A share ``common`` of the requests is as hard for every version: whether it is wrong there hangs on one draw. Labels come after
    exponential delays, those of positives after others where ``positive_delay_days`` says so.
    """
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    label = rng.random(n) < 0.3
    shared, together = rng.random(n), rng.random(n) < common
    delay = (
        rng.exponential(delay_days, n)
        if positive_delay_days is None
        else rng.exponential(1, n) * np.where(label, positive_delay_days, delay_days)
    )
    known = at + (delay * DAY_MS).astype(np.int64) + 1_000
    records: list[Record] = []
    for version, before in errors.items():
        rate = np.where(at >= START_MS + change_day * DAY_MS, (after or errors)[version], before)
        wrong = np.where(together, shared, rng.random(n)) < rate
        predicted = label ^ wrong
        score = np.where(predicted, rng.uniform(0.5, 1, n), rng.uniform(0, 0.5, n)).round(3)
        for i in range(n):
            made = {"request_id": f"r{i}", "model_id": "m", "model_version": version, "timestamp": int(at[i])}
            records.append((int(at[i]), "predictions", made | {"score": float(score[i]), "predicted_label": int(predicted[i])}))
    records += [
        (int(known[i]), "outcomes", {"request_id": f"r{i}", "timestamp": int(known[i]), "true_label": int(label[i])}) for i in range(n)
    ]
    return sorted(records, key=lambda record: record[0])


def sharpened(
    *,
    seed: int,
    sure: Mapping[str, float],
    noise: Mapping[str, float] | None = None,
    days: int = 60,
    per_day: int = 100,
    after: Mapping[str, float] | None = None,
    change_day: int = 0,
) -> list[Record]:
    """Records in order of event time, of versions that say the chance of a positive ``sure`` times as surely as it is, in log odds.

    Versions that differ in it alone draw the same line at a half, and so err on the same requests. ``noise`` is of their log odds,
    by version. From ``change_day`` on they are as sure as ``after`` says.
    """
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    logit = rng.normal(0, 1.5, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    known = at + (rng.exponential(0.5, n) * DAY_MS).astype(np.int64) + 1_000
    records: list[Record] = []
    for version, before in sure.items():
        times = np.where(at >= START_MS + change_day * DAY_MS, (after or sure)[version], before)
        said = times * (logit + (rng.normal(0, noise[version], n) if noise else 0.0))
        score = (1 / (1 + np.exp(-said))).round(4)
        for i in range(n):
            made = {"request_id": f"r{i}", "model_id": "m", "model_version": version, "timestamp": int(at[i])}
            records.append((int(at[i]), "predictions", made | {"score": float(score[i]), "predicted_label": int(said[i] > 0)}))
    records += [
        (int(known[i]), "outcomes", {"request_id": f"r{i}", "timestamp": int(known[i]), "true_label": int(label[i])}) for i in range(n)
    ]
    return sorted(records, key=lambda record: record[0])
