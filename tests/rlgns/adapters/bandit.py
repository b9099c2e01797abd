"""A bandit with a context that stays through a rollout; |G|^2 and tr(Sigma) by enumeration.

Each environment draws one of CONTEXTS contexts for the whole rollout, then one-step episodes: action a in context c
pays REWARDS[c, a]. Steps of one environment share the context, so observations are not independent; environments are.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

CONTEXTS, ACTIONS, STEPS = 4, 3, 4
REWARDS = np.random.default_rng(5).normal(size=(CONTEXTS, ACTIONS)) + np.array([0.0, 0.6, 1.2])


class ContextBandit(gymnasium.Env):
    observation_space = spaces.Box(0, 1, (CONTEXTS,), np.float32)
    action_space = spaces.Discrete(ACTIONS)

    def __init__(self, bad: float = 0.0) -> None:
        self.bad = bad

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None or not hasattr(self, "context"):
            self.context = int(self.np_random.integers(CONTEXTS))
        return np.eye(CONTEXTS, dtype=np.float32)[self.context], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = REWARDS[self.context, action] + self.bad
        return np.eye(CONTEXTS, dtype=np.float32)[self.context], float(reward), True, False, {}


def gradient_table(model: Any, loss_of: Any) -> np.ndarray:
    """[contexts, actions, parameters]; `loss_of(context, action)` is one observation's loss."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return np.stack([[_flat(loss_of(c, a), parameters) for a in range(ACTIONS)] for c in range(CONTEXTS)])


def moments_of_table(gradients: np.ndarray, chances: np.ndarray) -> tuple[float, float]:
    """(|G|^2, tr(Sigma) per observation, environments as the unit) under those chances [contexts, actions]."""
    means = np.einsum("ca,cap->cp", chances.astype(np.float64), gradients)
    true = means.mean(0)
    within = np.einsum("ca,cap->c", chances.astype(np.float64), (gradients - means[:, None]) ** 2).mean()
    between = ((means - true) ** 2).sum(1).mean()
    return float(true @ true), float(within + STEPS * between)


def _flat(loss: torch.Tensor, parameters: list[torch.nn.Parameter]) -> np.ndarray:
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([g.double().flatten() for g in found]).numpy()
