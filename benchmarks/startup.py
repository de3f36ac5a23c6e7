"""How long ``gnomon --help`` takes, against ``python -c 'import typer, rich'``, of which it may take three times.

Run: ``python -m benchmarks.startup [--runs N]``. The commands take turns, so that what else the machine does falls on each alike. The
help of a program of typer's with one command that does nothing says how much of it is the library's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from benchmarks.stage import heading

BARE = """
import typer
app = typer.Typer(no_args_is_help=True)
@app.callback()
def root(): "Nothing."
@app.command()
def command(): "Nothing."
app()
"""
BASE = "import typer, rich"
COMMANDS = {
    BASE: ["-c", BASE],
    "a bare program --help": ["-c", BARE, "--help"],
    "gnomon --help": ["-m", "streams.cli", "--help"],
    "gnomon replay --help": ["-m", "streams.cli", "replay", "--help"],
}


def run(arguments: list[str]) -> tuple[float, float]:
    """Return the seconds that a command took, and its CPU seconds."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments} ended with {process.returncode}")
    return took, used.ru_utime + used.ru_stime


def main() -> None:
    """Print the median of each command, and how many times that of the imports it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    for arguments in COMMANDS.values():
        run(arguments)  # the disk's cache, and compiled modules
    runs = [{name: run(arguments) for name, arguments in COMMANDS.items()} for _ in range(options.runs)]
    print(heading(f"python -m benchmarks.startup --runs {options.runs}"))
    print(f"{'ms, median of ' + str(options.runs):24} {'wall':>7} {'CPU':>7} {'wall, times':>12} {'CPU, times':>12}")
    for name in COMMANDS:
        values = [1e3 * statistics.median(one[name][part] for one in runs) for part in (0, 1)]
        times = [statistics.median(one[name][part] / one[BASE][part] for one in runs) for part in (0, 1)]
        print(f"{name:24} {values[0]:7.0f} {values[1]:7.0f} {times[0]:12.2f} {times[1]:12.2f}")


if __name__ == "__main__":
    main()
