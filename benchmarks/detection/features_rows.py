"""Inputs, before any label: twenty features of a model, one of which changes."""

from functools import cache

import numpy as np
from scipy.stats import norm

from benchmarks.detection.table import Table, delays, generator, poisson, upper, verdict
from detectors.bank import StepContext
from detectors.bets.covariates import CELLS, CovariateReading
from detectors.budget import DAY_MS, LABEL_FREE, SHARES
from detectors.cells import BIN, KNOWN, MADE
from detectors.feature_bank import FeatureBank
from detectors.feature_scale import CATEGORIES, NUMBERS, Scale
from detectors.named_rates import PART
from detectors.signals import Alarm
from schemas.policy_models import ModelPolicy, WatchPolicy

PANES = 8  # a day
PER_PANE = 125
SCALES = {f"n{i}": Scale(NUMBERS, borders=tuple(range(CELLS - 1))) for i in range(12)}
SCALES |= {f"c{i}": Scale(CATEGORIES, names=("a", "b", "c", "d")) for i in range(8)}
CASES = ("number +0.5 sd", "number +0.2 sd", "missing 1 → 5 %", "category 10 → 20 %")
Floats = np.ndarray


@cache
def _laws(case: str) -> tuple[Floats, Floats, float]:
    """Return the first number's shares by cell, the first category's, and how often the first number is missing."""
    shift = {"number +0.5 sd": 0.5, "number +0.2 sd": 0.2}.get(case, 0.0)
    numbers = np.diff(norm.cdf(norm.ppf(np.linspace(0, 1, CELLS + 1)) - shift))
    rare = 0.2 if case == "category 10 → 20 %" else 0.1
    categories = np.zeros(CELLS)
    categories[:4] = *(np.array([0.6, 0.2, 0.1]) * (1 - rare) / 0.9), rare
    return numbers, categories, 0.05 if case == "missing 1 → 5 %" else 0.01


def _pane(rng: np.random.Generator, case: str) -> dict[str, Floats]:
    counts = {}
    for name, scale in SCALES.items():
        numbers, categories, lacks = _laws(case if name in ("n0", "c0") else "")
        without = rng.binomial(PER_PANE, lacks if name == "n0" else 0.01)
        law = numbers if scale.kind == NUMBERS else categories
        prefix = "feature" if scale.kind == NUMBERS else "category"
        counts[f"{prefix}:{name}"] = rng.multinomial(PER_PANE - without, law)
        counts[f"missing:{name}"] = np.array([PER_PANE, without])
    return counts


def _alarms(rng: np.random.Generator, case: str, change_day: int, days: int) -> list[int]:
    """Return in which panes after the change a bank raised an alarm, negative before it; it stops at the first one after it."""
    bank = FeatureBank(policy=ModelPolicy(watch={"covariate": WatchPolicy()}))
    bank.watch(SCALES)
    none, found = np.zeros((1, 0, BIN.width), dtype=np.int64), []
    share = PART / float(SHARES[LABEL_FREE])
    for pane in range(PANES * days):
        after = pane - PANES * change_day
        at = {"start_ms": pane * DAY_MS // PANES, "end_ms": (pane + 1) * DAY_MS // PANES, "due_ms": (pane + 1) * DAY_MS // PANES}
        sums = {"made": MADE.zeros(1), "known": KNOWN.zeros(1), "made_bins": none, "known_bins": none}
        counts = _pane(rng, case if after >= 0 else "")
        reading = CovariateReading(rung=0, age_ms=0, mature=False, segments=np.zeros(1, dtype=np.int64), counts=counts, **at, **sums)
        fired = sum(isinstance(signal, Alarm) for signal in bank.step(reading, StepContext(share=share)))
        found += [after] * fired
        if fired and after >= 0 and case:
            break
    return found


def features(scale: float) -> Table:
    """Let one of twenty features change, a thousand predictions a day, on day 40; all may spend a tenth of one page a month."""
    rng, runs, calm = generator("features"), max(6, int(24 * scale)), max(6, int(60 * scale))
    table = Table(
        "Inputs: 20 features, 1,000 predictions a day, a tenth of one page a month: median / p90 delay in predictions, change on day 40",
        ("case", "delay", "alarms before the change, a month"),
    )
    false, months = 0, 0.0
    for case in CASES:
        found = np.full(runs, np.nan)
        early = 0
        for run in range(runs):
            alarms = _alarms(rng, case, 40, 70)
            early += sum(after < 0 for after in alarms)
            found[run] = min(((after + 1.0) * PER_PANE for after in alarms if after >= 0), default=np.nan)
        table.add(case, delays(found), poisson(early, runs * 12 / 30))
        false, months = false + early, months + runs * 12 / 30
    quiet = sum(len(_alarms(rng, "", 0, 90)) for _ in range(calm))
    false, months = false + quiet, months + calm * 62 / 30
    table.add("nothing changes", "", poisson(quiet, calm * 62 / 30))
    table.notes.append(
        f"{runs} runs a case, {calm} of 90 days without a change; a baseline of 28 days. False alarms, all together "
        f"{poisson(false, months)} a month; aim ≤ {PART}: {verdict(upper(false, months) <= PART)}."
    )
    table.notes.append(f"Panes of {PER_PANE} predictions: a delay is a multiple of that.")
    return table
