"""Scenarios: how long after the change the event comes, and how often there is one in the calm twin.

``python -m benchmarks.scenarios [NAME ...] [--seeds N] [--workers K]``. Seeds are 1 to N. The twin's budget is 0.05 false pages a run.
"""

import argparse
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from scipy.stats import chi2

from benchmarks.detection.table import Table, poisson
from schemas.fatigue import FatigueData
from streams.scenarios import DAY_MS, START_MS, Scenario, discover
from streams.scenarios.playing import play, raised

PAGES = 0.05
OPENED = ("gnomon.drift.opened", "gnomon.fatigue.opened", "gnomon.retrain.requested")


def delays(scenarios: list[Scenario]) -> Table:
    """Play every story once, with its own policy."""
    table = Table("The event of each story", ("scenario", "predictions", "event", "kind", "about", "days after the change"))
    for scenario in scenarios:
        played = play(scenario)
        begun = START_MS if played.logs.changed_ms is None else played.logs.changed_ms
        for expected in scenario.expects:
            found = raised(played, expected)
            about = ", ".join(expected.segment.values()) or expected.unit or "all"
            late = f"{(found[0].time_ms - begun) / DAY_MS:.1f}" if found else "missed"
            table.add(scenario.name, f"{len(played.logs.predictions):,}", expected.type, expected.kind or "-", about, late)
    table.notes.append(
        "Labels take their time in each story: no event that needs them can come before the age at which predictions are judged."
    )
    return table


def twin(name: str, seed: int) -> Counter[str]:
    """Return what was raised in one calm run, by type, kind and metric."""
    scenario = discover()[name]
    events = play(scenario, seed=seed, calm=True, scale=scenario.twin, pages=PAGES).events
    alarms = [event for event in events if event.type.value in OPENED[:2]]
    return Counter(_what(event.data) for event in alarms)


def _what(data: object) -> str:
    kind = getattr(data, "kind", "")
    return f"fatigue {kind}" if isinstance(data, FatigueData) else f"{kind} ({getattr(data, 'metric', '')})"


def twins(scenarios: list[Scenario], seeds: int, workers: int) -> Table:
    """Play the calm twin of every story many times."""
    table = Table(
        f"Calm twins, {seeds} seeds each, budget {PAGES} false pages a run",
        ("scenario", "scale", "alarms a run [95 % interval]", "one-sided upper 95 % bound", "within", "which"),
    )
    with ProcessPoolExecutor(workers) as pool:
        for scenario in scenarios:
            found = Counter[str]()
            for one in pool.map(twin, [scenario.name] * seeds, range(1, seeds + 1), chunksize=4):
                found += one
            count = found.total()
            bound = float(chi2.ppf(0.95, 2 * (count + 1)) / 2 / seeds)
            which = ", ".join(f"{n} {what}" for what, n in found.most_common())
            within = "yes" if bound <= PAGES else "no"
            table.add(scenario.name, f"{scenario.twin:g}", poisson(count, seeds), f"{bound:.3f}", within, which or "-")
            print(table.rows[-1], flush=True)
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scenarios", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; all if none is named")
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", choices=("delays", "twins"), help="one of the two tables")
    given = parser.parse_args()
    known = discover()
    if set(given.names) - set(known):
        parser.error(f"no scenario {sorted(set(given.names) - set(known))}; there are {', '.join(known)}")
    chosen = [known[name] for name in given.names or known]
    started = time.perf_counter()
    if given.only != "twins":
        print(delays(chosen).markdown(), flush=True)
    if given.only != "delays":
        print(twins(chosen, given.seeds, given.workers).markdown())
    print(f"`python -m benchmarks.scenarios`, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
