"""The whole bank, learning its own baselines: the budget, dependent streams, late labels."""

import numpy as np

from benchmarks.detection.table import Table, delays, generator, lower, poisson, upper, verdict
from detectors.bank import Bank, StepContext
from detectors.bets import DOWN, UP
from detectors.bets.rates import BET as RATES
from detectors.budget import DAY_MS
from detectors.cells import BIN, KNOWN, MADE, PANE_GRID, grid_cell
from detectors.fixed import SCORE_UNIT, carry, to_fixed
from detectors.incidents import Incidents
from detectors.kernel import crossed, grow
from detectors.reading import Reading
from detectors.signals import Alarm
from schemas.policy_models import FAMILIES, BaselinePolicy, ModelPolicy, WatchPolicy

DAYS = 30
GROUPS = 40
POT = 0.4  # alarms a month of all monitors of the aggregate


def _reading(rung, age_ms, start_ms, width_ms, *, segments, made, known, made_bins, known_bins):
    end = start_ms + width_ms
    return Reading(
        rung=rung, age_ms=age_ms, start_ms=start_ms, end_ms=end, due_ms=end + age_ms, mature=rung == 1,
        segments=segments, made=made, known=known, made_bins=made_bins, known_bins=known_bins,
    )  # fmt: skip


class _Crowd:
    """Predictions of a model in 40 overlapping groups, nothing ever changes; traffic comes in bursts."""

    def __init__(self, rng, per_pane):
        self.rng, self.per_pane = rng, per_pane
        self.share = np.geomspace(0.5, 0.02, GROUPS)
        self.segments = np.arange(GROUPS + 1)

    def pane(self, start_ms, width_ms, age_ms):
        """Return the readings of one pane before and after its labels."""
        rng = self.rng
        n = int(rng.poisson(self.per_pane * rng.gamma(4.0, 0.25)))
        member = np.ones((n, GROUPS + 1))
        member[:, 1:] = rng.random((n, GROUPS)) < self.share
        score = rng.beta(1, 2, n).round(3)
        y, positive = rng.random(n) < score, score >= 0.5
        cell = grid_cell(score, PANE_GRID)
        one = np.zeros((n, PANE_GRID))
        one[np.arange(n), cell] = 1.0

        def by(weights):
            return np.rint(member.T @ weights).astype(np.int64)

        made, known = MADE.zeros(GROUPS + 1), KNOWN.zeros(GROUPS + 1)
        total = by(np.ones(n))
        for name, values in (
            ("n", total),
            ("scored", total),
            ("binary", total),
            ("alerted", by(positive)),
            ("positive", by(positive)),
            ("negative", by(~positive)),
        ):
            made[:, MADE.at[name]] = values
        for name, mask in (("tp", positive & y), ("fp", positive & ~y), ("tn", ~positive & ~y), ("fn", ~positive & y)):
            known[:, KNOWN.at[name]] = by(mask)
        bins = np.zeros((GROUPS + 1, PANE_GRID, BIN.width), dtype=np.int64)
        bins[..., 0], bins[..., BIN.at["score"] + 1] = by(one), by(one * to_fixed(score, SCORE_UNIT)[:, None])
        carry(bins, BIN.first_high)
        labelled = bins.copy()
        labelled[..., 1] = by(one * y[:, None])
        kept = total > 0
        sides = {"segments": self.segments[kept], "made": made[kept], "made_bins": bins[kept]}
        early = _reading(0, 0, start_ms, width_ms, **sides, known=np.zeros_like(known[kept]), known_bins=np.zeros_like(bins[kept]))
        return early, _reading(1, age_ms, start_ms, width_ms, **sides, known=known[kept], known_bins=labelled[kept])


