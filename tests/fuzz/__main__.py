"""The full fuzz run: `make fuzz`. Prints the cases that fail, and a table of counts; exit code 1 where one fails.

python -m tests.fuzz --seed 0 --counts 1000 500 500 500 200 [--kind "YAML files"]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
from collections import Counter
from pathlib import Path

import torch

from tests.fuzz.cases import KINDS
from tests.fuzz.run import Outcome, run_case

COUNTS = (1000, 500, 500, 500, 200)
LONGEST_S = 2.0
"""Most CPU time of one case."""

MEMORY = 6 << 30
"""Bytes that the process may add to its address space."""


def main() -> int:
    """Runs all cases and returns 0 where all pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the cases are numbered from here")
    parser.add_argument("--counts", type=int, nargs=len(KINDS), default=COUNTS, metavar="N", help="cases of each kind")
    parser.add_argument("--kind", choices=KINDS, help="only this kind")
    options = parser.parse_args()
    os.environ.pop("RAY_ADDRESS", None)
    torch.set_num_threads(1)  # threads that wait for each other take CPU time on a busy machine
    for kind in KINDS:
        run_case(kind, -1)  # imports what the first case would otherwise be charged for
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    failed = 0
    print("| input | seeds | cases | exit 0 | exit 2 | fail | median CPU s | longest CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (kind, _), count in zip(KINDS.items(), options.counts, strict=True):
        if options.kind in (None, kind) and count:
            failed += _report(kind, [_timed(kind, options.seed + number) for number in range(count)])
    return int(failed > 0)


def _timed(kind: str, seed: int) -> Outcome:
    outcome = run_case(kind, seed)
    if not outcome.fault and outcome.cpu_s > LONGEST_S:
        outcome = run_case(kind, seed)  # a single slow try may be another process's doing
    if outcome.fault:
        print(outcome, file=sys.stderr, flush=True)
    elif outcome.cpu_s > LONGEST_S:
        print(f"{outcome}{outcome.cpu_s:.1f} s of CPU time", file=sys.stderr, flush=True)
    return outcome


def _report(kind: str, outcomes: list[Outcome]) -> int:
    wrong = [one for one in outcomes if one.fault or one.cpu_s > LONGEST_S]
    codes = Counter(one.code for one in outcomes if not one.fault)
    times = [one.cpu_s for one in outcomes]
    seeds = f"{outcomes[0].seed} to {outcomes[-1].seed}"
    print(
        f"| {kind} | {seeds} | {len(outcomes)} | {codes[0]} | {codes[2]} | {len(wrong)} | "
        f"{statistics.median(times):.2f} | {max(times):.2f} |",
        flush=True,
    )
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main())
