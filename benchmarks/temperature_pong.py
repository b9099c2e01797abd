"""Pong's noise scale at other learning rates and batches: training branches off from one checkpoint."""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.compute.precision import choose_device, choose_precision
from rlgns.agents.compute.team import Team
from rlgns.agents.update import Updater, UpdateStats
from rlgns.config.schema import Config
from rlgns.engine.collect import Collectors
from rlgns.noise import GradientSize, Moments, NoiseScaleTracker, group_moments
from rlgns.storage.checkpoint import Policy

BRANCH_WORKER = 4_000_000
"""Worker index of the random streams, which training does not use."""

SETTLE = 0.4
"""Share of a branch's observations that is left out while the noise scale of the old learning rate decays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """One cell of the grid."""

    learning_rate_factor: float
    """Factor on the checkpoint's learning rate, which then stays constant."""
    batch_factor: float
    """Factor on the checkpoint's batch; rollout and epochs stay the same."""
    seed: int
    observations: int


def configure(policy: Policy, branch: Branch) -> Config:
    """Returns the checkpoint's configuration with the branch's minibatches and a constant learning rate."""
    run = policy.config
    minibatches = round(run.agent.minibatches / branch.batch_factor)
    agent = dataclasses.replace(
        run.agent,
        minibatches=minibatches,
        learning_rate=trained_at(policy) * branch.learning_rate_factor,
        anneal=False,
    )
    engine = dataclasses.replace(run.engine, runners=0)
    return dataclasses.replace(run, agent=agent, engine=engine, run=dataclasses.replace(run.run, seed=branch.seed))


def trained_at(policy: Policy) -> float:
    """Returns the learning rate of the checkpoint's last optimizer step."""
    return float(policy.state["learner"]["optimizer"]["param_groups"][0]["lr"])


def train(policy: Policy, branch: Branch, *, threads: int) -> dict[str, Any]:
    """Trains one branch and returns its noise scale, score and update statistics as plain numbers."""
    run = configure(policy, branch)
    device = choose_device(run.engine.device)
    precision = choose_precision(run.engine.precision, device)
    network = copy.deepcopy(policy.network).to(device).train().requires_grad_(True)
    fresh: list[Moments] = []

    def on_groups(gradients: Tensor, split: GroupSplit) -> None:
        fresh.append(group_moments(gradients, observations_per_group=split.observations_per_group))

    team = Team(threads)
    updater = Updater(
        network, run.agent, groups=run.groups_per_batch, precision=precision, on_groups=on_groups, team=team
    )
    updater.optimizer.load_state_dict(copy.deepcopy(policy.state["learner"]["optimizer"]))
    collectors = Collectors(
        policy.game,
        run,
        network,
        team=team,
        worker_index=BRANCH_WORKER + branch.seed,
        iteration=policy.iteration,
        precision=precision,
    )
    scores: deque[float] = deque(maxlen=100)
    stats: list[UpdateStats] = []
    for rollout in range(-(-branch.observations // run.rollout_observations)):
        played = collectors.play(iteration=policy.iteration + rollout, weights_version=0)
        scores.extend(episode.score for episode in played.episodes)
        seed = (branch.seed, rollout)
        stats.append(updater.update(played.rollouts, learning_rate=run.agent.learning_rate, seed=seed))
    collectors.close()
    team.close()
    quarters = [part.tolist() for part in np.array_split(np.arange(len(fresh)), 4)]
    return {
        **dataclasses.asdict(branch),
        "learning_rate": run.agent.learning_rate,
        "batch_observations": run.batch_observations,
        **noise_scale(fresh[int(SETTLE * len(fresh)) :]),
        "quarters": [noise_scale([fresh[i] for i in part])["noise_scale"] for part in quarters],
        "score_mean": float(np.mean(scores)) if scores else None,
        "score_episodes": len(scores),
        **means(stats[int(SETTLE * len(stats)) :]),
    }


def noise_scale(measured: list[Moments]) -> dict[str, float | bool | None]:
    """Returns the noise scale of batches in order of time, as training reports it without a horizon."""
    size, tracker = GradientSize(), NoiseScaleTracker()
    for moments in measured:
        relative = size.divide(moments)
        if relative is not None:
            tracker.update(relative)
    estimate = tracker.estimate()
    return {
        "noise_scale": estimate.noise_scale if np.isfinite(estimate.noise_scale) else None,
        "low": estimate.low if np.isfinite(estimate.low) else None,
        "high": estimate.high if np.isfinite(estimate.high) else None,
        "grad_sq": float(np.mean([moments.grad_sq for moments in measured])),
        "trace": float(np.mean([moments.trace for moments in measured])),
    }


def means(stats: list[UpdateStats]) -> Mapping[str, float]:
    """Returns the means of the update's statistics over iterations."""
    names = ("approx_kl", "clip_fraction", "entropy", "explained_variance", "grad_norm")
    return {name: float(np.mean([one.metrics[name] for one in stats])) for name in names}
