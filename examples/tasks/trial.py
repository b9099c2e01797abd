"""One trial: trains a task at one batch size and learning rate, and measures the noise scale on the way.

The loss that is compared with the goals is measured on a fixed sample of the training data, so it has no sampling noise
and no gap to other data. It is measured after each of the first steps and then whenever the steps have grown by
EVALUATE_EVERY, and smoothed by an average with decay SMOOTHING over these measurements: a single lucky step reaches no
goal. The lag of the average is one measurement, 5 per cent of the steps whatever the batch, so it does not move the
critical batch.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from examples.tasks.problem import Problem
from examples.tasks.settings import TaskSettings, groups_of
from rlgns.critical.goals import WINDOW, GoalReached, reach_goals
from rlgns.errors import UserError
from rlgns.noise import NoiseScaleEstimate, NoiseScaleMonitor
from rlgns.sweep.plan import TrialProgress

EVALUATE_EVERY = 0.05
"""Growth of the steps between two measurements of the loss."""
SMOOTHING = 0.5
"""Weight of the past in the smoothed loss."""
ALL_MEASURED = 100
"""Steps at the start that are all split into groups to measure the noise scale."""
MEASURE_EVERY = 4
"""Of the later steps one in so many is split."""
DIVERGED = 100.0
"""A trial ends when its loss is this many times that of the new model, or not finite."""

Row = Mapping[str, Any]
"""Step, seconds, loss, smoothed loss, and means of the moments since the row before; None where not known."""
Rows = Sequence[Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepToCome:
    """What stands before an optimizer step. Who looks on must change nothing, the random state least of all."""

    step: int
    """Of the step to come, from 1."""
    measured: bool
    """Whether it is split into groups to measure the noise scale."""
    model: nn.Module
    optimizer: torch.optim.Optimizer
    groups: tuple[Tensor, ...]
    """Its draws."""
    generator: torch.Generator
    """As it stands before the losses of these groups; copy it, do not draw from it."""


Watch = Callable[[StepToCome], None]

Steer = Callable[[int, NoiseScaleEstimate], tuple[int, float]]
"""Gives batch and learning rate of the step to come, from its number and what is known of the noise scale."""


def train(
    problem: Problem,
    settings: TaskSettings,
    *,
    batch: int,
    learning_rate: float,
    seed: int,
    over: Callable[[TrialProgress], bool],
    watch: Watch | None = None,
    steer: Steer | None = None,
) -> list[Row]:
    """Trains until `over` says so and returns the rows. The same arguments give the same rows, seconds aside.

    Args:
        problem: data, model and loss.
        settings: of the task.
        batch: observations per optimizer step.
        learning_rate: constant.
        seed: of the model's first parameters and of the draws.
        over: whether a trial that stands there has ended. A trial that diverged stands at the end of its budget.
        watch: looks on before every optimizer step.
        steer: changes batch and learning rate; its batches can all be split into as many groups as `batch`. Rows then
            have `batch`, `observations` and `scale` too, the smoothed noise scale where it is resolved.

    Raises:
        UserError: A goal that the new model has reached already.
    """
    torch.manual_seed(seed)
    model, generator = problem.model(), torch.Generator().manual_seed(seed)
    rows: list[Row] = []
    optimizer = make_optimizer(model, settings, learning_rate)
    for row in _steps(problem, model, optimizer, batch, generator, watch, steer):
        rows.append(row)
        if row["step"] == 0 and row["loss"] <= max(settings.goals):
            raise UserError(
                f"--goals must be below the loss of the new model, {row['loss']:.4g}; got {max(settings.goals):g}"
            )
        if over(progress(rows, settings, batch)):
            break
    return rows


def make_optimizer(model: nn.Module, settings: TaskSettings, learning_rate: float) -> torch.optim.Optimizer:
    """Returns the task's optimizer."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=learning_rate)
    return torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=settings.momentum)


