"""Line searches on a frozen policy: the best step size by batch size, and B_noise from it and from the Hessian."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlgns.agents.compute.team import Team
from rlgns.calibrate.frozen_loss import FrozenLoss
from rlgns.calibrate.frozen_policy import play_rounds, prepare_policy
from rlgns.errors import UserError
from rlgns.formatting import MEASURING, interval, rounded
from rlgns.noise import NoiseScaleEstimate, NoiseScaleTracker, group_moments
from rlgns.noise.interval import Ratio
from rlgns.noise.offline.hessian import hessian_moments, hessian_noise_scale
from rlgns.noise.offline.step_size import StepSizeFit, fit_step_sizes, slope_and_curvature
from rlgns.storage.checkpoint import Policy

Array = NDArray[np.float64]
Progress = Callable[[str, int], None]
"""Called after each rollout with the name of the part and its number of rollouts."""

PILOT_ROLLOUTS = 3
"""Rollouts that only choose the step sizes to try. They are not fitted, so that the choice does not bias the fit."""

PILOT_SHARES = 4.0 ** -np.arange(1, 10)
"""Lengths of the pilot's steps, relative to the parameters' norm."""

TRIED = np.array([0.5, 1.0, 1.5])
"""Step sizes to try, relative to the pilot's best."""

MIN_ROLLOUTS = 8
"""Fewest rollouts that give an interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LineSearchResult:
    """B_noise of one frozen policy, measured in two ways, and B_simple from the same gradients."""

    game: str
    trained_observations: int
    observations: int
    """Observations played for the measurement, the pilot's included."""
    rollouts: int
    fit: StepSizeFit
    """By line searches."""
    hessian: NoiseScaleEstimate
    """By Hessian-vector products; `grad_sq` is G' H G, `trace` is tr(H Sigma)."""
    simple: NoiseScaleEstimate
    """tr(Sigma) / |G|^2."""

    def describe(self) -> str:
        """Returns the tables for people, several lines."""
        line, hessian, simple = self.fit.noise_scale, self.hessian, self.simple
        rows = [
            ("policy", f"{self.game}, {self.trained_observations:,} observations"),
            ("line searches", f"{self.rollouts} rollouts, {self.observations:,} observations played"),
            ("e_max", _range(self.fit.largest_step_size)),
            ("B_noise", f"{_estimate_text(line)} by line search"),
            ("", f"{_estimate_text(hessian)} by Hessian-vector products"),
            ("B_simple", f"{_estimate_text(simple)} from the same gradients"),
            ("G'HG", f"{rounded(line.grad_sq)} by line search, {rounded(hessian.grad_sq)} by Hessian"),
            ("tr(H Sigma)", f"{rounded(line.trace)} by line search, {rounded(hessian.trace)} by Hessian"),
        ]
        lines = [f"{name:<15}{value}" for name, value in rows]
        head = f"best step size ({100 * line.level:g} %)"
        lines += ["", f"{'batch':>8}  {head:<36}{'by the fit':<14}{'curvature':<14}by the Hessian"]
        best, curvatures = self.fit.best_step_sizes, self.fit.curvatures
        for batch, size, curvature in zip(self.fit.batch_observations, best, curvatures, strict=True):
            measured, predicted = _range(size), rounded(self.fit.predicted(batch))
            by_hessian = rounded(hessian.grad_sq + hessian.trace / batch)
            lines.append(f"{batch:>8,}  {measured:<36}{predicted:<14}{rounded(curvature):<14}{by_hessian}")
        return "\n".join(lines)


def line_search(
    policy: Policy, *, observations: int = 100_000, seed: int = 0, progress: Progress | None = None
) -> LineSearchResult:
    """Finds the best step size along the plain gradient by batch size, and B_noise = tr(H Sigma) / G' H G.

    Each rollout's environments are split at random into two halves. One half's gradients, merged to batches of 1, 2, 4,
    ... environments, are the directions. The training loss of the other half is evaluated along them, and gives the
    Hessian. So no observation is on both sides. Everything is float32.

    Args:
        policy: Frozen; its network is moved to the run's device.
        observations: To play with it.
        seed: Of the games and of the random halves.
        progress: Called after each rollout.

    Raises:
        UserError: Too few observations or environments.
    """
    run = policy.config
    rollouts = observations // run.rollout_observations - PILOT_ROLLOUTS
    if rollouts < MIN_ROLLOUTS:
        needed = (MIN_ROLLOUTS + PILOT_ROLLOUTS) * run.rollout_observations
        raise UserError(f"a line search needs at least {needed:,} observations of this policy, got {observations:,}")
    if run.env.num_envs < 4 or run.env.num_envs % 2:
        raise UserError(f"a line search needs an even number of environments, 4 or more; got {run.env.num_envs}")
    report = progress or (lambda part, total: None)
    half = run.env.num_envs // 2
    sizes = [2**k for k in range(half.bit_length()) if 2**k <= half]
    team = prepare_policy(policy)
    played = _halves(policy, team, seed)
    try:
        pilot = []
        for _ in range(PILOT_ROLLOUTS):
            pilot.append(_try_lengths(*next(played), sizes=(sizes[0], sizes[-1])))
            report("pilot", PILOT_ROLLOUTS)
        step_sizes = _interpolated(np.stack(pilot), np.array(sizes))
        found = _Measured(level=run.noise.level)
        for _ in range(rollouts):
            found.add(*next(played), sizes=sizes, step_sizes=step_sizes)
            report("line search", rollouts)
    finally:
        played.close()
        team.close()
    return LineSearchResult(
        game=policy.game,
        trained_observations=policy.observations,
        observations=(rollouts + PILOT_ROLLOUTS) * run.rollout_observations,
        rollouts=rollouts,
        fit=fit_step_sizes(
            np.array(sizes) * float(run.agent.rollout_steps),
            np.array(found.slopes),
            np.array(found.curvatures),
            level=run.noise.level,
        ),
        hessian=hessian_noise_scale(found.hessian.estimate()),
        simple=found.simple.estimate(),
    )


