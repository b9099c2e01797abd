"""Cost against size: observations/s, the noise scale's overhead and memory by environments, batch and groups.

    python -m benchmarks.sizes [--all] [--seconds 15] [--only SWEEP ...] [--csv FILE] [--figure FILE] [--markdown FILE]

Runs the training's collectors, updater and ride-along without RLlib, in a fresh process for every size. Each rollout is
learned from twice, with the noise scale and without, in alternating order, so that other load on the machine affects
both. The probe is left out: it keeps to a budget of time at any size. One axis varies at a time:

    environments   8 to 512; rollouts of 2,048 observations, 4 batches of 512: more environments, fewer steps of each
    batch          256 to 32,768; 64 environments, one batch per epoch: the rollout is the batch; 8 groups
    groups         2 to 64; 128 environments x 8 steps, one batch of 1,024 per epoch

4 epochs throughout, preset `ppo` otherwise. By default a few sizes of each axis, about 10 minutes on 2 cores; `--all`
takes every power of two.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.sizes_worker import Size
from benchmarks.throughput_processes import ROOT
from rlgns.envs.games import GAMES
from rlgns.machine import hardware
from rlgns.machine.commit import source_commit

FEW: dict[str, tuple[int, ...]] = {
    "environments": (8, 32, 128, 512),
    "batch": (256, 1024, 4096, 32768),
    "groups": (2, 8, 64),
}
ALL: dict[str, tuple[int, ...]] = {
    "environments": (8, 16, 32, 64, 128, 256, 512),
    "batch": (256, 512, 1024, 2048, 4096, 8192, 16384, 32768),
    "groups": (2, 4, 8, 16, 32, 64),
}
"""Values of each axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One size's result."""

    sweep: str
    num_envs: int
    rollout_steps: int
    batch_observations: int
    groups: int
    observations_per_s_off: float
    """Median, noise scale off."""
    observations_per_s_on: float
    overhead_percent: float
    """Median over rounds of time on / time off - 1."""
    overhead_low: float
    overhead_high: float
    rounds: int
    peak_mb: float
    """Of the process with both updaters."""
    start_s: float

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Point:
        """Reads a worker's output."""
        size = Size(**{field.name: found[field.name] for field in fields(Size)})
        run = size.run("pong")  # the sizes are the same of any game
        rounds = list(zip(found["play_s"], found["on_s"], found["off_s"], strict=True))
        overhead = sorted(100 * (on - off) / (play + off) for play, on, off in rounds)
        seconds = {name: statistics.median(found[name]) for name in ("play_s", "on_s", "off_s")}
        return cls(
            sweep=size.sweep,
            num_envs=size.num_envs,
            rollout_steps=size.rollout_steps,
            batch_observations=run.batch_observations,
            groups=run.groups_per_batch,
            observations_per_s_off=run.rollout_observations / (seconds["play_s"] + seconds["off_s"]),
            observations_per_s_on=run.rollout_observations / (seconds["play_s"] + seconds["on_s"]),
            overhead_percent=statistics.median(overhead),
            overhead_low=overhead[0],
            overhead_high=overhead[-1],
            rounds=len(rounds),
            peak_mb=found["peak_bytes"] / 1e6,
            start_s=found["start_s"],
        )

    @property
    def at(self) -> int:
        """The value on its axis."""
        return {"environments": self.num_envs, "batch": self.batch_observations, "groups": self.groups}[self.sweep]


