"""Run rows and print their tables."""

import argparse
import time

from benchmarks.detection import (
    bank_rows,
    bets_rows,
    decay_rows,
    fatigue_rows,
    features_rows,
    fold_rows,
    gap_rows,
    generator_rows,
    matched_rows,
    pair_rows,
    rates_rows,
    regression_rows,
)
from benchmarks.detection.table import Table

ROWS = {
    **{
        row.__name__: row
        for row in (
            rates_rows.known,
            rates_rows.estimated,
            rates_rows.gradual,
            rates_rows.subgroup,
            rates_rows.river,
            matched_rows.matched,
            rates_rows.speed,
        )
    },
    **{row.__name__: row for row in (bets_rows.calibration, bets_rows.cost, bets_rows.score, bets_rows.clear)},
    **{row.__name__: row for row in (bank_rows.budget, bank_rows.dependence, bank_rows.label_delay)},
    **{row.__name__: row for row in (generator_rows.generators, fold_rows.fold, fold_rows.thinned)},
    **{row.__name__: row for row in (pair_rows.challenger, pair_rows.challenger_scores)},
    gap_rows.gap.__name__: gap_rows.gap,
    "features": features_rows.features,
    **{row.__name__: row for row in (fatigue_rows.wards, fatigue_rows.fleet, decay_rows.decay_forecast)},
    regression_rows.regression.__name__: regression_rows.regression,
}


def main() -> None:
    """Run the rows named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the runs: shows that it works, measures little")
    parser.add_argument("--scale", type=float, default=1.0, metavar="SHARE", help="run this share of the runs")
    given = parser.parse_args()
    unknown = set(given.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {sorted(unknown)}; there are {', '.join(ROWS)}")
    for name in given.rows or ROWS:
        started = time.perf_counter()
        table: Table = ROWS[name](0.05 if given.quick else given.scale)
        print(table.markdown())
        command = (
            f"python -m benchmarks.detection {name}{' --quick' if given.quick else f' --scale {given.scale:g}' if given.scale != 1 else ''}"
        )
        print(f"`{command}`, {time.perf_counter() - started:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