def progress(rows: Rows, settings: TaskSettings, batch: int) -> TrialProgress:
    """Returns where a trial stands, for the sweep's plan: a goal's score is the negative loss."""
    reached: dict[float, int] = {}
    for goal in settings.goals:
        for before, row in itertools.pairwise(rows):
            if row["smoothed"] is not None and row["smoothed"] <= goal:
                share = max(0.0, (before["smoothed"] - goal) / (before["smoothed"] - row["smoothed"]))
                played, since = _observations(before, batch), _observations(row, batch) - _observations(before, batch)
                reached[-goal] = math.ceil(played + share * since)
                break
    diverged = rows[-1]["smoothed"] is None
    observations = _observations(rows[-1], batch)
    return TrialProgress(observations=max(observations, settings.budget) if diverged else observations, reached=reached)


def goals_reached(rows: Rows, settings: TaskSettings, batch: int) -> list[GoalReached]:
    """Returns what each goal took that a trial reached, with the average noise scale up to there."""
    as_games = [
        {
            "optimizer_steps": row["step"],
            "observations": _observations(row, batch),
            "seconds": row["seconds"],
            "batch_observations": row.get("batch", batch),
            "score_mean": None if row["smoothed"] is None else -row["smoothed"],
            "score_episodes": WINDOW,
            "noise/grad_sq": row["grad_sq"],
            "noise/trace": row["trace"],
            "noise/scale": row.get("scale"),
            "noise/resolved": row.get("scale") is not None,
        }
        for row in rows
    ]
    return [found for found in reach_goals(as_games, [-goal for goal in settings.goals]) if found is not None]


def _observations(row: Row, batch: int) -> int:
    observations: int = row.get("observations", row["step"] * batch)
    return observations


def _steps(
    problem: Problem,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: int,
    generator: torch.Generator,
    watch: Watch | None,
    steer: Steer | None,
) -> Iterator[Row]:
    """Trains without end and yields a row per measured loss; ends only where the loss diverges."""
    groups = groups_of(batch, problem.per_draw)
    monitor = NoiseScaleMonitor(model, groups=groups)
    began = time.perf_counter()
    first = smoothed = problem.goal_loss(model)
    yield {"step": 0, "seconds": 0.0, "loss": first, "smoothed": smoothed, "grad_sq": None, "trace": None}
    step, due, moments, observations = 0, 1, list[tuple[float, float]](), 0
    while True:
        step += 1
        if steer is not None:
            batch, optimizer.param_groups[0]["lr"] = steer(step, monitor.estimate())
        observations += batch
        draws = problem.draw(batch // problem.per_draw, generator)
        measured = step <= ALL_MEASURED or step % MEASURE_EVERY == 0
        parts = draws.chunk(groups)
        if watch is not None:
            watch(
                StepToCome(
                    step=step, measured=measured, model=model, optimizer=optimizer, groups=parts, generator=generator
                )
            )
        if measured:
            with monitor.step(observations=batch):
                for part in parts:
                    monitor.backward(problem.loss(model, part, generator))
            if monitor.moments is not None and monitor.moments.is_finite:
                moments.append((monitor.moments.grad_sq, monitor.moments.trace))
        else:
            optimizer.zero_grad()
            problem.loss(model, draws, generator).backward()
        optimizer.step()
        if step < due:
            continue
        due = max(step + 1, math.ceil(step * (1 + EVALUATE_EVERY)))
        loss = problem.goal_loss(model)
        diverged = not math.isfinite(loss) or loss > DIVERGED * first
        smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * loss
        grad_sq, trace = (
            (float(f"{sum(column) / len(moments):.7g}") for column in zip(*moments, strict=True))
            if moments
            else (None, None)
        )
        yield {
            "step": step,
            "seconds": round(time.perf_counter() - began, 3),
            "loss": loss if math.isfinite(loss) else None,
            "smoothed": None if diverged else smoothed,
            "grad_sq": grad_sq,
            "trace": trace,
            **({} if steer is None else _steered(monitor, batch, observations)),
        }
        if diverged:
            return
        moments.clear()


def _steered(monitor: NoiseScaleMonitor, batch: int, observations: int) -> Row:
    estimate = monitor.estimate()
    scale = estimate.noise_scale if estimate.resolved else None
    return {"batch": batch, "observations": observations, "scale": scale}
