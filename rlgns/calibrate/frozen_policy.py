"""Plays with a frozen policy: independent sets of environments, each as large as the run's, round after round."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import numpy as np

from rlgns.agents.batches import Indices
from rlgns.agents.compute.precision import choose_device, choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.rollout import Rollout
from rlgns.config.random_streams import calibration_set
from rlgns.config.schema import Config
from rlgns.engine.collect import Collectors
from rlgns.machine.hardware import usable_cores
from rlgns.storage.checkpoint import Policy


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PlayedSet:
    """One rollout of one set of environments."""

    round_index: int
    set_index: int
    rollouts: list[Rollout]
    """One per thread, side by side [time, env]; together the run's number of environments."""


def prepare_policy(policy: Policy) -> Team:
    """Prepares this process, moves the network to its device and enables gradients. Returns threads to play with."""
    prepare_process(usable_cores())
    device = choose_device(policy.config.engine.device)
    policy.network.to(device).train().requires_grad_(True)
    return Team(usable_cores() if device.type == "cpu" else 1)


def precision_of(policy: Policy) -> str:
    """Returns the precision that training on this machine would use."""
    return choose_precision(policy.config.engine.precision, next(policy.network.parameters()).device)


def environments(run: Config) -> list[Indices]:
    """Returns the observations of each environment of a rollout, `step * N + env`."""
    steps = np.arange(run.agent.rollout_steps, dtype=np.int64) * run.env.num_envs
    return [steps + env for env in range(run.env.num_envs)]


def play_rounds(policy: Policy, team: Team, *, sets: int, seed: int = 0) -> Generator[PlayedSet, None, None]:
    """Plays forever: one rollout of every set, then the next of every set.

    The sets share only the policy. Each has its own emulators, random numbers and normalisation of advantages. All stay
    open, so that games are played from start to end; a set holds one rollout at a time.

    Args:
        policy: After `prepare_policy`.
        team: Threads that play.
        sets: Sets of environments.
        seed: Another seed plays other games; none is a game of training.

    Yields:
        The sets' rollouts in turn. Closing the generator stops the emulators.
    """
    run = dataclasses.replace(policy.config, engine=dataclasses.replace(policy.config.engine, runners=0))
    precision = precision_of(policy)
    opened: list[Collectors] = []
    try:
        for index in range(sets):
            opened.append(
                Collectors(
                    policy.game,
                    run,
                    policy.network,
                    team=team,
                    worker_index=calibration_set(index, seed),
                    iteration=policy.iteration,
                    precision=precision,
                )
            )
        round_index = 0
        while True:
            for set_index, collectors in enumerate(opened):
                played = collectors.play(iteration=round_index, weights_version=0)
                yield PlayedSet(round_index=round_index, set_index=set_index, rollouts=played.rollouts)
            round_index += 1
    finally:
        for collectors in opened:
            collectors.close()
