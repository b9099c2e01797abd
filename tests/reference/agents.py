"""Slow, obvious twins of `rlgns.agents`: stacks, advantages, loss and one iteration, observation by observation."""

from __future__ import annotations

import math

import numpy as np
import torch

from rlgns.agents.config import AgentConfig
from rlgns.agents.rollout import Rollout
from tests.reference.noise import observation_gradients


def slow_stacks(frames: np.ndarray, begins: np.ndarray, stack: int) -> np.ndarray:
    """Stacks [time, env, stack, H, W] from frames [time, env, H, W], looked up one frame at a time.

    begins[t, n]: frame t is the first of a game. What lies before a game's first frame is zero.
    """
    stacks = np.zeros((*frames.shape[:2], stack, *frames.shape[2:]), frames.dtype)
    for t in range(frames.shape[0]):
        for env in range(frames.shape[1]):
            source = t
            for place in range(stack - 1, -1, -1):
                stacks[t, env, place] = frames[source, env]
                if begins[source, env] or source == 0:
                    break
                source -= 1
    return stacks


def slow_advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> np.ndarray:
    """[time, env] float64: the sum of (gamma lambda)^k td_error_{t+k} up to the end, written out for every t."""
    steps, envs = rollout.rewards.shape
    advantages = np.zeros((steps, envs))
    for env in range(envs):
        for start in range(steps):
            weight = 1.0
            for t in range(start, steps):
                reward = float(np.sign(rollout.rewards[t, env]))
                if rollout.terminal[t, env]:
                    next_value = 0.0
                elif rollout.truncated[t, env]:
                    next_value = float(rollout.final_values[t, env])
                else:
                    next_value = float(rollout.values[t + 1, env])
                advantages[start, env] += weight * (reward + gamma * next_value - float(rollout.values[t, env]))
                if rollout.terminal[t, env] or rollout.truncated[t, env]:
                    break
                weight *= gamma * gae_lambda
    return advantages


def slow_returns(rollout: Rollout, gamma: float) -> np.ndarray:
    """[time, env] float64: discounted rewards up to the end, and the value there unless the end is terminal."""
    steps, envs = rollout.rewards.shape
    returns = np.zeros((steps, envs))
    for env in range(envs):
        for start in range(steps):
            discount = 1.0
            for t in range(start, steps):
                returns[start, env] += discount * float(np.sign(rollout.rewards[t, env]))
                discount *= gamma
                if rollout.terminal[t, env]:
                    break
                if rollout.truncated[t, env]:
                    returns[start, env] += discount * float(rollout.final_values[t, env])
                    break
                if t == steps - 1:
                    returns[start, env] += discount * float(rollout.values[steps, env])
    return returns


def slow_loss(
    logits: torch.Tensor,
    value: torch.Tensor,
    *,
    action: int,
    log_prob: float,
    old_value: float,
    advantage: float,
    target: float,
    config: AgentConfig,
) -> dict[str, torch.Tensor]:
    """The loss of one observation and its parts; logits [actions], value []."""
    probabilities = torch.exp(logits) / torch.exp(logits).sum()
    ratio = probabilities[action] / math.exp(log_prob)
    if config.algorithm == "a2c":
        objective = ratio * advantage
    elif advantage >= 0:  # the gain is capped above ...
        objective = ratio * advantage if ratio < 1 + config.clip else logits.new_tensor((1 + config.clip) * advantage)
    else:  # ... and the loss below
        objective = ratio * advantage if ratio > 1 - config.clip else logits.new_tensor((1 - config.clip) * advantage)
    error = (value - target) ** 2
    moved = value.item() - old_value
    if config.algorithm == "ppo" and config.clip_value and abs(moved) > config.clip:
        bound = old_value + math.copysign(config.clip, moved)
        if (bound - target) ** 2 > error.item():
            error = logits.new_tensor((bound - target) ** 2)
    entropy = -(probabilities * torch.log(probabilities)).sum()
    return {
        "total": -objective - config.entropy_coefficient * entropy + config.value_coefficient * 0.5 * error,
        "policy": -objective,
        "value": 0.5 * error,
        "entropy": entropy,
        "approx_kl": (ratio - 1) - torch.log(ratio),
        "clip_fraction": (abs(ratio - 1) > config.clip).double(),
    }


