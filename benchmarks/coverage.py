"""Coverage of the noise scale's interval over a grid of known truths; prints the table of docs/notes/interval.md.

    python -m benchmarks.coverage [--repetitions 4000] [--updates 2000] [--quick]

Every cell simulates runs of `updates` batches, feeds the moments to the same blocks and interval as training does, and
counts how often the interval contains the truth: the ratio of the true moments under the weights of the sums.

- Noise is isotropic in `dimension` dimensions. The moments of a batch then follow from a few chi-square and normal
  draws (Gram matrices of M <= 16 groups), exactly; no gradient is ever formed.
- Autocorrelation r: the errors of both moments follow x_t = r x_(t-1) + sqrt(1 - r^2) e_t, with e_t as in an
  independent batch.
- Growing: the noise scale grows tenfold, evenly in the logarithm: |G|^2 falls and the trace rises by sqrt(10) each.
- Heavy: every group's gradient is multivariate Student t with 5 degrees of freedom.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from rlgns.noise.block_sums import BlockSums
from rlgns.noise.interval import fieller
from rlgns.noise.long_run_variance import mean_covariance

Array = NDArray[np.float64]

BATCH = 256
BATCH_OVER_NOISE_SCALE = (0.01, 0.1, 1.0, 10.0)
DIMENSIONS = (20, 200, 2000)
GROUPS = (2, 4, 16)
AUTOCORRELATIONS = (0.0, 0.9)
KINDS = ("constant", "growing", "heavy")
STUDENT_DEGREES = 5
BURN_IN = 100
ALWAYS_BOUNDED = 0.99
"""A cell counts as bounded from this share of runs with a bounded interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Draws behind the moments of all cells with the same groups and dimension; unit variance per axis."""

    along: Array
    """Mean over groups of the noise along the true gradient, [updates, repetitions]."""

    off_diagonal: Array
    """Mean inner product of two groups' noise."""

    spread: Array
    """Mean squared norm less `off_diagonal`; expected value: the dimension."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One simulated situation."""

    ratio: float
    dimension: int
    groups: int
    autocorrelation: float
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """The result of a cell."""

    covered: float
    """Share of runs whose interval or bound contains the truth."""

    bounded: float
    """Share of runs with a finite upper end."""

    covered_if_bounded: float
    """Share of the bounded ones that contain the truth; NaN if there are none."""

    below: float
    """Share of runs whose lower end lies above the truth."""

    width: float
    """Median of high / low; infinite where most are unbounded."""


def draw_noise(
    rng: np.random.Generator, updates: int, repetitions: int, dimension: int, groups: int, heavy: bool
) -> Noise:
    """Returns independent draws of what a batch's moments depend on."""
    shape = (updates, repetitions)
    if not heavy:
        first = rng.standard_normal(shape)
        mean_sq = (first**2 + rng.chisquare(dimension - 1, shape)) / groups
        within = rng.chisquare(dimension * (groups - 1), shape)
        return Noise(
            along=first / np.sqrt(groups),
            off_diagonal=mean_sq - within / (groups * (groups - 1)),
            spread=within / (groups - 1),
        )
    # Bartlett: the groups' noise as rows of a lower triangular matrix, so that its Gram matrix is a Wishart draw.
    scale = np.sqrt((STUDENT_DEGREES - 2) / rng.chisquare(STUDENT_DEGREES, (groups, *shape)))
    total_sq = np.zeros(shape)
    mean_sq = np.zeros(shape)
    for column in range(groups):
        entries = scale[column] * np.sqrt(rng.chisquare(dimension - column, shape))
        sums = entries.copy()
        total_sq += entries**2
        for row in range(column + 1, groups):
            entries = scale[row] * rng.standard_normal(shape)
            sums += entries
            total_sq += entries**2
        mean_sq += (sums / groups) ** 2
    cosine = rng.standard_normal(shape)
    cosine /= np.sqrt(cosine**2 + rng.chisquare(dimension - 1, shape))
    off_diagonal = (groups**2 * mean_sq - total_sq) / (groups * (groups - 1))
    return Noise(along=np.sqrt(mean_sq) * cosine, off_diagonal=off_diagonal, spread=total_sq / groups - off_diagonal)


