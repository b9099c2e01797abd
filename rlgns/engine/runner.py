"""RLlib's EnvRunner: owns a set of environments and plays rollouts with the weights that it gets."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import ray
from ray.exceptions import RayError
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner

from rlgns.agents.compute.precision import choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.network import ActorCritic, build_network
from rlgns.config.schema import Config
from rlgns.engine.collect import Collectors, Played
from rlgns.engine.run_settings import RunSettings
from rlgns.engine.starting import StartedCount


@dataclass(frozen=True, slots=True)
class PlayError:
    """Why a runner could not play."""

    traceback: str
    message: str


class AtariRunner(EnvRunner):
    """Plays one rollout per call, without connectors or episode objects.

    Environments start at the first call, with random streams that depend on the iteration. So a restarted runner or a
    resumed run never replays earlier games.
    """

    config: RunSettings

    def __init__(self, *, config: RunSettings, **kwargs: Any) -> None:
        """Takes the arguments of RLlib's EnvRunnerGroup; starts no environment yet."""
        super().__init__(config=config, **kwargs)
        self._run = config.run
        self._game: str = config.trial.game
        self._num_actions: int = config.trial.num_actions
        self._network: ActorCritic | None = None
        self._collectors: Collectors | None = None
        self._team: Team | None = None
        self._threads = 1 if self.worker_index else config.driver_threads
        if self.worker_index or config.trial.placement.learners:  # otherwise the learner in this process has done so
            prepare_process(self._threads)

    def share(self, network: ActorCritic, team: Team) -> None:
        """Makes this runner play with the learner's network and threads, so that no weights are copied."""
        self._network, self._team = network, team

    def play(
        self, *, iteration: int, version: int, weights: ray.ObjectRef | None = None, num_envs: int | None = None
    ) -> Played:
        """Plays one rollout.

        Args:
            iteration: Number of this iteration; determines the random numbers.
            version: Version of the weights; comes back with the rollout.
            weights: The network's state, unless it is shared.
            num_envs: Environments in use over all runners; None: the configuration's.
        """
        if self._network is None:
            env = self._run.env
            self._network = build_network(
                self._run.network,
                num_actions=self._num_actions,
                frame_stack=env.frame_stack,
                image_size=env.image_size,
            )
        if weights is not None:
            self._network.load_state_dict(ray.get(weights))
        if self._collectors is None:
            total = (num_envs or self._run.env.num_envs) // max(1, self._run.engine.runners)
            self._collectors = Collectors(
                self._game,
                self._run,
                self._network,
                team=self._team or Team(self._threads),
                worker_index=self.worker_index,
                iteration=iteration,
                precision=choose_precision(self._run.engine.precision, next(self._network.parameters()).device),
                started=StartedCount(self.config.trial.name, self.worker_index, total),
            )
        return self._collectors.play(iteration=iteration, weights_version=version, num_envs=num_envs)

    def play_ref(
        self, *, iteration: int, version: int, weights: ray.ObjectRef, num_envs: int | None = None
    ) -> tuple[ray.ObjectRef | PlayError, int, int]:
        """Plays as `play` and puts the rollout into the object store. Returns (reference, version, worker index).

        RLlib would silently restart a runner after any error, without limit. So an error that a restart cannot fix is
        returned. A lost object (RayError) is raised, and the runner plays again.
        """
        try:
            played = self.play(iteration=iteration, version=version, weights=weights, num_envs=num_envs)
        except RayError:
            raise
        except Exception as error:  # of any library
            return PlayError(traceback.format_exc(), f"{type(error).__name__}: {error}"), version, self.worker_index
        return ray.put(played), played.weights_version, self.worker_index

    def sample(self, **kwargs: Any) -> Any:
        """Not used: `play` replaces it, since a rollout needs its iteration and weights."""
        raise NotImplementedError("AtariRunner plays through play()")

    def get_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        """Returns the observation and action space by module."""
        spaces = observation_and_action_space(self._run, self._num_actions)
        return {INPUT_ENV_SPACES: spaces, DEFAULT_MODULE_ID: spaces}

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns nothing: weights travel with each call to `play`."""
        return {}

    def set_state(self, state: Any) -> None:
        """Does nothing; see `get_state`."""

    def assert_healthy(self) -> None:
        """Does nothing: environments start at the first call."""

    def stop(self) -> None:
        """Stops the emulators."""
        if self._collectors is not None:
            self._collectors.close()


def observation_and_action_space(run: Config, num_actions: int) -> tuple[gym.Space, gym.Space]:
    """Returns the spaces of one environment."""
    shape = (run.env.frame_stack, run.env.image_size, run.env.image_size)
    return gym.spaces.Box(0, 255, shape, np.uint8), gym.spaces.Discrete(num_actions)
