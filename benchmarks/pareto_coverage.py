"""Coverage of the critical batch's interval over synthetic sweeps; prints the tables of docs/notes/pareto-coverage.md.

    python -m benchmarks.pareto_coverage [--repetitions 1000] [--seeds 1 3] [--part grid|beside|all]

A sweep has batch sizes 2^k with one run or three runs (seeds) each, and ln S = ln S_min + ln(1 + B_crit / B) + normal
noise. The bend lies in the middle of the batches (at their geometric mean), near an edge (at the second-largest size,
where B_crit is seen from one side only) or outside (8 times the largest, an eighth of the smallest). A failed run takes
3 to 10 times as long as it should; with several seeds all runs of one batch size may also share a misfit.

Other estimators for comparison: least squares over all runs, Huber's loss (`scipy.optimize.least_squares`, scale from
the median absolute residual), and the usual normal interval B +- 1.96 standard errors, which is known to fail.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit, least_squares

from rlgns.critical.pareto import ParetoFit, fit_pareto
from rlgns.critical.pareto_curve import Curve

Array = NDArray[np.float64]

SMALLEST = 64.0
SIZES = (5, 8, 12)
BENDS = ("middle", "edge", "beyond the largest", "below the smallest")
NOISES = (0.05, 0.15, 0.3)
MIN_STEPS = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One simulated kind of sweep."""

    sizes: int = 8
    bend: str = "middle"
    noise: float = 0.15
    """Standard deviation of ln S of a run."""
    seeds: int = 1
    failed: bool = False
    """Whether one random run took 3 to 10 times as long."""
    misfit: float = 0.0
    """Standard deviation of ln S that all runs of one batch size share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The result of a cell, as shares of its sweeps."""

    covered: float
    covered_if_identified: float
    """NaN where fewer than 20 sweeps were identified."""
    identified: float
    width: float
    """Median of high / low of the identified ones; NaN where there are none."""
    outliers: float
    """Sweeps with at least one run left out as an outlier."""
    bias: float
    """Median of ln(estimate / truth)."""
    error: float
    """Root mean square of ln(estimate / truth), clipped to a factor of 20; NaN counts as 20."""


def critical_batch(cell: Cell) -> float:
    """The true B_crit of a cell."""
    largest = SMALLEST * 2 ** (cell.sizes - 1)
    return {
        "middle": float(np.sqrt(SMALLEST * largest)),
        "edge": largest / 2,
        "beyond the largest": 8 * largest,
        "below the smallest": SMALLEST / 8,
    }[cell.bend]


def draw_sweep(cell: Cell, rng: np.random.Generator) -> tuple[Array, Array]:
    """Batch sizes and steps of one sweep, [runs] each."""
    sizes = SMALLEST * 2.0 ** np.arange(cell.sizes)
    shared = cell.misfit * rng.standard_normal(cell.sizes)
    batch = np.tile(sizes, cell.seeds)
    log_steps = np.log(MIN_STEPS * (1 + critical_batch(cell) / batch)) + np.tile(shared, cell.seeds)
    log_steps += cell.noise * rng.standard_normal(len(batch))
    if cell.failed:
        log_steps[rng.integers(len(batch))] += rng.uniform(np.log(3), np.log(10))
    return batch, np.exp(log_steps)


def measure(cell: Cell, repetitions: int, seed: int = 0) -> Result:
    """Fits so many sweeps of one kind."""
    rng = np.random.default_rng([seed, *cell_key(cell)])
    fits = [fit_pareto(*draw_sweep(cell, rng), resamples=500) for _ in range(repetitions)]
    return summary(fits, critical_batch(cell))


def cell_key(cell: Cell) -> list[int]:
    """Returns integers that differ between cells, for the seed."""
    numbers = (cell.sizes, BENDS.index(cell.bend), 1000 * cell.noise, cell.seeds, cell.failed, 1000 * cell.misfit)
    return [round(number) for number in numbers]


def summary(fits: list[ParetoFit], truth: float) -> Result:
    """Shares and medians over fits of the same truth."""
    covered = np.array([fit.critical_batch_low <= truth <= fit.critical_batch_high for fit in fits])
    identified = np.array([fit.identified for fit in fits])
    known = [fit for fit in fits if fit.identified]
    return Result(
        covered=float(covered.mean()),
        covered_if_identified=float(covered[identified].mean()) if len(known) >= 20 else float("nan"),
        identified=float(identified.mean()),
        width=float(np.median([f.critical_batch_high / f.critical_batch_low for f in known]))
        if known
        else float("nan"),
        outliers=float(np.mean([bool(fit.outliers) for fit in fits])),
        bias=float(np.nanmedian(np.log([fit.critical_batch / truth for fit in fits]))),
        error=log_error([fit.critical_batch for fit in fits], truth),
    )


def log_error(estimates: list[float], truth: float) -> float:
    """Root mean square of ln(estimate / truth), clipped."""
    logs = np.nan_to_num(np.log(np.array(estimates) / truth), nan=np.log(20.0))
    return float(np.sqrt(np.mean(np.clip(logs, -np.log(20), np.log(20)) ** 2)))


def plain_estimate(batch: Array, steps: Array) -> float:
    """Least squares over all runs."""
    return float(np.exp(Curve(np.log(batch), np.log(steps)).log_critical))


