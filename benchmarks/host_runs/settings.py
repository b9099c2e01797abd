"""Games and sizes of the comparison of hosts: equal for all of them."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from gymnasium import Env, make
from gymnasium.spaces import Box, Discrete

HOSTS = ("sb3", "rllib", "ours")

ADAM_EPSILON, MAX_GRAD_NORM, GAE_LAMBDA = 1e-8, 0.5, 0.95
"""RLlib's Adam has this epsilon; the others are set to it."""

OVERHEAD = 0.9
"""Share of the time for measuring: so much that every rollout but the first is measured."""

PRESET = "quick"
"""Of rlgns: network and images of Pong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostRun:
    """One run of one host."""

    game: str
    host: str = "sb3"
    seed: int = 0
    iterations: int
    num_envs: int
    rollout_steps: int
    """Observations of each environment per iteration."""
    epochs: int = 4
    minibatches: int
    """Optimizer steps per epoch."""
    learning_rate: float
    clip: float
    value_coefficient: float
    """Of the mean squared error of the value."""
    entropy_coefficient: float
    gamma: float = 0.99
    checkpoint: str = ""
    """Of rlgns: the frozen policy that is measured; empty: training from random weights."""
    stagger_steps: int = 500
    """Pong: each environment begins with up to so many random actions."""

    @property
    def rollout_observations(self) -> int:
        """Observations per iteration."""
        return self.num_envs * self.rollout_steps

    @property
    def batch_observations(self) -> int:
        """Observations per optimizer step."""
        return self.rollout_observations // self.minibatches

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{'' if self.learning_rate else 'frozen-'}{self.game}-{self.host}-{self.seed}"

    def frozen(self, checkpoint: str, iterations: int) -> HostRun:
        """Returns a run that plays with a checkpoint's policy, empty: with its first weights, and never changes it."""
        return dataclasses.replace(
            self, checkpoint=checkpoint, iterations=iterations, learning_rate=0.0, epochs=1, minibatches=1
        )


GAMES = {
    "cartpole": HostRun(
        game="cartpole",
        iterations=30,
        num_envs=16,
        rollout_steps=64,
        minibatches=8,
        learning_rate=1e-3,
        clip=0.2,
        value_coefficient=0.5,
        entropy_coefficient=0.0,
    ),
    "lunarlander": HostRun(
        game="lunarlander",
        iterations=24,
        num_envs=16,
        rollout_steps=128,
        minibatches=8,
        learning_rate=1e-3,
        clip=0.2,
        value_coefficient=0.5,
        entropy_coefficient=0.01,
    ),
    "pong": HostRun(
        game="pong",
        iterations=16,
        num_envs=32,
        rollout_steps=64,
        minibatches=8,
        learning_rate=5e-4,
        clip=0.1,
        value_coefficient=0.25,  # rlgns halves the squared error, and has 0.5
        entropy_coefficient=0.01,
    ),
}


def make_env(game: str, stagger_steps: int = 500) -> Env[Any, Any]:
    """Returns one environment of a game; Pong is that of rlgns itself, for every host."""
    if game == "pong":
        return AtariGame(game, stagger_steps)
    return make({"cartpole": "CartPole-v1", "lunarlander": "LunarLander-v3"}[game])


@functools.cache
def _actions(game: str, protocol: str) -> int:
    from rlgns.envs.vector import num_actions

    return num_actions(game, protocol)


@final
class AtariGame(Env[Any, Any]):
    """One of rlgns's Atari environments as Gymnasium has them: a lost life ends an episode, rewards are clipped."""

    def __init__(self, game: str, stagger_steps: int) -> None:
        """Reads the spaces; the emulator starts with the first reset, which seeds it."""
        from rlgns.config.load import resolve
        from rlgns.envs.vector import AtariEnvs

        env = resolve([PRESET], {"run.games": [game], "env.stagger_steps": stagger_steps}).env
        size = env.image_size
        self.observation_space = Box(0, 255, (env.frame_stack, size, size), np.uint8)
        self.action_space = Discrete(_actions(game, env.protocol))
        self._open = lambda seed: AtariEnvs(game, env, num_envs=1, seed=seed)
        self._envs: AtariEnvs | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; the first one after random actions, as rlgns staggers its environments."""
        super().reset(seed=seed)
        if self._envs is None:
            self._envs = self._open(int(self.np_random.integers(2**31)))
            self._next = self._envs.reset()[0]
        return self._next, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays one action."""
        assert self._envs is not None
        step = self._envs.step(np.array([action], np.int64).reshape(1))
        self._next = step.observations[0]
        final = self._next if step.final_observations is None else step.final_observations[0]
        terminated = bool(step.terminated[0] or step.life_lost[0])
        return final, float(np.clip(step.rewards[0], -1, 1)), terminated, bool(step.truncated[0]), {}

    def close(self) -> None:
        """Stops the emulator."""
        if self._envs is not None:
            self._envs.close()