def correlate(noise: Noise, dimension: int, autocorrelation: float) -> Noise:
    """Returns the same draws as errors of a first-order autoregression, without the first BURN_IN updates."""

    def filtered(x: Array) -> Array:
        if autocorrelation == 0:
            return x[BURN_IN:]
        shock = np.sqrt(1 - autocorrelation**2) * x
        shock[0] = x[0]
        result: Array = lfilter([1.0], [1.0, -autocorrelation], shock, axis=0)[BURN_IN:]
        return result

    return Noise(
        along=filtered(noise.along),
        off_diagonal=filtered(noise.off_diagonal),
        spread=dimension + filtered(noise.spread - dimension),
    )


def simulate(noise: Noise, cell: Cell) -> tuple[Array, Array, Array]:
    """Moments [2 (grad_sq, trace), updates, repetitions] and their true values, each [updates]."""
    updates = len(noise.along)
    progress = np.linspace(-0.5, 0.5, updates) if cell.kind == "growing" else np.zeros(updates)
    grad_sq = 10 ** (-progress / 2)
    trace = BATCH / cell.ratio * 10 ** (progress / 2)
    per_group = BATCH // cell.groups
    sigma = np.sqrt(trace / cell.dimension / per_group)[:, None]
    measured = grad_sq[:, None] + 2 * np.sqrt(grad_sq)[:, None] * sigma * noise.along + sigma**2 * noise.off_diagonal
    return np.stack([measured, per_group * sigma**2 * noise.spread]), grad_sq, trace


def coverage(moments: Array, grad_sq: Array, trace: Array, horizon: float | None, level: float = 0.95) -> Coverage:
    """Runs the blocks and the interval over simulated moments."""
    sums, truth_sums = BlockSums(horizon), BlockSums(horizon)
    for t in range(moments.shape[1]):
        sums.update(moments[:, t], BATCH)
        truth_sums.update(np.array([grad_sq[t], trace[t]]), BATCH)
    mean, true_mean = sums.mean(), truth_sums.mean()
    assert mean is not None
    assert true_mean is not None
    truth = float(true_mean[1] / true_mean[0])
    observations, weights, means = sums.blocks()
    covariance = mean_covariance(observations, weights, means[:, ::-1])
    intervals = [
        fieller(float(mean[1, r]), float(mean[0, r]), covariance.matrix[..., r], covariance.degrees_of_freedom, level)
        for r in range(mean.shape[1])
    ]
    low = np.array([i.low for i in intervals])
    high = np.array([i.high for i in intervals])
    bounded = np.array([i.resolved for i in intervals])
    covered = (low <= truth) & (truth <= high)
    return Coverage(
        covered=float(covered.mean()),
        bounded=float(bounded.mean()),
        covered_if_bounded=float(covered[bounded].mean()) if bounded.any() else float("nan"),
        below=float((low > truth).mean()),
        width=float(np.median(high / np.maximum(low, 1e-300))),
    )


def grid(
    repetitions: int,
    updates: int,
    *,
    horizon: float | None = None,
    ratios: tuple[float, ...] = BATCH_OVER_NOISE_SCALE,
    dimensions: tuple[int, ...] = DIMENSIONS,
    groups: tuple[int, ...] = GROUPS,
    autocorrelations: tuple[float, ...] = AUTOCORRELATIONS,
    kinds: tuple[str, ...] = KINDS,
    seed: int = 0,
) -> dict[Cell, Coverage]:
    """Coverage of every combination; cells that share dimension, groups and tails share their random draws."""
    results = {}
    for dimension, count, heavy in itertools.product(dimensions, groups, (False, True)):
        wanted = [kind for kind in kinds if (kind == "heavy") == heavy]
        if not wanted:
            continue
        rng = np.random.default_rng([seed, dimension, count, heavy])
        noise = draw_noise(rng, updates + BURN_IN, repetitions, dimension, count, heavy)
        for autocorrelation in autocorrelations:
            errors = correlate(noise, dimension, autocorrelation)
            for kind, ratio in itertools.product(wanted, ratios):
                cell = Cell(ratio=ratio, dimension=dimension, groups=count, autocorrelation=autocorrelation, kind=kind)
                results[cell] = coverage(*simulate(errors, cell), horizon)
    return results