def budget(scale: float) -> Table:
    """Count pages a month of the default policy on a model in 40 overlapping groups where nothing ever changes."""
    rng, models, months, width = generator("budget"), max(4, round(80 * scale)), 6, DAY_MS // 2
    context = StepContext(outcome_days=lambda segment: 30.0)
    alarms, incidents, monitors, per_month = 0, 0, 0, []
    for model in range(models):
        bank, opened = Bank(policy=ModelPolicy()), Incidents("m", str(model))
        crowd, waiting, pages = _Crowd(rng, 300), [], np.zeros(months, dtype=int)
        for pane in range(months * 2 * DAYS):
            early, late = crowd.pane(pane * width, width, DAY_MS)
            waiting.append(late)
            for reading in (early, *([waiting.pop(0)] if len(waiting) > 2 else [])):
                signals = bank.step(reading, context)
                alarms += sum(isinstance(signal, Alarm) for signal in signals)
                pages[pane // (2 * DAYS)] += sum(event.event == "opened" for event in opened.apply(signals, reading.due_ms))
        incidents += int(pages.sum())
        per_month += pages[1:].tolist()  # in the first nothing can page yet
        monitors += int(
            sum((panel.monitors.state[: panel.monitors.count] != 0).sum() for panels in bank.panels.values() for panel in panels)
        )
    n = len(per_month)
    table = Table("Nothing changes: a budget of one false page a month, default policy, 40 overlapping groups", ("", "a model-month"))
    table.add("alarms of monitors", poisson(alarms, n))
    table.add("incidents, which are what pages", poisson(sum(per_month), n))
    table.add("months with three incidents or more", f"{100 * np.mean(np.array(per_month) >= 3):.2f} %")
    table.notes.append(
        f"{n} model-months after the first, {monitors / models:.0f} monitors with a baseline at their end. "
        f"Upper bound of alarms ≤ 1: {verdict(upper(alarms, n) <= 1)}."
    )
    return table


def _rates(n, x, *, width, start):
    made, known = MADE.zeros(1), KNOWN.zeros(1)
    made[0, MADE.at["n"]], known[0, KNOWN.at["fp"]], known[0, KNOWN.at["tn"]] = n, x, n - x
    bins = np.zeros((1, PANE_GRID, BIN.width), dtype=np.int64)
    return _reading(1, DAY_MS, start, width, segments=np.array([0]), made=made, known=known, made_bins=bins, known_bins=bins)


def _only(family: str, *, seasonal: bool = True) -> ModelPolicy:
    watch = {name: WatchPolicy(enabled=name == family) for name in FAMILIES}
    return ModelPolicy(watch=watch, baseline=BaselinePolicy(seasonal=seasonal))


def dependence(scale: float) -> Table:
    """One error monitor on streams whose rate is 5 % on average but not at every moment: alarms a month with a budget of one."""
    models, months, per_hour = max(4, round(60 * scale)), 6, 60
    hours = np.arange(months * DAYS * 24)

    def correlated(rng, step, rho, sd):
        noise = rng.normal(0, sd * np.sqrt(1 - rho**2), len(hours) // step + 1)
        level = np.zeros(len(noise))
        for i in range(1, len(noise)):
            level[i] = rho * level[i - 1] + noise[i]
        return 0.05 * np.exp(np.repeat(level, step)[: len(hours)] - sd**2 / 2)

    cycle, weekend = 0.05 + 0.02 * np.sin(2 * np.pi * hours / 24), np.where(hours // 24 % 7 >= 5, 0.078, 0.039)
    streams = {  # rates by hour; whether the hour of the week is learnt
        "independent": (lambda rng: np.full(len(hours), 0.05), True),
        "daily cycle of 2 points": (lambda rng: cycle, True),
        "daily cycle of 2 points, no season learnt": (lambda rng: cycle, False),
        "weekends twice as bad": (lambda rng: weekend, True),
        "weekends twice as bad, no season learnt": (lambda rng: weekend, False),
        "hourly AR(1), 0.9, sd 0.5": (lambda rng: correlated(rng, 1, 0.9, 0.5), True),
        "daily AR(1), 0.7, sd 0.3": (lambda rng: correlated(rng, 24, 0.7, 0.3), True),
        "bursts: 1 hour of 100 three times as bad": (lambda rng: np.where(rng.random(len(hours)) < 0.01, 0.15, 0.049), True),
    }
    table = Table(
        "Dependent streams without a change, one error monitor with the whole aggregate's budget of 0.4 a month",
        ("stream", "alarms a month", "median over-dispersion found"),
    )
    context, missed = StepContext(outcome_days=lambda segment: 30.0), []
    for name, (rates, seasonal) in streams.items():
        rng, alarms, phis = generator(f"dependence, {name}"), 0, []
        for _ in range(models):
            bank, errors = Bank(policy=_only("error", seasonal=seasonal)), rng.binomial(per_hour, rates(rng))
            for hour, x in enumerate(errors.tolist()):
                alarms += sum(
                    isinstance(s, Alarm) for s in bank.step(_rates(per_hour, x, width=DAY_MS // 24, start=hour * (DAY_MS // 24)), context)
                )
            phis.append(float(bank.panels[1][0].monitors.phi[0]))
        n = models * (months - 1)
        missed += [name] * (upper(alarms, n) > POT)
        table.add(name, poisson(alarms, n), f"{np.median(phis):.1f}")
    table.notes.append(
        f"{models} models of {months} months, the first of them the baseline; 60 labels an hour. Upper bound of each ≤ {POT:g}, "
        f"its own part of the budget: {verdict(not missed)}{''.join(f'; {name}' for name in missed)}."
    )
    return table


def label_delay(scale: float) -> Table:
    """Positives' labels take 14 d on average, negatives' 3 d; 10 % positive. Labels in order of arrival against labels at a fixed age.

    By the bank, whose tolerance and tempering hide much of what the order of arrival does; and by the plain evidence of statistics.md 2.10,
    with the true rate for a baseline, no tolerance, and a budget of one alarm a month for this monitor alone.
    """
    rng, runs, days, age = generator("label_delay"), max(6, round(100 * scale)), 240, 7
    policy = _only("prior")
    policy = ModelPolicy(watch=policy.watch, baseline=BaselinePolicy(days=60))
    context = StepContext(outcome_days=lambda segment: 30.0)
    traffic = {
        "stationary": np.full(days, 2_000),
        "halves for 70 days": np.where((np.arange(days) >= 120) & (np.arange(days) < 190), 1_000, 2_000),
        "weekly cycle": np.where(np.arange(days) % 7 >= 5, 600, 2_560),
        "10 → 13 % on day 150": np.full(days, 2_000),
    }

    def one(name, sizes):
        rate = np.where(np.arange(days) < (150 if "13" in name else days), 0.1, 0.13)
        arrivals, fixed = np.zeros((2, 2 * days), dtype=int), np.zeros((2, days), dtype=int)
        for day, n in enumerate(sizes.tolist()):
            positives = rng.binomial(n, rate[day])
            for label, count, mean in ((1, positives, 14.0), (0, n - positives, 3.0)):
                delay = rng.exponential(mean, count)
                fixed[label, day] = int((delay < age).sum())
                came = np.minimum(day + np.ceil(delay).astype(int), 2 * days - 1)
                arrivals[label] += np.bincount(came, minlength=2 * days)
        return arrivals[:, :days], fixed

    def alarms_of(counts, lag):
        bank, days_of = Bank(policy=policy), []
        for day in range(days):
            n, x = int(counts[:, day].sum()), int(counts[1, day])
            known = KNOWN.zeros(1)
            known[0, KNOWN.at["fn"]], known[0, KNOWN.at["tn"]] = x, n - x
            made = MADE.zeros(1)
            made[0, MADE.at["n"]] = max(n, 1)
            bins = np.zeros((1, PANE_GRID, BIN.width), dtype=np.int64)
            reading = _reading(
                1, lag * DAY_MS, day * DAY_MS, DAY_MS, segments=np.array([0]), made=made, known=known, made_bins=bins, known_bins=bins
            )
            days_of += [day + 1 + lag for signal in bank.step(reading, context) if isinstance(signal, Alarm)]
        return days_of

    table = Table(
        "Outcome-dependent label delay, base rate watched, budget 1",
        (
            "traffic",
            "order of arrival, alarms a month",
            f"age of {age} d, alarms a month",
            "order of arrival, plain evidence",
            f"age of {age} d, plain evidence",
            f"found by age of {age} d",
        ),
    )
    slow, fast = 0.1 * (1 - np.exp(-age / 14)), 0.9 * (1 - np.exp(-age / 3))  # known by that age: positives, negatives
    fine, shown = True, True
    for name, sizes in traffic.items():
        both = [one(name, sizes) for _ in range(runs)]
        lists = [[alarms_of(arrivals, 0) for arrivals, _ in both], [alarms_of(fixed, age) for _, fixed in both]]
        if "13" in name:
            firsts = np.array([min((day - 150 for day in found if day > 150), default=np.nan) for found in lists[1]], dtype=float)
            table.add(name, "", "", "", "", f"{delays(firsts)} days")
            fine &= bool(np.median(firsts) <= 11)
            continue
        n = runs * (days - 60) / DAYS
        counts = [sum(len(found) for found in each) for each in lists]
        plain = [_plain(np.array([pair[at] for pair in both])[..., 60:], m0) for at, m0 in ((0, 0.1), (1, slow / (slow + fast)))]
        fine &= upper(counts[1], n) <= POT and upper(plain[1], n) <= 1
        if name != "stationary":
            shown &= lower(plain[0], n) > 1
        table.add(name, *(poisson(count, n) for count in (*counts, *plain)), "")
    table.notes.append(
        f"{runs} runs of {days} days, 60 of them the baseline. Fixed age: upper bounds within the budget ({POT} for the bank's, 1 for the "
        f"plain evidence) and the change within 11 days: {verdict(fine)}. Order of arrival beyond the budget of the plain evidence "
        f"where traffic changes: {'shown' if shown else '**not shown**'}."
    )
    return table


def _plain(counts, m0):
    """Return how often the plain evidence alarms, both ways, on labels 0 and 1 by day, shape (runs, 2, days); it begins anew after each."""
    runs, alarms = len(counts), 0
    for way in (UP, DOWN):
        tables = np.broadcast_to(RATES.table(np.array([m0, m0]), way), (runs, 2 * RATES.stakes + 2))
        log_r, deposit = np.full((runs, RATES.stakes), -np.inf), np.full(runs, 0.5 / DAYS)
        for day in range(counts.shape[2]):
            obs = np.stack([counts[:, :, day].sum(axis=1), counts[:, 1, day]], axis=1).astype(float)
            log_r = grow(log_r, deposit, RATES.log_factors(obs, tables))
            over = crossed(log_r)
            log_r[over], alarms = -np.inf, alarms + len(over)
    return alarms
