"""Pong under `rlgns train`, and a frozen policy by the brute force of `rlgns calibrate`."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.host_runs import settings as common
from benchmarks.host_runs.rows import LOGGED, number, row_of
from benchmarks.host_runs.settings import PRESET, HostRun

PROBE = "noise/joint"
"""Whole rollouts, as the adapters measure them; `noise/at_rollout` is of each rollout's first batch."""


def settings_of(run: HostRun) -> dict[str, Any]:
    """Returns rlgns's settings for a run."""
    return {
        "config": PRESET,
        "observations": run.iterations * run.rollout_observations,
        "seed": run.seed,
        "env.num_envs": run.num_envs,
        "env.stagger_steps": run.stagger_steps,
        "agent.rollout_steps": run.rollout_steps,
        "agent.epochs": run.epochs,
        "agent.minibatches": run.minibatches,
        "agent.learning_rate": run.learning_rate,
        "agent.anneal": False,
        "agent.gamma": run.gamma,
        "agent.gae_lambda": common.GAE_LAMBDA,
        "agent.clip": run.clip,
        "agent.clip_value": False,
        "agent.value_coefficient": 2 * run.value_coefficient,  # rlgns halves the squared error
        "agent.entropy_coefficient": run.entropy_coefficient,
        "agent.max_grad_norm": common.MAX_GRAD_NORM,
        "agent.optimizer_epsilon": common.ADAM_EPSILON,
        "noise.overhead_budget": common.OVERHEAD,
        "wandb.mode": "disabled",
    }


def run_ours(run: HostRun, folder: Path) -> list[dict[str, float]]:
    """Trains in a new folder; returns a row per iteration, with `probe_grad_sq` and `probe_trace` of whole rollouts."""
    import rlgns

    trained = rlgns.train(run.game, quiet=True, out=str(folder), **settings_of(run))
    found, updates = [], 0
    for row in trained.rows:
        updates += row.get(LOGGED["grad_sq"]) is not None
        logged = {**row, "noise/updates": updates, LOGGED["run_average"]: None}  # that is along the steps
        mine = row_of(logged, observations=row["observations"], score=number(row["score_mean"]))
        mine |= {f"probe_{name}": number(row.get(f"{PROBE}/{name}")) for name in ("grad_sq", "trace")}
        found.append(mine)
    return found


def calibrate(checkpoint: str, rounds: int, precision: float = 0.03) -> dict[str, float]:
    """Returns the brute force of `rlgns calibrate` at the parameters that played; its replays are left out.

    Args:
        checkpoint: Of the policy.
        rounds: Rollouts of each of the calibration's sets of environments, at most.
        precision: Relative standard error at which it ends earlier.
    """
    from rlgns.calibrate.frozen_policy import prepare_policy
    from rlgns.calibrate.progress import CalibrationProgress
    from rlgns.calibrate.run import SETS, Measuring
    from rlgns.storage.checkpoint import load_policy

    policy = load_policy(Path(checkpoint))
    agent = dataclasses.replace(policy.config.agent, minibatches=1)  # one step an epoch: there is nothing to replay
    policy = dataclasses.replace(policy, config=dataclasses.replace(policy.config, agent=agent))
    with (
        closing(prepare_policy(policy)) as team,
        CalibrationProgress(rounds * SETS * policy.config.rollout_observations, precision) as progress,
    ):
        measuring = Measuring(policy, team, checkpoint=Path(checkpoint), precision=precision, seed=0)
        truth = measuring.run(rounds, progress).truth
    return {
        "observations": truth.observations,
        "grad_sq": truth.grad_sq,
        "grad_sq_error": truth.grad_sq_error,
        "trace": truth.trace,
        "trace_error": truth.trace_error,
        "scale": truth.noise_scale,
        "scale_low": truth.noise_scale_low,
        "scale_high": truth.noise_scale_high,
    }