class SlowRecord:
    """One iteration's rollouts as a flat list of observations in the order `step * envs + env`, float64."""

    def __init__(self, rollouts: list[Rollout], observations: list[np.ndarray], config: AgentConfig) -> None:
        """`observations`: of each rollout the stacks [time, env, stack, H, W]."""
        advantages = np.concatenate([slow_advantages(r, config.gamma, config.gae_lambda) for r in rollouts], axis=1)
        values = np.concatenate([r.values[:-1].astype(np.float64) for r in rollouts], axis=1)
        self.targets = (advantages + values).reshape(-1)
        if config.normalise_advantages:
            mean = advantages.sum() / advantages.size
            advantages = (advantages - mean) / math.sqrt(((advantages - mean) ** 2).sum() / (advantages.size - 1))
        self.advantages, self.values = advantages.reshape(-1), values.reshape(-1)
        self.actions = np.concatenate([r.actions for r in rollouts], axis=1).reshape(-1)
        self.log_probs = np.concatenate([r.log_probs for r in rollouts], axis=1).reshape(-1)
        stacks = np.concatenate(observations, axis=1)
        self.observations = torch.from_numpy(stacks.reshape(-1, *stacks.shape[2:]))
        self.config = config

    def loss(self, network: torch.nn.Module, index: int) -> dict[str, torch.Tensor]:
        """The loss of one observation and its parts."""
        logits, values = network(self.observations[index : index + 1])
        return slow_loss(
            logits[0],
            values[0],
            action=int(self.actions[index]),
            log_prob=float(self.log_probs[index]),
            old_value=float(self.values[index]),
            advantage=float(self.advantages[index]),
            target=float(self.targets[index]),
            config=self.config,
        )

    def gradients(self, network: torch.nn.Module, indices: np.ndarray, part: str = "total") -> np.ndarray:
        """[len(indices), parameters], of the loss or a part of it: one autograd call for each observation."""
        return observation_gradients(network, lambda i: self.loss(network, int(indices[i]))[part], len(indices))


def slow_second_moments(gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """[parameters] running mean of squares of the gradients [parameters], each weight written out; starts at zero."""
    total = np.zeros_like(gradients[0])
    for age, gradient in enumerate(reversed(gradients)):
        total = total + (1 - decay) * decay**age * gradient**2
    return total


def slow_update(
    network: torch.nn.Module, record: SlowRecord, batches: list[np.ndarray], learning_rate: float
) -> dict[str, float]:
    """Trains a float64 network in place, one optimizer step per batch, with optimizers written from their papers."""
    config = record.config
    parameters = list(network.parameters())
    size = sum(p.numel() for p in parameters)
    first, second = np.zeros(size), np.zeros(size)
    sums: dict[str, float] = {}
    for step, batch in enumerate(batches, start=1):
        losses = [record.loss(network, int(index)) for index in batch]
        for parts in losses:
            for name, part in parts.items():
                sums[name] = sums.get(name, 0.0) + part.item() / len(batch) / len(batches)
        gradient = observation_gradients(network, [part["total"] for part in losses].__getitem__, len(batch)).mean(
            axis=0
        )
        norm = math.sqrt((gradient**2).sum())
        sums["grad_norm"] = sums.get("grad_norm", 0.0) + norm / len(batches)
        if norm > config.max_grad_norm:
            gradient = gradient * config.max_grad_norm / norm
        if config.optimizer == "adam":
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            root = np.sqrt(second / (1 - 0.999**step))
            change = first / (1 - 0.9**step) / (root + config.optimizer_epsilon)
        else:
            second = 0.99 * second + 0.01 * gradient**2
            change = gradient / (np.sqrt(second) + config.optimizer_epsilon)
        with torch.no_grad():
            at = 0
            for p in parameters:
                p.sub_(learning_rate * torch.from_numpy(change[at : at + p.numel()]).view_as(p))
                at += p.numel()
    return sums
