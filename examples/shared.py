"""Shared code of the examples: a live noise scale, and the critical batch that a sweep over batch sizes finds.

    S = S_min (1 + B_crit / B)

where S is the number of optimizer steps to a target loss at batch B, each batch at its best learning rate (McCandlish
et al. 2018, arXiv:1812.06162, equation 2.11).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlgns.critical import fit_pareto
from rlgns.critical.run_average import RunAverage
from rlgns.noise import NoiseScaleEstimate, NoiseScaleMonitor


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A learning problem: model, optimizer, data and loss."""

    unit: str
    """Name of an observation, in the plural."""
    per_draw: int
    """Observations in one draw."""
    model: Callable[[], nn.Module]
    """Returns a new model, the same each time."""
    optimizer: Callable[[nn.Module, float], torch.optim.Optimizer]
    """Returns the optimizer for a model and a learning rate."""
    draw: Callable[[int, torch.Generator], Tensor]
    """Returns so many independent draws [draws], with replacement."""
    loss: Callable[[nn.Module, Tensor], Tensor]
    """Mean loss over the draws."""
    target_loss: Callable[[nn.Module], float]
    """The loss compared with the target; it has no sampling noise."""


class Progress:
    """Prints the live noise scale of a run and averages it over the run."""

    def __init__(self, problem: Problem, monitor: NoiseScaleMonitor, batch: int) -> None:
        """`batch`: observations per step."""
        self._problem, self._monitor, self._batch = problem, monitor, batch
        self._average = RunAverage()

    def reached(self, target: float, step: int, model: nn.Module) -> bool:
        """Returns whether the target loss is reached after an optimizer step."""
        estimate, loss = self._monitor.estimate(), self._problem.target_loss(model)
        moments = self._monitor.moments
        if moments is not None:
            self._average.update(
                grad_sq=moments.grad_sq, trace=moments.trace, batch=self._batch, steps=1, learning_rate=None
            )
        if step % 10 == 0 or loss <= target:
            print(live_line(step, loss, estimate, self._problem.unit))
        return loss <= target

    def predicted_critical_batch(self) -> float:
        """Returns the noise scale averaged along the run (`RunAverage`); NaN where |G|^2 was never positive."""
        average = self._average.estimate().value
        print(f"noise scale averaged over the run: {average:,.0f} {self._problem.unit}")
        return average


def live_line(step: int, loss: float, estimate: NoiseScaleEstimate, unit: str) -> str:
    """Returns a line with step, loss and what is known of the noise scale."""
    if not estimate.now_low > 0:
        known = "unknown yet"
    elif math.isfinite(estimate.now_high):
        known = f"{estimate.noise_scale:,.0f} ({estimate.now_low:,.0f} to {estimate.now_high:,.0f}) {unit}"
    else:
        known = f"at least {estimate.now_low:,.0f} {unit}"
    return f"step {step:4d}   loss {loss:.3f}   noise scale {known}"


def steps_to_target(
    problem: Problem, draws: int, learning_rate: float, target: float, most_steps: int, seed: int = 0
) -> int | None:
    """Returns the optimizer steps to the target loss; None where it was not reached."""
    model, generator = problem.model(), torch.Generator().manual_seed(seed)
    optimizer = problem.optimizer(model, learning_rate)
    for step in range(1, most_steps + 1):
        optimizer.zero_grad()
        problem.loss(model, problem.draw(draws, generator)).backward()
        optimizer.step()
        # Evaluating every 5 % of the steps is precise enough for the law.
        if step % max(1, step // 20) == 0 and problem.target_loss(model) <= target:
            return step
    return None


def sweep(
    problem: Problem, several_draws: Sequence[int], learning_rates: Sequence[float], target: float, most_steps: int
) -> list[tuple[int, float, int]]:
    """Returns (observations per batch, best learning rate, steps) of every batch size that reaches the target."""
    points = []
    for draws in several_draws:
        best: tuple[int, float, int] | None = None
        for learning_rate in learning_rates:
            # A run slower than the best so far is cut short.
            limit = most_steps if best is None else best[2] - 1
            steps = steps_to_target(problem, draws, learning_rate, target, limit)
            if steps is not None:
                best = (draws * problem.per_draw, learning_rate, steps)
        if best is not None:
            points.append(best)
    return points


def critical_batch(points: Sequence[tuple[int, float, int]]) -> float:
    """Returns B_crit, observations, by least squares in log steps; NaN with fewer than three points."""
    if len(points) < 3:
        return math.nan
    return fit_pareto([batch for batch, *_ in points], [steps for *_, steps in points]).critical_batch


def options(description: str, arguments: Sequence[str] | None, defaults: dict[str, Any]) -> argparse.Namespace:
    """Parses the command line of an example."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--draws", type=int, help="draws per step of the live run, a multiple of 8")
    parser.add_argument("--learning-rate", type=float, help="learning rate of the live run")
    parser.add_argument("--target", type=float, help="loss at which every run ends")
    parser.add_argument("--most-steps", type=int, default=1000, help="optimizer steps at which a run gives up")
    parser.add_argument(
        "--sweep", type=int, nargs="*", metavar="DRAWS", help="draws per step to compare; none: no sweep"
    )
    parser.set_defaults(**defaults)
    chosen = parser.parse_args(arguments)
    if chosen.draws < 8 or chosen.draws % 8:
        parser.error(f"--draws must be a multiple of 8, got {chosen.draws}")
    torch.set_num_threads(1)  # on matrices this small, threads only wait for each other
    return chosen


def compare(
    problem: Problem,
    train: Callable[[Problem, argparse.Namespace], float],
    learning_rates: Sequence[float],
    chosen: argparse.Namespace,
) -> None:
    """Trains with a live noise scale, then prints the sweep beside the critical batch that it predicts."""
    unit = problem.unit
    print(f"{chosen.draws * problem.per_draw:,d} {unit} per step at learning rate {chosen.learning_rate:g}")
    predicted = train(problem, chosen)
    if not chosen.sweep:
        return
    points = sweep(problem, chosen.sweep, learning_rates, chosen.target, chosen.most_steps)
    print(f"\nbatch ({unit})   best learning rate   steps   {unit} used")
    for batch, learning_rate, steps in points:
        print(f"{batch:14,d}   {learning_rate:18g}   {steps:5,d}   {batch * steps:,d}")
    measured = critical_batch(points)
    if math.isnan(measured) or math.isnan(predicted):
        print("too few batch sizes reached the target, or no noise scale was resolved: nothing to compare")
        return
    print(
        f"critical batch of the sweep: {measured:,.0f} {unit}; the noise scale predicted {predicted:,.0f}, "
        f"{predicted / measured:.2g} times as much"
    )
