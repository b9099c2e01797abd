"""Both live noise scales at a known truth, in synthetic training whose path and start differ ten times.

    python -m benchmarks.two_noise_scales [--runs 400] [--iterations 40]

Quadratic and logistic losses whose gradient and covariance are known at every parameter vector, SGD and Adam, 1, 4 and
8 batches an iteration. An iteration starts at theta_0, takes a step per batch, each on fresh observations, and goes
back: that stands for later epochs, which average the steps' noise out again. theta_0 is chosen such that |G|^2 along
the path is 10 times as large. The truth along the path is the mean over all paths of |G(theta_k)|^2 and the trace, both
exact.

The statistics are training's own (`rlgns.noise.live_statistics`). Printed: their values over their truths, from the
sums over all runs, and in how many runs each 95 % interval holds either truth.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.known_losses import B_GROUP, GROUPS, TASKS
from rlgns.noise.config import NoiseConfig
from rlgns.noise.live_statistics import LiveStatistics

Array = NDArray[np.float64]

RATIO = 10.0
"""|G|^2 along the path over that at the start."""

Step = Callable[[Array], Array]


def sgd(step_size: float) -> Callable[[Array, Array], Step]:
    """Returns plain steps; see `adam`."""
    return lambda start, second: lambda gradient: step_size * gradient


def adam(step_size: float) -> Callable[[Array, Array], Step]:
    """Returns what makes an iteration's steps from a checkpoint's state: its first and second moments.

    The state is that of long training: bias corrections are 1.
    """

    def begin(first: Array, second: Array) -> Step:
        m, v = first, second

        def step(gradient: Array) -> Array:
            nonlocal m, v
            m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
            return step_size * m / (np.sqrt(v) + 1e-5)

        return step

    return begin


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One kind of training."""

    task: str
    optimizer: str
    minibatches: int


SCENARIOS = [
    Scenario(task=task, optimizer=optimizer, minibatches=minibatches)
    for task, optimizer, minibatches in itertools.product(("quadratic", "logistic"), ("sgd", "adam"), (1, 4, 8))
]


OPTIMIZERS = {
    ("quadratic", "sgd"): sgd(1.1),
    ("quadratic", "adam"): adam(1.5),
    ("logistic", "sgd"): sgd(8.0),
    ("logistic", "adam"): adam(8.0),
}
"""Step sizes above the best of a single step, so that noise rules the path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """Paths and their truth."""

    start: Array
    """[dimension], theta_0."""
    products: Array
    """[paths, steps, groups, groups], inner products of groups' gradients."""
    grad_sq: Array
    """[steps], the mean over paths of the true |G|^2."""
    trace: Array
    """[steps], of the true trace."""

    @property
    def at_rollout(self) -> float:
        """The true noise scale at the start."""
        return float(self.trace[0] / self.grad_sq[0])

    def along_steps(self, shuffled_every: int = 0) -> float:
        """The true one along the path; of the first batches one in `shuffled_every` is left out."""
        weights = np.ones(len(self.trace))
        weights[0] -= 1 / shuffled_every if shuffled_every else 0
        return float(weights @ self.trace / (weights @ self.grad_sq))

    @property
    def moments(self) -> tuple[Array, Array]:
        """Both [paths, steps]: |G|^2 and trace as training estimates them from one batch."""
        groups = self.products.shape[-1]
        diagonal = np.trace(self.products, axis1=2, axis2=3)
        apart = (self.products.sum((2, 3)) - diagonal) / (groups * (groups - 1))
        return apart, B_GROUP * (diagonal / groups - apart)


def play(scenario: Scenario, paths: int, seed: int) -> Played:
    """Plays so many iterations, each from the same start."""
    rng = np.random.default_rng(seed)
    start_sq, played = 1e-3, _play(scenario, 1e-3, min(paths, 400), np.random.default_rng(seed + 1))
    for _ in range(8 if scenario.minibatches > 1 else 0):
        # |G|^2 along the path is about `kept` times the start's plus what noise adds: aim at RATIO times the start's.
        start_sq *= (float(played.grad_sq.mean() / played.grad_sq[0]) / RATIO) ** 0.9
        played = _play(scenario, start_sq, min(paths, 400), np.random.default_rng(seed + 1))
    if scenario.minibatches == 1:
        start_sq = 0.25 * float(played.trace[0]) / (GROUPS * B_GROUP)
    return _play(scenario, start_sq, paths, rng)


