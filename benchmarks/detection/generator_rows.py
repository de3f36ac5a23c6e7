"""River's generators with a model that is trained once and then left alone: its errors are the stream."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from river import drift, naive_bayes, tree
from river.datasets import synth

from benchmarks.detection import races
from benchmarks.detection.table import Table, delays, generator
from detectors.baselines.wilson import Z_MATURE, wilson
from detectors.bets import UP
from detectors.bets.rates import BET

TRAIN, BASELINE, CALM, AFTER = 5_000, 10_000, 10_000, 10_000
CASES = {  # a stream before and after
    "SEA 0 → 1": (lambda s: synth.SEA(0, noise=0.1, seed=s), lambda s: synth.SEA(1, noise=0.1, seed=s)),
    "SEA 0 → 2": (lambda s: synth.SEA(0, noise=0.1, seed=s), lambda s: synth.SEA(2, noise=0.1, seed=s)),
    "SEA 0 → 3": (lambda s: synth.SEA(0, noise=0.1, seed=s), lambda s: synth.SEA(3, noise=0.1, seed=s)),
    "Agrawal 0 → 1": (lambda s: synth.Agrawal(0, seed=s), lambda s: synth.Agrawal(1, seed=s)),
    "Sine 0 → 1": (lambda s: synth.Sine(0, seed=s), lambda s: synth.Sine(1, seed=s)),
    "Sine 0 → 2": (lambda s: synth.Sine(0, seed=s), lambda s: synth.Sine(2, seed=s)),
    "Mixed 0 → 1": (lambda s: synth.Mixed(0, seed=s), lambda s: synth.Mixed(1, seed=s)),
    "LED, 1 feature": (lambda s: synth.LEDDrift(s, 0.1, True), lambda s: synth.LEDDrift(s, 0.1, True, 1)),
    "LED, 3 features": (lambda s: synth.LEDDrift(s, 0.1, True), lambda s: synth.LEDDrift(s, 0.1, True, 3)),
}
PEERS = {
    "ADWIN": drift.ADWIN,
    "PageHinkley": drift.PageHinkley,
    "DDM": drift.binary.DDM,
    "HDDM_A": drift.binary.HDDMA,
}


def _errors(case: str, seed: int) -> np.ndarray:
    """Return the frozen model's errors, those after ``BASELINE + CALM`` from the changed stream."""
    before, after = (make(seed + number) for number, make in enumerate(CASES[case]))
    model = naive_bayes.GaussianNB() if case.startswith("LED") else tree.HoeffdingTreeClassifier()
    stream: Iterator[tuple[dict[str, float], int]] = iter(before)
    for x, y in islice(stream, TRAIN):
        model.learn_one(x, y)
    events = [*islice(stream, BASELINE + CALM), *islice(iter(after), AFTER)]
    return np.array([model.predict_one(x) != y for x, y in events], dtype=float)


def generators(scale: float) -> Table:
    """Let the concept of a generator change under a frozen model."""
    rng, runs = generator("generators"), max(2, int(12 * scale))
    table = Table(
        "River's generators, a frozen model's errors: median / p90 delay in events",
        ("stream", "errors, %", "evidence bank", *(f"{name}, default" for name in PEERS)),
    )
    false = dict.fromkeys(("evidence bank", *PEERS), 0)
    for case in CASES:
        errors = np.stack([_errors(case, int(seed)) for seed in rng.integers(0, 2**31, runs)])
        calm, changed = errors[:, : BASELINE + CALM], errors[:, BASELINE + CALM :]
        at = {False: BASELINE, True: BASELINE + CALM}

        def draw(after, n, errors=errors, at=at, runs=runs):
            part = errors[:, at[after] : at[after] + n]
            at[after] += n
            return np.stack([np.full(runs, float(n)), part.sum(axis=1)], axis=1)

        rates = calm[:, :BASELINE].mean(axis=1)
        tables = np.stack([BET.table(np.array([wilson(BASELINE, BASELINE * rate, Z_MATURE)[1], rate]), UP) for rate in rates])
        found = [races.bank(BET, tables, draw, deposit=5e-8, before=CALM, after=AFTER, batch=1)]
        for make in PEERS.values():
            flips = iter([half.astype(int).tolist() for run in errors for half in (run[: BASELINE + CALM], run[BASELINE + CALM :])])
            found.append(races.river(make, lambda n, after, flips=flips: next(flips), runs=runs, before=BASELINE + CALM, after=AFTER))
        for name, race in zip(false, found, strict=True):
            false[name] += race.false
        table.add(case, f"{100 * calm.mean():.1f} → {100 * changed.mean():.1f}", *(delays(race.found) for race in found))
    table.add("false alarms", "", *false.values())
    table.notes.append(
        f"{runs} runs a stream: a Hoeffding tree (LED: naive Bayes) trained on {TRAIN:,} events, {BASELINE:,} for the baseline, {CALM:,} "
        f"calm ones, {AFTER:,} after the change. Ours: 0.05 false alarms allowed in 1e6 events; its false alarms are counted in the calm "
        f"{CALM:,}, those of River's in {BASELINE + CALM:,}."
    )
    return table
