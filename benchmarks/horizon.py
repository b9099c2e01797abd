"""Coverage of the noise scale now, where the truth stands still, grows or jumps: the table of docs/notes/horizon.md.

    python -m benchmarks.horizon [--repetitions 200] [--lengths 60000 200000 1000000]

Runs of batches of 256 observations in 8 groups; gradients as in `benchmarks.coverage`, every batch divided by the mean
size of those before (`rlgns.noise.GradientSize` without its jumps, side by side for all runs). Read at a tenth, a
quarter, half, three quarters and the end of each run. The twin has the horizon of 200,000 observations that all runs
had before; its interval takes the noise scale for constant.

Widths are those of the interval of 1 / N, which is finite where N has a lower bound alone.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage import BATCH, Noise, draw_noise
from rlgns.noise.block_sums import BlockSums
from rlgns.noise.horizon import choose_horizon
from rlgns.noise.interval import fieller
from rlgns.noise.long_run_variance import mean_covariance

Array = NDArray[np.float64]

GROUPS = 8
PER_GROUP = BATCH // GROUPS
READ_AT = (0.1, 0.25, 0.5, 0.75, 1.0)
OLD_HORIZON = 200_000.0
SIZE_BATCHES = 16
TRUTHS = ("constant", "heavy", "tenfold", "pong", "late", "early", "jump up", "jump down")
SITUATIONS = ((0.2, 15), (2, 15), (2, 200), (10, 15), (10, 200))
"""Noise scale at the end / batch, dimension of the noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What one set of runs says at one time."""

    length: int
    truth: str
    situation: tuple[float, int]
    at: float
    covered: float
    twin_covered: float
    width: float
    """Median width of the interval now, against plain sums over everything."""
    mean_width: float
    """The same for the interval of the mean of the last H."""
    horizon: float
    """Median horizon / observations so far."""


def truth_of(kind: str, updates: int, last: float) -> Array:
    """The noise scale at each batch; `last` at the end of the run. Exponents as measured on Pong (docs/results)."""
    share = (np.arange(updates) + 1) / updates
    after = share >= 0.6
    match kind:
        case "tenfold":
            return last * 10 ** (share - 1)
        case "pong":
            return last * share**0.93
        case "late":  # three times as steep from 60 % of the run on
            return last * np.where(after, share**3, 0.6**3 * (share / 0.6) ** 0.93)
        case "early":  # a hundredfold within the first fifth, then it stands still
            return last * 100 ** (np.minimum(share / 0.2, 1) - 1)
        case "jump up":
            return np.where(after, last, last / 5)
        case "jump down":
            return np.where(after, last, last * 5)
        case _:
            return np.full(updates, last)


def relative_moments(noise: Noise, truth: Array, dimension: int) -> Array:
    """Moments of every batch [updates, 2 (grad_sq, trace), runs], divided by the size of gradients before it."""
    grad_sq, trace = truth**-0.5, truth**0.5
    sigma = np.sqrt(trace / dimension / PER_GROUP)[:, None]
    measured = grad_sq[:, None] + 2 * np.sqrt(grad_sq)[:, None] * sigma * noise.along + sigma**2 * noise.off_diagonal
    moments = np.stack([measured, PER_GROUP * sigma**2 * noise.spread], axis=1)
    log_size = np.log(moments[:, 0] + moments[:, 1] / PER_GROUP)
    mean = log_size[0]
    for place in range(len(moments)):
        moments[place] *= np.exp(-mean)
        mean = mean + (log_size[place] - mean) / min(place + 2, SIZE_BATCHES)
    return moments


def intervals(sums: BlockSums, *, follow: bool) -> Array:
    """[runs, 5]: low and high of the mean, low and high now, horizon."""
    observations, weights, means = sums.blocks()
    longest = math.inf if sums.horizon is None else sums.horizon
    rows = []
    for run in range(means.shape[2]):
        mine, its, drift, horizon = means[..., run], weights, 0.0, longest
        if follow:
            chosen = choose_horizon(observations, mine, longest)
            its, horizon = chosen.weights(observations, weights, longest), chosen.observations
            drift = chosen.drift_variance
        grad_sq, trace = its @ mine / its.sum()
        covariance = mean_covariance(observations, its, mine[:, ::-1])
        row = []
        for added in (0.0, drift):
            matrix = covariance.matrix + np.diag([0.0, added])
            found = fieller(float(trace), float(grad_sq), matrix, covariance.degrees_of_freedom, 0.95)
            row += [found.low, found.high]
        rows.append([*row, min(horizon, observations.sum())])
    return np.array(rows)


def width(low: Array, high: Array) -> float:
    """Median width of the interval of 1 / N."""
    return float(np.median(1 / np.maximum(low, 1e-9) - 1 / high))


def cell(length: int, truth: str, situation: tuple[float, int], runs: int, seed: int = 1) -> list[Read]:
    """Simulates `runs` runs and reads them at every time."""
    ratio, dimension = situation
    updates = length // BATCH
    rng = np.random.default_rng([seed, length, round(10 * ratio), dimension])
    truths = truth_of(truth, updates, ratio * BATCH)
    noise = draw_noise(rng, updates, runs, dimension, GROUPS, truth == "heavy")
    moments = relative_moments(noise, truths, dimension)
    sums, old = BlockSums(None), BlockSums(OLD_HORIZON)
    times = {int(share * updates) - 1: share for share in READ_AT}
    reads = []
    for place in range(updates):
        sums.update(moments[place], BATCH)
        old.update(moments[place], BATCH)
        if place in times:
            now, plain, twin = intervals(sums, follow=True), intervals(sums, follow=False), intervals(old, follow=False)
            n = truths[place]
            reads.append(
                Read(
                    length=length,
                    truth=truth,
                    situation=situation,
                    at=times[place],
                    covered=float(np.mean((now[:, 2] <= n) & (n <= now[:, 3]))),
                    twin_covered=float(np.mean((twin[:, 0] <= n) & (n <= twin[:, 1]))),
                    width=width(now[:, 2], now[:, 3]) / width(plain[:, 0], plain[:, 1]),
                    mean_width=width(now[:, 0], now[:, 1]) / width(plain[:, 0], plain[:, 1]),
                    horizon=float(np.median(now[:, 4])) / ((place + 1) * BATCH),
                )
            )
    return reads


def table(reads: list[Read]) -> str:
    """Markdown: a line per truth and length."""
    ends = " | ".join(f"at {at:g}" for at in READ_AT)
    lines = [
        f"| truth | observations | N now covered %, lowest (mean) {ends} | fixed 200,000, mean | width now / mean of "
        "the last H | H / run at the end |",
        "|---" * (5 + len(READ_AT)) + "|",
    ]
    lines[0] = lines[0].replace("lowest (mean) at 0.1", "lowest (mean): at 0.1")
    for truth, length in itertools.product(TRUTHS, sorted({read.length for read in reads})):
        mine = [read for read in reads if (read.truth, read.length) == (truth, length)]
        if not mine:
            continue
        covered = []
        for at in READ_AT:
            values = [100 * read.covered for read in mine if read.at == at]
            covered.append(f"{min(values):.0f} ({np.mean(values):.0f})")
        last = [read.horizon for read in mine if read.at == 1]
        lines.append(
            f"| {truth} | {length:,} | {' | '.join(covered)} | {100 * np.mean([r.twin_covered for r in mine]):.0f} | "
            f"{np.mean([r.width for r in mine]):.2f} / {np.mean([r.mean_width for r in mine]):.2f} | "
            f"{min(last):.2g} to {max(last):.2g} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints the table, and the cells below 90 %."""
    parser = argparse.ArgumentParser(description="coverage of the noise scale now over known truths")
    parser.add_argument("--repetitions", type=int, default=200, help="runs per cell")
    parser.add_argument("--lengths", type=int, nargs="+", default=[60_000, 200_000, 1_000_000], help="observations")
    chosen = parser.parse_args()
    cells = itertools.product(chosen.lengths, TRUTHS, SITUATIONS)
    reads = [read for each in cells for read in cell(*each, chosen.repetitions)]
    print(table(reads))
    low = [read for read in reads if read.covered < 0.9]
    print(f"\n{len(low)} of {len(reads)} below 90 %:")
    for read in low:
        x, d = read.situation
        print(f"{read.truth}, {read.length:,} at {read.at:g}, N/B {x:g}, dimension {d}: {100 * read.covered:.0f} %")
    mean = np.mean([read.covered for read in reads])
    twin = np.mean([read.twin_covered for read in reads if read.truth not in ("constant", "heavy")])
    print(f"all: {100 * mean:.1f} %; the fixed horizon where the truth moves: {100 * twin:.1f} %")


if __name__ == "__main__":
    main()
