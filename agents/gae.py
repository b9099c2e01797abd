"""Generalised advantage estimation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlgns.agents.rollout import Rollout

Array = npt.NDArray[np.float32]


def advantages_and_returns(rollout: Rollout, *, gamma: float, gae_lambda: float) -> tuple[Array, Array]:
    """Computes advantages and value targets of a rollout, with rewards clipped to their sign.

        delta_t = sign(r_t) + gamma V(s_tp1) (1 - terminal_t) - V(s_t)
        A_t     = delta_t + gamma lambda (1 - terminal_t) (1 - truncated_t) A_tp1

    V(s_tp1) after a time limit is the value of the game's own last observation, not of the next game's first.

    Args:
        rollout: T steps of N environments.
        gamma: Discount per observation.
        gae_lambda: Weight of longer returns; 1 gives the discounted return minus the value.

    Returns:
        Advantages float32 [T, N] and value targets A + V float32 [T, N].

    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", eq. 16.
    """
    rewards = np.sign(rollout.rewards)
    value_t, value_tp1 = rollout.values[:-1], rollout.values[1:]
    value_tp1 = np.where(rollout.truncated, rollout.final_values, value_tp1)
    delta = rewards + gamma * value_tp1 * ~rollout.terminal - value_t
    decay = (gamma * gae_lambda) * ~(rollout.terminal | rollout.truncated)
    advantages = np.empty_like(delta, dtype=np.float32)
    advantage_tp1 = np.zeros(rollout.num_envs, np.float32)
    for t in range(rollout.num_steps - 1, -1, -1):
        advantage_tp1 = delta[t] + decay[t] * advantage_tp1
        advantages[t] = advantage_tp1
    return advantages, advantages + value_t
