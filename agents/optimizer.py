"""The optimizer of a configuration."""

from __future__ import annotations

import torch
from torch import Tensor

from rlgns.agents.compute.sliced_adam import SlicedAdam
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig


def make_optimizer(parameters: list[torch.nn.Parameter], config: AgentConfig, team: Team) -> torch.optim.Optimizer:
    """Makes Adam (fused: one pass over memory, and its step count stays on the device) or RMSProp (smoothing 0.99)."""
    if config.optimizer == "adam":
        return SlicedAdam(parameters, team=team, learning_rate=config.learning_rate, epsilon=config.optimizer_epsilon)
    return torch.optim.RMSprop(parameters, lr=config.learning_rate, alpha=0.99, eps=config.optimizer_epsilon)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the rate of the next steps. On a GPU it lies in the device's memory, where recorded steps read it."""
    for group in optimizer.param_groups:
        device = group["params"][0].device
        on_gpu = device.type == "cuda"
        group["capturable"] = on_gpu
        if not on_gpu:
            group["lr"] = learning_rate
        elif isinstance(group["lr"], Tensor) and group["lr"].device == device:
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = torch.full((), learning_rate, device=device)
