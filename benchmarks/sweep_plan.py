"""Which grid of batches, seeds and budget identifies Pong's bend: made-up sweeps, before one is run.

    python -m benchmarks.sweep_plan [--repetitions 200]

A trial at batch B takes E = E_256 (1 + B / B_crit) / (1 + 256 / B_crit) observations, times noise; E_256 is what single
runs took at batch 256 (docs/results/pong-quick.csv). A trial that needs more than its budget does not reach the goal,
and none reaches one before as many games have ended as there are environments, 100 at least. Each cell's cost is that
of its best learning rate times the number of rates: the others end when they can no longer win.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgns.critical.pareto import fit_pareto

Array = NDArray[np.float64]

AT_256 = {-19: 400_000.0, 0: 1_200_000.0}
"""Observations to each goal at batch 256."""
GAME = 900.0
"""Observations of one game at random play."""
BATCH_PER_ENVIRONMENT = 8
"""Batch over environments: 32 steps, 4 minibatches."""
EPOCHS = 4
NOISE = 0.3
"""Standard deviation of ln E of a run; Breakout's sweep had 0.13 to 0.47."""
TRUTHS = (200.0, 800.0)
"""Critical batches."""
GRIDS = {
    "64, 256, 1,024": (64, 256, 1024),
    "64 to 4,096, factors of 4": (64, 256, 1024, 4096),
    "64 to 1,024, factors of 2": (64, 128, 256, 512, 1024),
    "64 to 4,096, factors of 2": (64, 128, 256, 512, 1024, 2048, 4096),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One grid of a sweep."""

    batches: tuple[int, ...]
    seeds: int
    budget: float
    """Observations of a trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Over made-up sweeps of one plan, goal and truth."""

    identified: float
    """Share of the sweeps."""
    covered: float
    """Share whose interval holds the truth."""
    width: float
    """Median of high / low of the identified; NaN where there are none."""
    observations: float
    """Mean over the sweeps, of one learning rate."""


def needed(batch: Array, goal: int, critical: float) -> Array:
    """Returns the observations that a trial without noise takes."""
    expected: Array = AT_256[goal] * (1 + batch / critical) / (1 + 256 / critical)
    return expected


def measure(plan: Plan, goal: int, critical: float, repetitions: int) -> Result:
    """Draws and fits so many sweeps."""
    rng = np.random.default_rng([len(plan.batches), max(plan.batches), plan.seeds, int(plan.budget), goal + 19])
    batch = np.repeat(np.array(plan.batches, dtype=np.float64), plan.seeds)
    floor = GAME * np.maximum(100, batch / BATCH_PER_ENVIRONMENT)
    fits, spent = [], []
    for _ in range(repetitions):
        took = np.maximum(needed(batch, goal, critical) * np.exp(NOISE * rng.standard_normal(len(batch))), floor)
        reached = took <= plan.budget
        spent.append(np.minimum(took, plan.budget).sum())
        if reached.any():
            steps = np.where(reached, took * EPOCHS / batch, np.inf)
            fits.append(fit_pareto(batch, steps, resamples=200))
    known = [fit for fit in fits if fit.identified]
    return Result(
        identified=len(known) / repetitions,
        covered=float(np.mean([fit.critical_batch_low <= critical <= fit.critical_batch_high for fit in fits])),
        width=float(np.median([f.critical_batch_high / f.critical_batch_low for f in known])) if known else np.nan,
        observations=float(np.mean(spent)),
    )


def main() -> None:
    """Prints a line per grid, number of seeds and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200, help="sweeps per line, goal and truth")
    repetitions = parser.parse_args().repetitions
    cases = list(itertools.product(AT_256, TRUTHS))
    heads = [f"{goal:g} at {truth:g}" for goal, truth in cases]
    print(f"| batches | seeds | budget | {' | '.join(heads)} | observations per rate, goal 0 |")
    print(f"| --- | ---: | ---: |{' ---: |' * (len(heads) + 1)}")
    for (name, batches), seeds, budget in itertools.product(GRIDS.items(), (1, 2), (1e6, 3e6, 6e6)):
        plan = Plan(batches=batches, seeds=seeds, budget=budget)
        found = [measure(plan, goal, truth, repetitions) for goal, truth in cases]
        cells = [
            f"{100 * r.identified:.0f} %, {100 * r.covered:.0f} %" + (f", {r.width:.2g}" if r.identified > 0 else "")
            for r in found
        ]
        cost = np.mean([r.observations for r, (goal, _) in zip(found, cases, strict=True) if goal == 0])
        print(f"| {name} | {seeds} | {budget / 1e6:g}M | {' | '.join(cells)} | {cost / 1e6:.0f}M |", flush=True)


if __name__ == "__main__":
    main()