@final
class _Measured:
    """Slopes, curvatures and moments of the rollouts so far."""

    def __init__(self, level: float) -> None:
        self.slopes: list[Array] = []
        self.curvatures: list[Array] = []
        self.hessian = NoiseScaleTracker(level=level)
        self.simple = NoiseScaleTracker(level=level)

    def add(self, loss: FrozenLoss, half: int, gradients: Tensor, *, sizes: list[int], step_sizes: Array) -> None:
        """Adds one rollout: `gradients` [half, parameters] of one half, losses and Hessian of the other."""
        others = range(half, 2 * half)
        start = loss.value(others)
        changes = np.array(
            [
                [loss.value(others, -float(e) * gradients[:size].mean(0)) - start for e in tried]
                for size, tried in zip(sizes, step_sizes, strict=True)
            ]
        )
        slopes, curvatures = slope_and_curvature(step_sizes, changes)
        self.slopes.append(slopes)
        self.curvatures.append(curvatures)
        per_group = loss.observations_per_group
        merged = gradients[: half - half % 2].unflatten(0, (2, -1)).mean(1)
        products = loss.hessian_product(others, merged)
        self.hessian.update(hessian_moments(merged, products, per_group * (half // 2)))
        self.simple.update(group_moments(gradients, per_group))


def _halves(policy: Policy, team: Team, seed: int) -> Generator[tuple[FrozenLoss, int, Tensor], None, None]:
    """Plays forever; yields each rollout's loss by environments in random order, and the first half's gradients."""
    rng = np.random.default_rng([seed, policy.iteration])
    envs = policy.config.env.num_envs
    played = play_rounds(policy, team, sets=1, seed=seed)
    try:
        for one in played:
            order = rng.permutation(envs)
            loss = FrozenLoss(policy.network, policy.config.agent, one.rollouts, [[env] for env in order])
            yield loss, envs // 2, loss.gradients(range(envs // 2))
    finally:
        played.close()


def _try_lengths(loss: FrozenLoss, half: int, gradients: Tensor, *, sizes: tuple[int, int]) -> Array:
    """Changes of the loss after steps of the pilot's lengths along the smallest and the largest batch's gradient.

    Returns:
        [2 batches, lengths, 2]: step size and change.
    """
    others = range(half, 2 * half)
    start = loss.value(others)
    norm = float(torch.cat([p.detach().reshape(-1) for p in loss.parameters]).norm())
    tried = []
    for size in sizes:
        gradient = gradients[:size].mean(0)
        # One length is one step size, whatever this gradient's norm: means over rollouts are taken at equal step size.
        for share in PILOT_SHARES:
            step_size = float(share) * norm
            tried.append((step_size, loss.value(others, -step_size * gradient) - start))
    return np.array(tried).reshape(2, len(PILOT_SHARES), 2)


def _interpolated(pilot: Array, sizes: Array) -> Array:
    """Step sizes to try [batches, tried]: around the pilot's best at both ends, 1 / e linear in 1 / B between them."""
    changes = pilot[..., 1].mean(0)
    changes[~np.isfinite(changes)] = np.inf
    best = pilot[0, 0, :, 0][changes.argmin(-1)]
    largest_gains = 1 / sizes
    inverse = np.interp(largest_gains, [largest_gains[-1], largest_gains[0]], [1 / best[1], 1 / best[0]])
    result: Array = TRIED / inverse[:, None]
    return result


def _estimate_text(estimate: NoiseScaleEstimate) -> str:
    if not estimate.grad_sq > 0:
        return "not resolved: the curvature along the gradient is not positive"
    return _range(estimate)


def _range(found: Ratio | NoiseScaleEstimate) -> str:
    """Returns an interval as text; `not resolved` in place of `measuring`, since nothing more will be measured."""
    value = found.noise_scale if isinstance(found, NoiseScaleEstimate) else found.value
    text = interval(value, found.low, found.high)
    return f"{rounded(value)} (not resolved)" if text == MEASURING else text