def _play(scenario: Scenario, start_sq: float, paths: int, rng: np.random.Generator) -> Played:
    task = TASKS[scenario.task]
    start = task.at(start_sq)
    theta = np.tile(start, (paths, 1))
    noise_sq = task.trace(theta[:1]) / (GROUPS * B_GROUP) / theta.shape[1]
    step = OPTIMIZERS[scenario.task, scenario.optimizer](np.zeros_like(theta), np.full_like(theta, noise_sq))
    products, grad_sq, trace = [], [], []
    for _ in range(scenario.minibatches):
        groups = task.groups(theta, rng)
        products.append(groups @ groups.transpose(0, 2, 1))
        grad_sq.append((task.gradient(theta) ** 2).sum(1).mean())
        trace.append(task.trace(theta).mean())
        theta = theta - step(groups.mean(1))
    return Played(start=start, products=np.stack(products, 1), grad_sq=np.array(grad_sq), trace=np.array(trace))


@dataclass(frozen=True, kw_only=True, slots=True)
class Covered:
    """Share of runs whose interval holds a truth."""

    own: float
    other: float
    """The other quantity's."""
    resolved: float
    """Share of runs whose interval has two ends."""


def measure(played: Played, runs: int) -> dict[str, Covered]:
    """Feeds training's statistics with the paths, as so many runs one after the other, and counts."""
    every = NoiseConfig().shuffled_every
    truths = {"noise/at_rollout/scale": played.at_rollout, "noise/scale": played.along_steps(every)}
    held = {name: list[tuple[bool, bool, bool]]() for name in truths}
    for row in _rows(played, runs, every):
        for name, truth in truths.items():
            low, high = (row[f"{name}{end}"] for end in ("_low", "_high"))
            other = next(value for key, value in truths.items() if key != name)
            held[name].append((low <= truth <= high, low <= other <= high, bool(np.isfinite(high))))
    found = {name: np.mean(values, axis=0) for name, values in held.items()}
    return {
        name: Covered(own=float(own), other=float(other), resolved=float(resolved))
        for name, (own, other, resolved) in found.items()
    }


def _rows(played: Played, runs: int, every: int) -> Iterator[dict[str, float]]:
    minibatches = played.products.shape[1]
    config = replace(NoiseConfig(), horizon_observations=0, horizon_follows_run=False)
    for run in np.split(played.products, runs):
        statistics = LiveStatistics(config, minibatches=minibatches)
        for iteration, steps in enumerate(run):
            for step, products in enumerate(steps):
                shuffled = step == 0 and iteration % every == every - 1
                statistics.update(products, B_GROUP, shuffled=shuffled, step=step)
        yield {name: np.inf if value is None else value for name, value in statistics.row().items()}


def main() -> None:
    """Prints a line per scenario and noise scale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--iterations", type=int, default=40)
    options = parser.parse_args()
    print("| training | batches | noise scale | truth | over truth | own truth inside | the other's | resolved |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for index, scenario in enumerate(SCENARIOS):
        played = play(scenario, options.runs * options.iterations, seed=100 * index)
        grad_sq, trace = played.moments
        values = {
            "noise/at_rollout/scale": (trace[:, 0].sum() / grad_sq[:, 0].sum(), played.at_rollout),
            "noise/scale": (trace.sum() / grad_sq.sum(), played.along_steps()),
        }
        for name, covered in measure(played, options.runs).items():
            found, truth = values[name]
            print(
                f"| {scenario.task}, {scenario.optimizer} | {scenario.minibatches} | `{name}` | {truth:.4g} | "
                f"{found / truth:.3f} | {covered.own:.3f} | {covered.other:.3f} | {covered.resolved:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
