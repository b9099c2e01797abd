"""What the inner products of groups cost an optimizer step: from rows of gradients, from factors, and without any."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from rlgns.agents.compute.precision import choose_device, choose_precision
from rlgns.agents.compute.step_graphs import WARM_UP
from rlgns.agents.config import AgentConfig, NetworkConfig
from rlgns.agents.network import build_network
from rlgns.agents.rollout import Rollout
from rlgns.agents.update import Updater

RATE = 1e-12
"""Learning rate: the same rollouts are learned from again and again."""


def step_ms(rollouts: Sequence[Rollout], minibatches: Sequence[int], seconds: float) -> dict[str, dict[str, float]]:
    """Measures steps of the Nature network in turns, from two groups a batch to one for each environment.

    Args:
        rollouts: Of images of 84 x 84 in stacks of 4.
        minibatches: Batches that they are split into, several choices.
        seconds: Of each size, at least.

    Returns:
        By batch and groups, the median milliseconds of a step: `rows`, `factors`, and `off` without a measurement.
    """
    warm_up = WARM_UP if choose_device("auto").type == "cuda" else 0
    envs, steps, found = sum(part.num_envs for part in rollouts), rollouts[0].num_steps, {}
    for batches in minibatches:
        for groups in sorted({2, min(8, envs // batches), envs // batches} - {1}):
            times: dict[str, list[float]] = {"rows": [], "factors": [], "off": []}
            updaters = {name: _updater(name, steps, batches, groups) for name in times}
            began = time.perf_counter()
            while time.perf_counter() - began < seconds or len(times["off"]) <= warm_up:
                for name, updater in updaters.items():
                    before = time.perf_counter()
                    updater.update(rollouts, learning_rate=RATE, seed=(0, 0))
                    times[name].append(time.perf_counter() - before)
            found[f"batch {envs * steps // batches}, {groups} groups"] = {
                name: 1e3 * float(np.median(each[warm_up:])) / batches for name, each in times.items()
            }
    return found


def _updater(name: str, steps: int, batches: int, groups: int) -> Updater:
    device = choose_device("auto")
    return Updater(
        build_network(NetworkConfig(), num_actions=6, frame_stack=4, image_size=84).to(device),
        AgentConfig(rollout_steps=steps, minibatches=batches, epochs=1, learning_rate=RATE),
        groups=groups,
        precision=choose_precision("auto", device),
        on_products=None if name == "off" else lambda *_: None,
        factored=name == "factors",
    )
