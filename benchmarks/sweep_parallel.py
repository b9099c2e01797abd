"""Compares the total throughput of one trial per core with that of one trial on all cores.

    python -m benchmarks.sweep_parallel --rounds 5 --sweep breakout-quick

The two alternate, so that other load on the machine affects both. Prints the ratio of observations per second, summed
over trials.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from statistics import median

from rlgns.machine.hardware import usable_cores

WORKER = """
import sys
from rlgns.sweep.forecast import measure_throughput
from rlgns.sweep.load import resolve_sweep
print(measure_throughput(resolve_sweep(sys.argv[1], {"sweep.parallel": sys.argv[2]})).observations_per_s)
"""


def observations_per_s(sweep: str, parallel: int) -> float:
    """Trains so many trials side by side, each with its share of the cores; returns their total throughput."""
    command = [sys.executable, "-c", WORKER, sweep, str(parallel)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(parallel)]
    return sum(float(worker.communicate()[0]) for worker in workers)


def main() -> None:
    """Runs the rounds and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sweep", default="breakout-quick")
    options = parser.parse_args()
    cores, ratios = usable_cores(), []
    for number in range(options.rounds):
        order = [cores, 1] if number % 2 else [1, cores]
        found = {parallel: observations_per_s(options.sweep, parallel) for parallel in order}
        ratios.append(found[cores] / found[1])
        print(f"{cores} at once {found[cores]:,.0f}, one {found[1]:,.0f}: ratio {ratios[-1]:.2f}", flush=True)
    print(f"ratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {len(ratios)} rounds")


if __name__ == "__main__":
    main()
