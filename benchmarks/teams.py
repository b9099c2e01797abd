"""Does the noise scale grow with the size of a team? RLlib's PPO on level-based foraging, 1 to 4 players.

    python -m benchmarks.teams DIR                # runs what DIR lacks, then says what was found
    python -m benchmarks.teams DIR --add          # takes the tables over and writes docs/results/teams.md

One run per team size and seed, each in a process, a few minutes of a core. A run that was stopped is run again;
finished ones are kept. docs/notes/teams.md is the plan. Needs `pip install 'rlgns[train,bench]'`.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.evidence_figures import draw
from benchmarks.teams_page import LEVELS, RESULTS, figure, page, read_tables, table_of_levels
from benchmarks.teams_run import COLUMNS
from benchmarks.throughput_processes import ROOT

SIZES = (1, 2, 3, 4)
SEEDS = (0, 1, 2, 3)
MOST_STEPS = 200_000
"""Of the game, in a run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is missing; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="of the runs' tables")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="N", help="players")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), metavar="N")
    parser.add_argument("--until", type=float, default=max(LEVELS), help="score at which a run ends (%(default)s)")
    parser.add_argument("--most-steps", type=int, default=MOST_STEPS, help="of the game, in a run (%(default)s)")
    parser.add_argument("--add", action="store_true", help="write docs/results/teams.csv, .svg and .md")
    parser.add_argument("--no-figure", action="store_true", help="leave the figure, which needs Chromium")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for players in options.sizes:
            path = options.folder / f"players{players}-seed{seed}.csv"
            if not path.exists():
                _run(players, seed, path, options.until, options.most_steps)
                print(f"{path.name}: {_last(path)}", file=sys.stderr, flush=True)
    paths = sorted(options.folder.glob("players*.csv"))
    if options.add:
        _join(paths, RESULTS / "teams.csv")
        rows = read_tables([RESULTS / "teams.csv"])
        (RESULTS / "teams.md").write_text(page(rows))
        if not options.no_figure:
            draw(figure(rows), RESULTS / "teams.svg")
        print(RESULTS / "teams.md")
    else:
        print("\n".join(table_of_levels(read_tables(paths))))
    return 0


def _run(players: int, seed: int, path: Path, until: float, most_steps: int) -> None:
    """One run, in a separate process."""
    command = [sys.executable, "-m", "benchmarks.teams_run", str(players), str(seed), str(path.resolve())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(until), str(most_steps)], cwd=ROOT, env=environment, check=True)


def _last(path: Path) -> str:
    row = list(csv.DictReader(path.open(encoding="utf-8")))[-1]
    return f"score {row['score']} after {row['game_steps']} steps, {float(row['seconds']):.0f} s"


def _join(paths: Sequence[Path], out: Path) -> None:
    """Writes all tables as one, by players and seed."""
    with out.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for path in paths:
            with path.open(encoding="utf-8") as source:
                table.writerows(csv.DictReader(source))


if __name__ == "__main__":
    sys.exit(main())
