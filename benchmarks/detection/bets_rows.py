"""Calibration, cost, scores, and the end of an alarm."""

import numpy as np
from river import drift

from benchmarks.detection import races
from benchmarks.detection.table import Table, delays, generator, poisson, ratio, shown, verdict
from detectors.active import Active
from detectors.baselines.calibration_map import logit
from detectors.baselines.wilson import Z_MATURE
from detectors.bets import UP, sigmoid
from detectors.bets.calibration import BET as CALIBRATION
from detectors.bets.costs import BET as COSTS
from detectors.bets.rates import BET as RATES
from detectors.bets.scores import BET as SCORES
from detectors.cells import PANE_GRID, grid_cell
from detectors.cost_cells import CELLS, cost_cell
from detectors.signals import Cleared, Estimate, Key

BATCH = 25
FINE = 5


def _binned(cell, runs, width):
    rows = np.repeat(np.arange(runs), cell.shape[1]) * width + cell.ravel()
    return lambda weights=None: (
        np.bincount(rows, None if weights is None else weights.ravel(), runs * width).reshape(runs, width).astype(float)
    )


def calibration(scale: float) -> Table:
    """Scores that become over-confident, shifted, or confidently wrong; the claim is that they are probabilities."""
    rng, peers_rng, runs = generator("calibration"), generator("calibration, River's"), max(40, int(400 * scale))

    def truth(p, case):
        q = {"slope": sigmoid(0.7 * logit(p)), "intercept": sigmoid(logit(p) + 0.25)}.get(case, p)
        return np.where(np.maximum(p, 1 - p) > 0.9, 0.8 * q + 0.2 * (1 - q), q) if case == "wrong" else q

    def events(shape, case, rng=rng):
        p = sigmoid(rng.normal(-1.5, 1.5, shape))
        return p, (rng.random(shape) < truth(p, case)).astype(float)

    def ratio_of(case):
        def draw(changed, n):
            p, y = events((runs, n), case)
            q = truth(p, case)
            return np.where(y, np.log(q / p), np.log((1 - q) / (1 - p))).sum(axis=1, keepdims=True)

        return draw

    def draw_of(case):
        def draw(changed, n):
            p, y = events((runs, n), case if changed else "")
            binned = _binned(grid_cell(p, PANE_GRID), runs, PANE_GRID)
            cells = np.stack([binned(), binned(y), binned(p)], axis=2).reshape(runs, 3 * PANE_GRID)
            return np.concatenate([cells, np.full((runs, 1), float(n))], axis=1)

        return draw

    identity = np.zeros(CALIBRATION.terms)
    identity[2] = 1.0  # the map's slope; no tolerance
    tables = np.tile(CALIBRATION.table(identity, UP), (runs, 1))
    banded = identity.copy()
    banded[6] = 0.1
    tolerant = np.tile(CALIBRATION.table(banded, UP), (runs, 1))
    cases = ("slope", "intercept", "wrong")
    table = Table(
        "Calibration: median / p90 delay in labels, change after 20,000",
        ("detector", "slope 0.7", "intercept +0.25", "20 % of the confident wrong", "false alarms per 1e6"),
    )
    kinds = {"evidence bank, no tolerance": tables, "evidence bank, tolerance 0.1": tolerant}
    found = {
        name: [races.bank(CALIBRATION, t, draw_of(c), deposit=1e-6, before=20_000, after=30_000, batch=FINE) for c in cases]
        for name, t in kinds.items()
    }

    def squared(case):
        def values(n, changed):
            p, y = events(n, case if changed else "", peers_rng)
            return np.square(p - y).tolist()

        return values

    def signed(case):
        def values(n, changed):
            p, y = events(n, case if changed else "", peers_rng)
            return ((1 + y - p) / 2).tolist()

        return values

    known = [races.told(ratio_of(c), runs=runs, deposit=1e-6, after=30_000, batch=FINE) for c in cases]
    peers = {
        "ADWIN 0.02 on the Brier score": (0.02, squared),
        "ADWIN 0.02 on y - p": (0.02, signed),
        "ADWIN, default, on the Brier score": (0.002, squared),
    }
    for name, (delta, values) in peers.items():
        found[name] = [races.river(lambda d=delta: drift.ADWIN(delta=d), values(c), runs=runs, before=20_000, after=30_000) for c in cases]
    for name, all_races in found.items():
        false = poisson(sum(race.false for race in all_races), sum(race.exposure for race in all_races) / 1e6)
        table.add(name, *(delays(race.found) for race in all_races), false)
    table.add("told the change, its size and the law", *(delays(race.found) for race in known), "at most 1")
    ours, brier, plain = (found[name] for name in ("evidence bank, no tolerance", *list(peers)[:2]))
    for place, (case, aim) in enumerate(zip(cases, (0.9, 0.5, 0.6), strict=True)):
        best = min(brier[place], plain[place], key=lambda race: np.median(np.where(np.isnan(race.found), np.inf, race.found)))
        three, limit = ratio(ours[place].found, best.found, rng), ratio(known[place].found, best.found, rng)
        one = ratio(ours[place].found, brier[place].found, rng)
        table.notes.append(
            f"{case}: ours over the better ADWIN {shown(three)}; aim ≤ {aim}: {verdict(three[0] <= aim)} "
            f"(told the change: {limit[0]:.2f}; over ADWIN on the Brier score: {shown(one)})."
        )
    table.notes.append(f"{runs} runs; ours looks every {FINE} labels, and every 100 before the change; ADWIN every 32.")
    tolerant = [ratio(a.found, b.found, rng)[0] for a, b in zip(found["evidence bank, tolerance 0.1"], brier, strict=True)]
    said = "; ".join(f"{case} {one:.2f}" for case, one in zip(cases, tolerant, strict=True))
    table.notes.append(f"These are without a tolerance. With the default of 0.1, over ADWIN on the Brier score: {said}.")
    return table


