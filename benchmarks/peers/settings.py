"""Game, sizes and optimisation settings that all contenders share."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Protocol

IMAGE_SIZE, FRAME_STACK, FRAME_SKIP = 84, 4, 4
"""The Nature network's input, the same for all."""

GAMMA, GAE_LAMBDA, CLIP, VALUE_COEFFICIENT, ENTROPY_COEFFICIENT, MAX_GRAD_NORM, ADAM_EPSILON = (
    0.99,
    0.95,
    0.1,
    0.5,
    0.01,
    0.5,
    1e-5,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Sizes of one benchmark; every contender reads them and nothing else."""

    game: str = "pong"
    """ROM name."""

    preset: str = "ppo"
    """Preset of rlgns; peers train `ppo` only, since other presets have other networks and images."""

    num_envs: int = 8
    rollout_steps: int = 128
    """Observations of each environment per iteration."""

    epochs: int = 4
    minibatches: int = 4
    """Optimizer steps per epoch."""

    learning_rate: float = 2.5e-4
    seed: int = 0
    threads: int = 2
    """torch threads of the process that learns."""

    scratch: str = ""
    """Folder for a contender's files; removed at the end."""

    @property
    def rollout_observations(self) -> int:
        """Observations per iteration."""
        return self.num_envs * self.rollout_steps

    @property
    def batch_observations(self) -> int:
        """Observations per optimizer step."""
        return self.rollout_observations // self.minibatches

    def to_json(self) -> str:
        """Returns one line that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Reads what `to_json` wrote."""
        return cls(**json.loads(text))


class Contender(Protocol):
    """One trainer, built and ready."""

    def run(self, observations: int) -> dict[str, Any]:
        """Trains for whole iterations until at least `observations` were played and learned from.

        Returns:
            `observations`, their number, and anything else that the contender reports, by name.
        """
        ...

    def close(self) -> None:
        """Ends everything that it started."""
        ...


def atari_id(game: str) -> tuple[str, dict[str, Any]]:
    """Returns Gymnasium's id of a game and the arguments that make it the classic `NoFrameskip-v4`.

    The old id does not exist for every game; the arguments are equivalent: no frame skip, no sticky actions, minimal
    actions. The prefix makes Gymnasium import ale_py, also in processes that only make environments.
    """
    from rlgns.envs.games import GAMES

    return f"ale_py:ALE/{GAMES[game].title}-v5", {
        "frameskip": 1,
        "repeat_action_probability": 0.0,
        "full_action_space": False,
    }


def start_ray(cpus: int, *, store_bytes: int = 2**30) -> None:
    """Starts a local Ray for this process, as `rlgns train` does; it ends with the process."""
    import logging

    import ray

    os.environ.setdefault("RAY_enable_metrics_collection", "0")  # of the daemons
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=store_bytes,
    )
    for name in ("ray.rllib", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)


def stop_rllib(algorithm: Any) -> None:
    """Stops an algorithm and this process's Ray, and removes the empty folder that RLlib made in the user's home."""
    import ray

    algorithm.stop()
    with contextlib.suppress(OSError):
        os.rmdir(algorithm.logdir)
    ray.shutdown()
