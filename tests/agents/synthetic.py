"""Rollouts of made-up games with every kind of end, and the stacks that a naive look-up finds in them."""

from __future__ import annotations

import numpy as np
import torch

from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from rlgns.agents.rollout import Rollout, RolloutRecorder
from tests.reference.agents import slow_stacks

NETWORK = NetworkConfig(channels=(3,), kernels=(4,), strides=(3,), hidden=5)
"""Small enough for one autograd call per observation: 157 parameters at 2 frames of 7 x 7 and 4 actions."""

ACTIONS, STACK, SIZE = 4, 2, 7


def small_network(seed: int = 0, *, scale: float = 0.5) -> ActorCritic:
    """A network with numpy's random weights, equal on every platform; its policy is far from uniform."""
    network = build_network(NETWORK, num_actions=ACTIONS, frame_stack=STACK, image_size=SIZE)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(0, scale, parameter.shape)))
    return network


def naive_ages(begins: np.ndarray, stack: int) -> np.ndarray:
    """[time, env]: frames in each stack that belong to the current game."""
    ages = np.zeros(begins.shape, np.uint8)
    for t in range(begins.shape[0]):
        for env in range(begins.shape[1]):
            age = 1
            while age < stack and t - age >= 0 and not begins[t - age + 1, env]:
                age += 1
            ages[t, env] = age
    return ages


def random_rollouts(
    seed: int,
    *,
    steps: int,
    envs: int,
    rollouts: int = 1,
    stack: int = STACK,
    size: int = SIZE,
    actions: int = ACTIONS,
    end_probability: float = 0.25,
) -> tuple[list[Rollout], list[np.ndarray]]:
    """Records consecutive rollouts of one set of environments.

    Returns:
        The rollouts and, of each, the stacks [time, env, stack, H, W] that a naive look-up finds.
    """
    rng = np.random.default_rng(seed)
    before = int(rng.integers(0, stack + 1))
    length = before + steps * rollouts + 1
    frames = rng.integers(0, 256, (length, envs, size, size), dtype=np.uint8)
    terminated = rng.random((length, envs)) < end_probability
    truncated = (rng.random((length, envs)) < end_probability) & ~terminated
    life_lost = (rng.random((length, envs)) < end_probability) & ~terminated & ~truncated
    begins = np.ones((length, envs), np.bool_)
    begins[1:] = (terminated | truncated)[:-1]
    stacks, ages = slow_stacks(frames, begins, stack), naive_ages(begins, stack)
    recorder = RolloutRecorder(steps, stacks[before], ages[before])
    values = rng.normal(0, 1, (length, envs)).astype(np.float32)
    recorded, log_probs = [], []
    for t in range(before, length - 1):
        recorder.observe(frames[t])
        drawn = rng.integers(0, actions, envs)
        log_probs.append(np.log(rng.uniform(0.1, 0.6, envs)).astype(np.float32))
        recorder.act(
            actions=drawn,
            values=values[t],
            rewards=rng.choice(np.array([-7.0, -0.5, 0.0, 0.0, 1.0, 40.0], np.float32), envs),
            terminal=terminated[t] | life_lost[t],
            truncated=truncated[t],
            restarted=begins[t + 1],
            final_values=rng.normal(0, 1, envs).astype(np.float32) * truncated[t] if truncated[t].any() else None,
        )
        if (t - before + 1) % steps == 0:
            recorded.append(recorder.finish(values[t + 1], np.stack(log_probs[-steps:])))
    seen = [stacks[before + k * steps : before + (k + 1) * steps] for k in range(rollouts)]
    return recorded, seen


def near_policy(
    rollouts: list[Rollout], observations: list[np.ndarray], network: ActorCritic, *, seed: int, spread: float = 0.15
) -> None:
    """Sets the recorded log-probabilities and values to the network's own plus noise.

    So some ratios and values lie inside the clips and some outside.
    """
    rng = np.random.default_rng(seed)
    for rollout, seen in zip(rollouts, observations, strict=True):
        with torch.no_grad():
            logits, values = network(torch.from_numpy(seen.reshape(-1, *seen.shape[2:])))
        log_probs = torch.log_softmax(logits, -1).gather(-1, torch.from_numpy(rollout.actions.reshape(-1, 1)))
        for target, own in ((rollout.log_probs, log_probs), (rollout.values[:-1], values)):
            target[:] = own.numpy().reshape(target.shape) + rng.normal(0, spread, target.shape)