def table(results: dict[Cell, Coverage]) -> str:
    """Markdown: one line per kind, autocorrelation and batch size, with the spread over dimensions and groups."""
    lines = [
        "| truth | autocorrelation | batch / noise scale | bounded % | covered %, lowest to highest (mean) "
        "| bound too high % | high / low, median |",
        "|---|---|---|---|---|---|---|",
    ]

    def span(values: list[float], form: str = "{:.1f}") -> str:
        low, high = form.format(min(values)), form.format(max(values))
        return low if low == high else f"{low} to {high}"

    for kind, autocorrelation, ratio in itertools.product(KINDS, AUTOCORRELATIONS, BATCH_OVER_NOISE_SCALE):
        key = (kind, autocorrelation, ratio)
        rows = [c for cell, c in results.items() if (cell.kind, cell.autocorrelation, cell.ratio) == key]
        if rows:
            covered = [100 * c.covered for c in rows]
            lines.append(
                f"| {kind} | {autocorrelation:g} | {ratio:g} | {span([100 * c.bounded for c in rows])} "
                f"| {span(covered)} ({np.mean(covered):.1f}) | {span([100 * c.below for c in rows])} "
                f"| {span([c.width for c in rows], '{:.3g}')} |"
            )
    return "\n".join(lines)


def verdict(results: dict[Cell, Coverage]) -> str:
    """One line: coverage over all cells, and over those that are bounded in nearly every run."""
    covered = np.array([100 * c.covered for c in results.values()])
    bounded = np.array([100 * c.covered for c in results.values() if c.bounded >= ALWAYS_BOUNDED])
    inside = int(np.sum((bounded >= 93) & (bounded <= 97)))
    return (
        f"All {len(covered)} cells: {covered.min():.1f} to {covered.max():.1f}, mean {covered.mean():.2f}. "
        f"Cells bounded in {100 * ALWAYS_BOUNDED:.0f} % of the runs or more: {len(bounded)}, "
        f"{bounded.min():.1f} to {bounded.max():.1f}, mean {bounded.mean():.2f}; {inside} of them within 93 to 97."
    )


def main(arguments: list[str]) -> None:
    """Prints the grid, then shorter runs, and a horizon much shorter than the run."""
    parser = argparse.ArgumentParser(description="coverage of the noise scale's interval over known truths")
    parser.add_argument("--repetitions", type=int, default=4000, help="runs per cell")
    parser.add_argument("--updates", type=int, default=2000, help="batches per run")
    parser.add_argument("--quick", action="store_true", help="200 runs of 400 batches, one dimension")
    chosen = parser.parse_args(arguments)
    repetitions, updates = (200, 400) if chosen.quick else (chosen.repetitions, chosen.updates)
    dimensions = (200,) if chosen.quick else DIMENSIONS
    started = time.perf_counter()
    results = grid(repetitions, updates, dimensions=dimensions)
    print(f"{repetitions} runs of {updates} batches per cell, level 95 %, no horizon\n")
    print(table(results), verdict(results), sep="\n\n")
    beyond = [(60, None), (150, None), (400, None)] if not chosen.quick else []
    for count, horizon in [*beyond, (updates, updates * BATCH / 4)]:
        what = "no horizon" if horizon is None else "a horizon of a quarter of the run"
        print(f"\n{repetitions} runs of {count} batches, {what}, dimension 200, 4 groups\n")
        print(table(grid(repetitions, count, horizon=horizon, dimensions=(200,), groups=(4,))))
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
