"""What the loss needs of each observation of an iteration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlgns.agents.config import AgentConfig
from rlgns.agents.gae import advantages_and_returns
from rlgns.agents.loss import Minibatch
from rlgns.agents.rollout import Rollout, as_tensors


def make_training_data(rollouts: Sequence[Rollout], config: AgentConfig) -> tuple[Minibatch, float]:
    """Computes advantages and value targets of rollouts side by side.

    Advantages are normalised here, once over all rollouts, if the settings say so.

    Returns:
        Columns [T * N] on the CPU, in order of time (`step * N + env`); and the share of the returns' variance that the
        recorded values explain, 1 - var(R - V) / var(R), NaN where all returns are equal.
    """
    estimates = [
        advantages_and_returns(rollout, gamma=config.gamma, gae_lambda=config.gae_lambda) for rollout in rollouts
    ]
    advantages = _column([advantage for advantage, _ in estimates])
    returns = _column([target for _, target in estimates])
    values = _column([rollout.values[:-1] for rollout in rollouts])
    variance = returns.var()
    explained = float("nan") if variance == 0 else float(1 - (returns - values).var() / variance)
    if config.normalise_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    data = Minibatch(
        actions=_column([rollout.actions for rollout in rollouts]),
        log_probs=_column([rollout.log_probs for rollout in rollouts]),
        values=values,
        advantages=advantages,
        returns=returns,
    )
    return data, explained


def _column(arrays: Sequence[npt.NDArray[np.generic]]) -> Tensor:
    """Joins arrays [time, env] along the environments, and flattens them."""
    parts = as_tensors(arrays)
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).reshape(-1)