def cost(scale: float) -> Table:
    """Let a tenth of the events cost something, lognormal with sigma 1.5, and the mean rise."""
    rng, peers, runs = generator("cost"), generator("cost, River's"), max(40, int(400 * scale))
    mean = 1.0
    level = np.log(mean / 0.1) - 1.5**2 / 2

    laws = {
        "frequency x1.3": (0.13, 0.0),
        "severity x1.5": (0.1, np.log(1.5)),
        "frequency x2": (0.2, 0.0),
        "severity x2": (0.1, np.log(2.0)),
        "both x1.41": (0.1 * np.sqrt(2.0), np.log(2.0) / 2),
    }

    def costs(shape, case, rng=rng):
        often, more = laws.get(case, (0.1, 0.0))
        return np.where(rng.random(shape) < often, rng.lognormal(level + more, 1.5, shape), 0.0)

    def ratio_of(case):
        often, more = laws[case]

        def draw(changed, n):
            c = costs((runs, n), case)
            z = (np.log(np.where(c > 0, c, 1.0)) - level) / 1.5
            size = np.log(often / 0.1) + (more / 1.5) * z - (more / 1.5) ** 2 / 2
            return np.where(c > 0, size, np.log((1 - often) / 0.9)).sum(axis=1, keepdims=True)

        return draw

    def draw_of(case):
        def draw(changed, n):
            c = costs((runs, n), case if changed else "")
            counts = _binned(cost_cell(np.rint(c * 1e4).astype(np.int64)), runs, CELLS)()
            return np.concatenate([counts, c.sum(axis=1, keepdims=True)], axis=1)

        return draw

    cases = tuple(laws)
    long = costs(4_000_000, "")
    cells = np.bincount(cost_cell(np.rint(long * 1e4).astype(np.int64)), minlength=CELLS)
    true = COSTS.fit(np.append(cells, long.sum()), phi=1.0, tolerance=0.1, direction=UP, parent=None, bound=Z_MATURE)
    tables = np.tile(COSTS.table(true.null, UP), (runs, 1))  # four million events: as known as can be
    fits = [COSTS.fit(one, phi=1.0, tolerance=0.1, direction=UP, parent=None, bound=Z_MATURE) for one in draw_of("")(False, 10_000)]
    learnt = np.stack([COSTS.table(fit.null, UP) for fit in fits])
    table = Table("Cost: median / p90 delay in events, change after 20,000", ("detector", *cases, "false alarms per 1e6"))
    found = {
        name: [races.bank(COSTS, t, draw_of(c), deposit=1e-6, before=20_000, after=50_000, batch=FINE) for c in cases]
        for name, t in (("evidence bank, costs known", tables), ("evidence bank, baseline from 10,000", learnt))
    }
    known = [races.told(ratio_of(c), runs=runs, deposit=1e-6, after=50_000, batch=FINE) for c in cases]
    found["ADWIN, default, on the cost"] = [
        races.river(
            drift.ADWIN, lambda n, changed, c=c: costs(n, c if changed else "", peers).tolist(), runs=runs, before=20_000, after=50_000
        )
        for c in cases
    ]
    cap = float(np.quantile(long, 0.999))
    found["ADWIN, default, cut at the 99.9 % quantile"] = [
        races.river(
            drift.ADWIN,
            lambda n, changed, c=c: np.minimum(costs(n, c if changed else "", peers), cap).tolist(),
            runs=runs,
            before=20_000,
            after=50_000,
        )
        for c in cases
    ]
    for name, all_races in found.items():
        false = poisson(sum(race.false for race in all_races), sum(race.exposure for race in all_races) / 1e6)
        table.add(name, *(delays(race.found) for race in all_races), false)
    table.add("told the change, its size and the law", *(delays(race.found) for race in known), "at most 1")
    ours, raw = found["evidence bank, baseline from 10,000"], found["ADWIN, default, on the cost"]
    rate = sum(race.false for race in ours) / sum(race.exposure for race in ours) * 1e6
    for place in (2, 3, 4):
        three, sure, limit = (
            ratio(each[place].found, raw[place].found, rng) for each in (ours, found["evidence bank, costs known"], known)
        )
        table.notes.append(
            f"{cases[place]}: over ADWIN on the raw cost, baseline from 10,000 {shown(three)}, costs known {shown(sure)}; "
            f"aim ≤ 1.4: {verdict(three[0] <= 1.4)}, {verdict(sure[0] <= 1.4)} (told the change: {limit[0]:.2f})."
        )
    table.notes.append(f"{runs} runs. Aim of at most 1 false alarm per 1e6: {verdict(rate <= 1)}.")
    return table


