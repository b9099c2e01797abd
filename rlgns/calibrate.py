"""Brute force against the on-line estimator, at the frozen parameters of a checkpoint."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from agents.batches import environment_batches
from agents.precision import choose_device, choose_precision, prepare_process
from agents.team import Team
from agents.update import GroupSplit, Updater
from rlgns.config.schema import Config
from rlgns.engine.checkpoint import Policy, load_policy
from rlgns.engine.collect import Collectors
from rlgns.engine.measure import RideAlong
from rlgns.errors import UserError
from rlgns.hardware import usable_cores
from rlgns.noise import NoiseScaleEstimate, shuffled_noise_scale
from rlgns.noise.brute_force import BruteForce, BruteForceResult
from rlgns.numbers import interval, rounded

SETS = 8
"""Independent sets of environments that brute force plays, each as large as the run's."""

BRUTE_FORCE_WORKER, RIDE_ALONG_WORKER = 2_000_000, 3_000_000
"""Worker indices of the random streams: neither training's nor each other's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The truth, and what the ride-along measurement says of the same policy from other observations."""

    checkpoint: Path
    policy: Policy
    truth: BruteForceResult
    estimate: NoiseScaleEstimate
    estimate_observations: int
    design_effect: float

    @property
    def agrees(self) -> bool:
        """Whether the estimate's interval contains the truth's point value."""
        return self.estimate.low <= self.truth.noise_scale <= self.estimate.high

    @property
    def shuffled(self) -> float:
        """What splitting batches by shuffled observations would have said, observations."""
        truth, batch = self.truth, self.policy.config.batch_observations
        return shuffled_noise_scale(truth.grad_sq, truth.trace, self.design_effect, batch)

    def describe(self) -> str:
        """Returns the table for people, several lines."""
        truth, estimate = self.truth, self.estimate
        level = f"{100 * estimate.level:g} %"
        rows = [
            ("checkpoint", f"{self.checkpoint} ({self.policy.game}, {self.policy.observations:,} observations)"),
            ("brute force", f"{truth.observations:,} observations of {truth.environments} environments"),
            ("  |G|^2", f"{truth.grad_sq:.4g} +- {truth.grad_sq_error:.2g}"),
            ("  tr(Sigma)", f"{truth.trace:.4g} +- {truth.trace_error:.2g} per observation"),
            ("  noise scale", interval(truth.noise_scale, truth.noise_scale_low, truth.noise_scale_high) + " (95 %)"),
            ("ride-along", f"{self.estimate_observations:,} other observations, {estimate.updates} batches"),
            ("  noise scale", f"{interval(estimate.noise_scale, estimate.low, estimate.high)} ({level})"),
            ("  brute force is", ("inside" if self.agrees else "OUTSIDE") + " this interval"),
            ("design effect", f"{self.design_effect:.3g}"),
            ("shuffled split", f"would have said {rounded(self.shuffled)} observations"),
        ]
        return "\n".join(f"{name:<18}{value}" for name, value in rows)


def calibrate(checkpoint: Path, *, observations: int = 200_000) -> Calibration:
    """Measures a frozen policy twice: by brute force, and as training would.

    Args:
        checkpoint: A run's folder or one of its checkpoints.
        observations: Observations for each of the two.

    Raises:
        UserError: A number that is not positive, or no checkpoint.
    """
    if observations <= 0:
        raise UserError(f"--observations must be positive, got {observations}")
    policy = load_policy(checkpoint)
    run = policy.config
    device = choose_device(run.engine.device)
    prepare_process(usable_cores())
    policy.network.to(device).train().requires_grad_(True)
    rollouts = max(SETS, -(-observations // run.rollout_observations))
    with _progress() as step:
        truth = _brute_force(policy, rollouts_per_set=-(-rollouts // SETS), step=step)
        estimate, effect = _ride_along(policy, rollouts=rollouts, step=step)
    return Calibration(
        checkpoint=checkpoint,
        policy=policy,
        truth=truth,
        estimate=estimate,
        estimate_observations=rollouts * run.rollout_observations,
        design_effect=effect,
    )


def _brute_force(policy: Policy, *, rollouts_per_set: int, step: Callable[[str, int], None]) -> BruteForceResult:
    run, num_envs = policy.config, policy.config.env.num_envs
    parameters = sum(parameter.numel() for parameter in policy.network.parameters())
    sums = BruteForce(environments=SETS * num_envs, parameters=parameters, rollout_steps=run.agent.rollout_steps)
    order = np.arange(num_envs)
    first = 0

    def add(gradients: torch.Tensor, split: GroupSplit) -> None:
        sums.add(first + order, gradients)

    whole = dataclasses.replace(run.agent, epochs=1, minibatches=1)
    team = Team(usable_cores())
    updater = Updater(policy.network, whole, groups=num_envs, precision=_precision(policy), on_groups=add, team=team)
    for index in range(SETS):
        first = index * num_envs
        collectors = _collectors(policy, team, BRUTE_FORCE_WORKER + index)
        for rollout in range(rollouts_per_set):
            played = collectors.play(iteration=rollout, weights_version=0)
            groups = next(
                environment_batches(
                    np.random.default_rng([index, rollout]),
                    num_steps=run.agent.rollout_steps,
                    num_envs=num_envs,
                    minibatches=1,
                    groups=num_envs,
                )
            )
            order = np.array([group[0] % num_envs for group in groups])
            updater.update(played.rollouts, learning_rate=0.0, seed=(index, rollout))
            step("brute force", SETS * rollouts_per_set)
        collectors.close()
    team.close()
    return sums.result()


def _ride_along(policy: Policy, *, rollouts: int, step: Callable[[str, int], None]) -> tuple[NoiseScaleEstimate, float]:
    run = policy.config
    forever = dataclasses.replace(run.noise, horizon_observations=0)
    measure = RideAlong(forever, batch_observations=run.batch_observations, minibatches=run.agent.minibatches)
    team = Team(usable_cores())
    updater = Updater(
        policy.network,
        dataclasses.replace(run.agent, epochs=1),
        groups=run.groups_per_batch,
        precision=_precision(policy),
        on_groups=measure.on_groups,
        team=team,
    )
    collectors = _collectors(policy, team, RIDE_ALONG_WORKER)
    for rollout in range(rollouts):
        played = collectors.play(iteration=rollout, weights_version=0)
        shuffled = measure.split_shuffled(rollout)
        updater.update(played.rollouts, learning_rate=0.0, seed=(SETS, rollout), split_shuffled=shuffled)
        step("ride-along", rollouts)
    collectors.close()
    team.close()
    return measure.estimate(), measure.design_effect


def _collectors(policy: Policy, team: Team, worker_index: int) -> Collectors:
    run: Config = dataclasses.replace(policy.config, engine=dataclasses.replace(policy.config.engine, runners=0))
    return Collectors(
        policy.game,
        run,
        policy.network,
        team=team,
        worker_index=worker_index,
        iteration=policy.iteration,
        precision=_precision(policy),
    )


def _precision(policy: Policy) -> str:
    return choose_precision(policy.config.engine.precision, next(policy.network.parameters()).device)


class _progress:  # noqa: N801  (reads as a function)
    """A bar on standard error that counts rollouts of each part."""

    def __enter__(self) -> Callable[[str, int], None]:
        columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr))
        self._tasks: dict[str, object] = {}
        self._bar.start()
        return self._step

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _step(self, part: str, total: int) -> None:
        if part not in self._tasks:
            self._tasks[part] = self._bar.add_task(part, total=total)
        self._bar.advance(self._tasks[part])  # type: ignore[arg-type]
