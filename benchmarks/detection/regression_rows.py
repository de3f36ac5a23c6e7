"""Numbers and their intervals: how soon lost coverage and larger errors are found, by the whole bank with baselines it learns itself."""

from functools import cache

import numpy as np

from benchmarks.detection.table import Table, delays, generator, poisson
from detectors.bank import Bank, StepContext
from detectors.budget import DAY_MS
from detectors.cells import BIN, KNOWN, MADE, PANE_GRID, grid_cell
from detectors.error_cells import A_ROW, FINE, ROWS, error_cell
from detectors.fixed import SCORE_UNIT, carry, to_fixed
from detectors.reading import Reading
from detectors.signals import Alarm
from schemas.policy_models import DEFAULT_FAMILIES, FAMILIES, ModelPolicy, WatchPolicy

PER_DAY, BEFORE, AFTER, LEVEL = 100, 90, 60, 0.9
POLICY = ModelPolicy(watch={name: WatchPolicy(enabled=name in (*DEFAULT_FAMILIES, "regression")) for name in FAMILIES})
LAWS = {"normal": lambda rng, n: rng.normal(0, 1, n), "Student's t, 3 degrees": lambda rng, n: rng.standard_t(3, n)}
CHANGES = {  # errors so many times as large; the share that intervals hold, of errors so many times as large
    "nothing changes": (1.0, LEVEL, 1.0),
    "intervals hold 80 % where they say 90": (1.0, 0.8, 1.0),
    "errors 1.5 times as large, intervals with them": (1.5, LEVEL, 1.5),
    "errors 1.5 times as large, intervals as before": (1.5, LEVEL, 1.0),
    "errors two thirds as large, intervals with them": (2 / 3, LEVEL, 2 / 3),
}


@cache
def _half(law: str, share: float) -> float:
    """Return half the width of an interval that holds a share of the errors."""
    return float(np.quantile(np.abs(LAWS[law](generator(f"half, {law}"), 1_000_000)), share))


def _day(rng: np.random.Generator, day: int, law: str, scale: float, half: float) -> Reading:
    """Return one day's labels: errors so many times as large, intervals of so much on either side."""
    n = int(rng.poisson(PER_DAY))
    error = LAWS[law](rng, n) * scale
    held = int((np.abs(error) <= half).sum())
    made, known = MADE.zeros(1), KNOWN.zeros(1)
    made[0, [MADE.at[name] for name in ("n", "positive", "scored")]] = n
    known[0, [KNOWN.at[name] for name in ("tp", "fp", "scored")]] = held, n - held, n
    bins = np.zeros((1, PANE_GRID, BIN.width), dtype=np.int64)
    cell = int(grid_cell(np.array([LEVEL]), PANE_GRID)[0])
    bins[0, cell, : BIN.at["score"]] = n, held
    bins[0, cell, BIN.at["score"] + 1] = n * int(to_fixed(LEVEL, SCORE_UNIT))
    start = day * DAY_MS
    return Reading(
        rung=1, age_ms=DAY_MS, start_ms=start, end_ms=start + DAY_MS, due_ms=start + 2 * DAY_MS, mature=True, segments=np.array([0]),
        made=made, known=known, made_bins=np.zeros_like(bins), known_bins=carry(bins, BIN.first_high),
        errors=np.bincount(error_cell(error), minlength=FINE).reshape(1, ROWS, A_ROW),
    )  # fmt: skip


def regression(scale: float) -> Table:
    """Change on day 90: what fires first, when, and how often before."""
    runs = max(2, round(40 * scale))
    table = Table(
        f"Regression: {PER_DAY} numbers a day with intervals of 90 %, labels after a day, one page a month, change on day {BEFORE}",
        ("errors", "what happens", "false alarms a month", "found", "median / p90 delay, days", "found by"),
    )
    for law in LAWS:
        for name, (size, share, width) in CHANGES.items():
            rng, false, days, found, by = generator(f"regression, {law}, {name}"), 0, 0, np.full(runs, np.nan), []
            calm, before, after = name == "nothing changes", _half(law, LEVEL), width * _half(law, share)
            for number in range(runs):
                bank = Bank(policy=POLICY)
                for day in range(BEFORE + AFTER):
                    changed = day >= BEFORE and not calm
                    days += not changed
                    reading = _day(rng, day, law, size if changed else 1.0, after if changed else before)
                    alarms = [signal for signal in bank.step(reading, StepContext()) if isinstance(signal, Alarm)]
                    false += 0 if changed else len(alarms)
                    if changed and alarms and np.isnan(found[number]):
                        found[number] = day + 1 - BEFORE
                        by += [alarm.key.family for alarm in alarms]
            hits = int((~np.isnan(found)).sum())
            told = ("", "", "") if calm else (f"{hits} of {runs}", delays(found), ", ".join(dict.fromkeys(by)))
            table.add(law, name, poisson(false, days / 30), *told)
    table.notes.append(f"{runs} runs a row; alarms of monitors, of all families that are on by default and `regression`.")
    return table