def score(scale: float) -> Table:
    """Scores that shift or spread out, before any label; a baseline of 10,000."""
    rng, runs = generator("score"), max(40, int(400 * scale))
    cases = {"+0.2 sd": (0.2, 1.0), "+0.5 sd": (0.5, 1.0), "+1 sd": (1.0, 1.0), "sd x1.2": (0.0, 1.2), "sd x1.5": (0.0, 1.5)}

    def scores(shape, case):
        shift, spread = cases.get(case, (0.0, 1.0))
        return rng.normal(0.0, 1.2, shape) * spread + shift * 1.2  # logits

    def draw_of(case):
        def draw(changed, n):
            return _binned(grid_cell(sigmoid(scores((runs, n), case if changed else "")), PANE_GRID), runs, PANE_GRID)()

        return draw

    baseline = draw_of("")(False, 10_000)
    table = Table("Score shift: median / p90 delay in predictions, change after 20,000", ("detector", *cases, "false alarms per 1e6"))
    found = {}
    for tolerance in (0.0, 0.05):
        tables = np.stack(
            [SCORES.table(SCORES.fit(one, phi=1.0, tolerance=tolerance, direction=UP, parent=None).null, UP) for one in baseline]
        )
        name = f"evidence bank, tolerance {100 * tolerance:g} points"
        found[name] = [races.bank(SCORES, tables, draw_of(c), deposit=1e-6, before=20_000, after=20_000, batch=BATCH) for c in cases]
    few = max(20, runs // 2)
    found["ADWIN, default, on the logit"] = [
        races.river(drift.ADWIN, lambda n, changed, c=c: scores(n, c if changed else "").tolist(), runs=few, before=20_000, after=20_000)
        for c in cases
    ]
    for name, all_races in found.items():
        false = poisson(sum(race.false for race in all_races), sum(race.exposure for race in all_races) / 1e6)
        table.add(name, *(delays(race.found) for race in all_races), false)
    table.notes.append(
        f"{runs} runs ({few} of River's). The tolerance is the default: shares that move by less than 5 points are not to be found."
    )
    return table


def clear(scale: float) -> Table:
    """After an alarm at 10 %, back to 5 %: how long until it is said to be over, and how often it is said although it is not."""
    rng, runs = generator("clear"), max(40, int(400 * scale))
    fit = RATES.contract(0.05)
    assert fit is not None
    table = Table("Clearing, baseline 5 %, alarm at 10 % seen in 500 events", ("truth after the alarm", "cleared", "median / p90, events"))
    medians = {}
    for truth, horizon in ((0.05, 10_000), (0.075, 20_000), (0.10, 20_000)):
        found = np.full(runs, np.nan)
        for run in range(runs):
            estimate = Estimate(0.1, 0.08, 0.124, 500.0)
            active = Active.after(
                Key("error", UP, 0, 1),
                RATES,
                fit,
                phi=1.0,
                stake=2,
                current=estimate,
                baseline=Estimate(0.05, 0.05, 0.05, 0.0),
                tolerance=0.2,
            )
            for step, x in enumerate(rng.binomial(BATCH, truth, horizon // BATCH).tolist()):
                if isinstance(active.step(np.array([float(BATCH), float(x)]), step), Cleared):
                    found[run] = (step + 1.0) * BATCH
                    break
        cleared = int((~np.isnan(found)).sum())
        table.add(f"{100 * truth:g} %", f"{cleared} of {runs}", delays(found))
        medians[truth] = found
    false = int((~np.isnan(medians[0.10])).sum())
    middle = float(np.median(np.where(np.isnan(medians[0.05]), np.inf, medians[0.05])))
    table.notes.append(
        f"False clears within 20,000 events {poisson(false, runs)} a run; aim ≤ 1 %: {verdict(false <= 0.01 * runs)}. "
        f"Median {middle:,.0f}; aim ≤ 1,500: {verdict(middle <= 1_500)}."
    )
    return table
