"""What the loss needs of each observation of an iteration."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlgns.agents.config import AgentConfig
from rlgns.agents.gae import advantages_and_returns
from rlgns.agents.loss import Minibatch
from rlgns.agents.rollout import Rollout, side_by_side


def make_training_data(
    rollouts: Sequence[Rollout], config: AgentConfig, device: torch.device
) -> tuple[Minibatch, float]:
    """Computes advantages and value targets of rollouts side by side.

    Advantages are normalised here, once over all rollouts, if the settings say so.

    Returns:
        Columns [T * N] in order of time (`step * N + env`), and the share of the returns' variance that the recorded
        values explain, 1 - var(R - V) / var(R); NaN where all returns are equal.
    """
    estimates = [
        advantages_and_returns(rollout, gamma=config.gamma, gae_lambda=config.gae_lambda) for rollout in rollouts
    ]
    advantages = side_by_side([advantage for advantage, _ in estimates], device).reshape(-1)
    returns = side_by_side([target for _, target in estimates], device).reshape(-1)
    values = side_by_side([rollout.values[:-1] for rollout in rollouts], device).reshape(-1)
    variance = returns.var()
    explained = float("nan") if variance == 0 else float(1 - (returns - values).var() / variance)
    if config.normalise_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    data = Minibatch(
        actions=side_by_side([rollout.actions for rollout in rollouts], device).reshape(-1),
        log_probs=side_by_side([rollout.log_probs for rollout in rollouts], device).reshape(-1),
        values=values,
        advantages=advantages,
        returns=returns,
    )
    return data, explained