def huber_estimate(batch: Array, steps: Array) -> float:
    """Huber's loss, bend at 1.345 robust standard deviations, starting from the plain fit."""
    curve = Curve(np.log(batch), np.log(steps))
    start = np.array([curve.log_min_steps, curve.log_critical])

    def residuals(p: Array) -> Array:
        return p[0] + np.logaddexp(0.0, p[1] - curve.log_batch) - curve.log_steps

    for _ in range(5):
        scale = max(1.4826 * float(np.median(np.abs(residuals(start)))), 1e-3)
        start = least_squares(residuals, start, loss="huber", f_scale=1.345 * scale).x
    return float(np.exp(start[1]))


def normal_interval(batch: Array, steps: Array, *, in_logs: bool = False) -> tuple[float, float]:
    """B +- 1.96 standard errors of a non-linear least-squares fit of S, or of ln S; known to fail."""
    curve = Curve(np.log(batch), np.log(steps))
    start = np.exp([curve.log_min_steps, curve.log_critical])

    def law(b: Array, least: float, critical: float) -> Array:
        value = least * (1 + critical / b)
        return np.log(np.maximum(value, 1e-9)) if in_logs else value

    fitted, covariance = curve_fit(law, batch, np.log(steps) if in_logs else steps, p0=start, maxfev=4000)
    half = 1.96 * float(np.sqrt(covariance[1, 1]))
    return float(fitted[1]) - half, float(fitted[1]) + half


def grid(seeds: tuple[int, ...] = (1, 3)) -> list[Cell]:
    """The cells of the main table."""
    return [
        Cell(sizes=sizes, bend=bend, noise=noise, seeds=count, failed=failed)
        for count, failed, bend, sizes, noise in itertools.product(seeds, (False, True), BENDS, SIZES, NOISES)
    ]


def table(results: dict[Cell, Result]) -> str:
    """Markdown: one line per kind of sweep, with the spread over sizes and noises."""
    lines = [
        "| seeds | failed run | bend | covered %, lowest to highest (mean) | covered if identified % | identified % "
        "| high / low | sweeps with a run left out % |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def span(values: list[float], form: str = "{:.1f}") -> str:
        values = [value for value in values if np.isfinite(value)]
        return f"{form.format(min(values))} to {form.format(max(values))}" if values else "-"

    for seeds, failed, bend in itertools.product((1, 3), (False, True), BENDS):
        rows = [r for c, r in results.items() if (c.seeds, c.failed, c.bend) == (seeds, failed, bend)]
        if rows:
            covered = [100 * row.covered for row in rows]
            lines.append(
                f"| {seeds} | {'one' if failed else 'none'} | {bend} | {span(covered)} ({np.mean(covered):.1f}) "
                f"| {span([100 * row.covered_if_identified for row in rows])} "
                f"| {span([100 * row.identified for row in rows], '{:.0f}')} "
                f"| {span([row.width for row in rows], '{:.2g}')} "
                f"| {span([100 * row.outliers for row in rows])} |"
            )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Prints coverage over the grid, and the comparison with other estimators and intervals."""
    parser = argparse.ArgumentParser(description="coverage of the critical batch's interval over synthetic sweeps")
    parser.add_argument("--repetitions", type=int, default=1000, help="sweeps per cell")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3], help="seeds of the grid's sweeps")
    parser.add_argument("--part", choices=("grid", "beside", "all"), default="all", help="which tables")
    chosen = parser.parse_args(arguments)
    started = time.perf_counter()
    print(f"{chosen.repetitions} sweeps per cell, level 95 %\n")
    if chosen.part in ("grid", "all"):
        results = {}
        for cell in grid(tuple(chosen.seeds)):
            results[cell] = measure(cell, chosen.repetitions)
            print(cell, results[cell], file=sys.stderr, flush=True)
        print(table(results))
    if chosen.part in ("beside", "all"):
        print_beside(chosen.repetitions)
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)


def print_beside(repetitions: int) -> None:
    """Prints the effect of a shared misfit, the errors of other estimators, and the coverage of other intervals."""
    print("| shared misfit; 3 seeds, 8 sizes, noise 0.15 | covered % | high / low |\n|---|---|---|")
    for misfit in (0.0, 0.05, 0.15, 0.3):
        result = measure(Cell(seeds=3, misfit=misfit), repetitions)
        print(f"| {misfit:g} | {100 * result.covered:.1f} | {result.width:.2f} |", flush=True)
    print("\n| noise; 8 sizes, bend in the middle | failed run | rms error of ln B: left out | plain | Huber |")
    print("|---|---|---|---|---|")
    estimators = (lambda batch, steps: fit_pareto(batch, steps).critical_batch, plain_estimate, huber_estimate)
    for noise, failed in itertools.product(NOISES, (False, True)):
        cell, rng = Cell(noise=noise, failed=failed), np.random.default_rng(1)
        sweeps = [draw_sweep(cell, rng) for _ in range(repetitions)]
        errors = [log_error([estimate(*runs) for runs in sweeps], critical_batch(cell)) for estimate in estimators]
        print(f"| {noise:g} | {'one' if failed else 'none'} | {' | '.join(f'{e:.3f}' for e in errors)} |", flush=True)
    print(
        "\n| sizes; noise 0.15, bend in the middle | profile covers % | B +- 1.96 s.e., ln S % | the same, S itself % |"
    )
    print("|---|---|---|---|")
    for sizes in SIZES:
        cell, rng = Cell(sizes=sizes), np.random.default_rng(2)
        sweeps, truth = [draw_sweep(cell, rng) for _ in range(repetitions)], critical_batch(cell)
        shares = [summary([fit_pareto(*runs) for runs in sweeps], truth).covered]
        for in_logs in (True, False):
            ends = [normal_interval(*runs, in_logs=in_logs) for runs in sweeps]
            shares.append(float(np.mean([low <= truth <= high for low, high in ends])))
        print(f"| {sizes} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
