"""The losses of Stable-Baselines3's PPO and A2C on part of a rollout, before their first step on it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlgns.adapters.groups import Indices

COLUMNS = ("observations", "actions", "values", "log_probs", "advantages", "returns")
"""Of a rollout buffer, each [steps, environments, ...], observations may be a dictionary of them."""

MOST_OBSERVATIONS = 2048
MOST_BYTES = 4 << 20
"""Of observations per pass, where the host's own batch is not larger."""


def rollout_loss(model: Any, ppo: bool) -> Callable[[Indices], Tensor]:
    """Returns the mean loss of observations env * steps + step of a full rollout buffer, as `train` computes it.

    Advantages are normalised, where training normalises them, by mean and standard deviation of the whole rollout:
    constants, the same for every group. (Training takes those of each batch.)

    Args:
        model: A PPO or A2C that has just played.
        ppo: Which of them.
    """
    buffer = copy.copy(model.rollout_buffer)  # the host flattens its own after this
    for name in COLUMNS:
        column = getattr(buffer, name)
        flat = (
            {key: buffer.swap_and_flatten(part) for key, part in column.items()} if isinstance(column, dict) else None
        )
        setattr(buffer, name, buffer.swap_and_flatten(column) if flat is None else flat)
    advantages = buffer.advantages
    mean, spread = (0.0, 1.0)
    if model.normalize_advantage and advantages.size > 1:
        mean, spread = float(advantages.mean()), float(advantages.std(ddof=1)) + 1e-8
    progress = model._current_progress_remaining
    clip = model.clip_range(progress) if ppo else 0.0
    value_clip = model.clip_range_vf(progress) if ppo and model.clip_range_vf is not None else None

    def loss(indices: Indices) -> Tensor:
        data = buffer._get_samples(indices)
        actions = data.actions.long().flatten() if isinstance(model.action_space, spaces.Discrete) else data.actions
        values, log_prob, entropy = model.policy.evaluate_actions(data.observations, actions)
        values, advantage = values.flatten(), (data.advantages - mean) / spread
        if ppo:
            ratio = torch.exp(log_prob - data.old_log_prob)
            policy_loss = -torch.min(advantage * ratio, advantage * torch.clamp(ratio, 1 - clip, 1 + clip)).mean()
        else:
            policy_loss = -(advantage * log_prob).mean()
        if value_clip is not None:
            values = data.old_values + torch.clamp(values - data.old_values, -value_clip, value_clip)
        value_loss = torch.nn.functional.mse_loss(data.returns, values)
        entropy_loss = log_prob.mean() if entropy is None else -entropy.mean()
        whole: Tensor = policy_loss + model.ent_coef * entropy_loss + model.vf_coef * value_loss
        return whole

    return loss


def environments(model: Any) -> list[Indices]:
    """Returns per environment which observations of `rollout_loss` are its own."""
    steps = model.rollout_buffer.buffer_size
    return list(np.arange(model.n_envs * steps).reshape(model.n_envs, steps))


def chunk_observations(model: Any, batch: int) -> int:
    """Returns how many observations one pass may hold: what training holds, or more of small ones."""
    observations = model.rollout_buffer.observations
    columns = observations.values() if isinstance(observations, dict) else [observations]
    bytes_each = sum(column[0, 0].nbytes for column in columns)
    return max(batch, min(MOST_OBSERVATIONS, MOST_BYTES // max(1, bytes_each)))