def sizes(values: Mapping[str, Sequence[int]]) -> list[Size]:
    """Returns the sizes of every axis, smallest first."""
    made = {
        "environments": lambda n: Size(
            sweep="environments", num_envs=n, rollout_steps=2048 // n, minibatches=4, groups=8
        ),
        "batch": lambda n: Size(sweep="batch", num_envs=64, rollout_steps=n // 64, minibatches=1, groups=8),
        "groups": lambda n: Size(sweep="groups", num_envs=128, rollout_steps=8, minibatches=1, groups=n),
    }
    return [made[sweep](value) for sweep, axis in values.items() for value in sorted(axis)]


def table(points: Sequence[Point]) -> list[str]:
    """Returns the points as Markdown."""
    lines = [
        "| varied | environments | steps | batch | groups | observations/s, off | on | overhead, % | lowest to highest "
        "| rounds | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for p in points:
        lines.append(
            f"| {p.sweep} | {p.num_envs} | {p.rollout_steps} | {p.batch_observations:,} | {p.groups} "
            f"| {p.observations_per_s_off:,.0f} | {p.observations_per_s_on:,.0f} | {p.overhead_percent:+.1f} "
            f"| {p.overhead_low:+.1f} to {p.overhead_high:+.1f} | {p.rounds} | {p.peak_mb:,.0f} |"
        )
    return lines


def write_csv(points: Sequence[Point], path: Path) -> None:
    """Writes a row per point."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Point))
        for point in points:
            rows.writerow(f"{value:.5g}" if isinstance(value, float) else value for value in astuple(point))


def figure(points: Sequence[Point], path: Path) -> None:
    """Draws rate, overhead and memory against each axis."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams |= {"svg.hashsalt": "rlgns", "svg.fonttype": "none", "font.size": 9}
    sweeps = list(dict.fromkeys(point.sweep for point in points))
    _, grid = plt.subplots(
        3,
        len(sweeps),
        figsize=(3 * len(sweeps) + 1, 6.5),
        sharex="col",
        sharey="row",
        layout="constrained",
        squeeze=False,
    )
    for column, sweep in enumerate(sweeps):
        mine = [point for point in points if point.sweep == sweep]
        rate, overhead, memory = grid[:, column]
        at = [point.at for point in mine]
        rate.plot(at, [point.observations_per_s_off for point in mine], "o-", ms=3, lw=1.2, label="noise scale off")
        rate.plot(at, [point.observations_per_s_on for point in mine], "s--", ms=3, lw=1.2, label="on")
        middle = [point.overhead_percent for point in mine]
        ends = [
            [point.overhead_percent - point.overhead_low for point in mine],
            [point.overhead_high - point.overhead_percent for point in mine],
        ]
        overhead.errorbar(at, middle, ends, fmt="o-", ms=3, lw=1.2, elinewidth=0.8, capsize=2)
        overhead.axhline(0, lw=0.8, color="gray", ls=":")
        memory.plot(at, [point.peak_mb for point in mine], "o-", ms=3, lw=1.2)
        memory.set_xlabel({"batch": "batch, observations"}.get(sweep, sweep))
        memory.set_xscale("log", base=2)
        memory.set_xticks(at, [f"{value:,}" for value in at], rotation=45)
        for axes in (rate, overhead, memory):
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    for axes, label in zip(grid[:, 0], ("observations/s", "noise scale's overhead, %", "peak memory, MB"), strict=True):
        axes.set_ylabel(label)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0 if label != "noise scale's overhead, %" else None)
    grid[0, 0].legend(frameon=False)
    plt.savefig(path, metadata={"Date": None})
    plt.close()


def page(points: Sequence[Point], failed: Sequence[str], options: argparse.Namespace, words: Sequence[str]) -> str:
    """Returns the results as a Markdown page, with links to figure and table where they were asked for."""
    lines = [
        f"# Cost against size, {datetime.date.today().isoformat()}",
        "",
        f"- Command: `python -m benchmarks.sizes {shlex.join(words)}`, commit {source_commit() or 'unknown'}",
        f"- Machine: {hardware.detect().describe()}",
        f"- Training: {options.game}, preset `ppo`, 4 epochs; no RLlib around it, no probe. Every rollout is learned "
        "from twice, with the noise scale and without, in alternating order; rates are from medians, overheads are "
        "paired. Peak memory is that of one process with two optimizers.",
        "- Environments: rollouts of 2,048 observations, 4 batches of 512. Batch: 64 environments, one batch per "
        "epoch. Groups: 128 environments x 8 steps, one batch of 1,024.",
        "",
    ]
    if options.figure:
        lines += [f"![rate, overhead and memory against size]({options.figure.name})", ""]
    lines += [*table(points), ""]
    lines += [f"- Not measured: {what}." for what in failed]
    if options.csv:
        lines += [f"The points: [{options.csv.name}]({options.csv.name}).", ""]
    return "\n".join(lines)


def measure(size: Size, seconds: float, game: str) -> Point:
    """Measures one size in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.sizes_worker", json.dumps(asdict(size)), str(seconds), game]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    answer = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return Point.of(json.loads(answer.stdout))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every size and prints a page; writes the files that were asked for. Returns 1 where a size failed."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sizes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="every power of two on each axis")
    parser.add_argument("--only", nargs="+", choices=list(FEW), default=list(FEW), metavar="SWEEP", help="axes")
    parser.add_argument("--most", type=int, default=2**30, help="largest value on an axis")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="seconds per size, start-up not counted (%(default)s)"
    )
    parser.add_argument("--game", choices=list(GAMES), default="pong", metavar="GAME", help="ROM name (%(default)s)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the points")
    parser.add_argument("--figure", type=Path, metavar="FILE.svg", help="draw the curves; needs matplotlib")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page")
    options = parser.parse_args(words)
    axes = ALL if options.all else FEW
    chosen = {sweep: [value for value in axes[sweep] if value <= options.most] for sweep in options.only}
    points, failed = [], []
    for size in sizes(chosen):
        try:
            points.append(measure(size, options.seconds, options.game))
            print(f"{size.sweep} {points[-1].at:,}: {points[-1].rounds} rounds", file=sys.stderr, flush=True)
        except subprocess.CalledProcessError as failure:  # out of memory, for example: the other sizes still count
            failed.append(f"{json.dumps(asdict(size))} ended with code {failure.returncode}")
            print(failed[-1], file=sys.stderr, flush=True)
    made = page(points, failed, options, words)
    print(made)
    if options.markdown:
        options.markdown.write_text(made, encoding="utf-8")
    if options.csv:
        write_csv(points, options.csv)
    if options.figure:
        figure(points, options.figure)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
