"""The optimizer of a configuration."""

from __future__ import annotations

import torch

from rlgns.agents.compute.sliced_adam import SlicedAdam
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig


def make_optimizer(parameters: list[torch.nn.Parameter], config: AgentConfig, team: Team) -> torch.optim.Optimizer:
    """Makes Adam (fused: one pass over memory, and its step count stays on the device) or RMSProp (smoothing 0.99)."""
    if config.optimizer == "adam":
        return SlicedAdam(parameters, team=team, learning_rate=config.learning_rate, epsilon=config.optimizer_epsilon)
    return torch.optim.RMSprop(parameters, lr=config.learning_rate, alpha=0.99, eps=config.optimizer_epsilon)
