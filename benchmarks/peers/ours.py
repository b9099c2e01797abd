"""Ours: rlgns through RLlib, by algo.train(), as one trial of `rlgns train` does it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, final

from benchmarks.peers import settings as common
from benchmarks.peers.settings import Settings, start_ray, stop_rllib


@final
class Ours:
    """AtariPPO with the preset `ppo`; no W&B, no checkpoints while it is timed."""

    def __init__(self, settings: Settings, *, noise: bool = True, precision: str = "auto", runners: int = 0) -> None:
        """Builds the algorithm in a folder of its own below `settings.scratch`."""
        from envs.vector import num_actions
        from rlgns.config.load import resolve, to_dict
        from rlgns.engine.config import AtariPPOConfig, Trial
        from rlgns.folder import RunFolder

        start_ray(settings.threads)
        run = resolve(
            ["ppo"],
            {
                "run.games": [settings.game],
                "run.seed": settings.seed,
                "run.observations": 2**31,  # annealing must not change the step size while it is timed
                "env.num_envs": settings.num_envs,
                "env.image_size": common.IMAGE_SIZE,
                "env.frame_stack": common.FRAME_STACK,
                "env.frame_skip": common.FRAME_SKIP,
                "agent.rollout_steps": settings.rollout_steps,
                "agent.epochs": settings.epochs,
                "agent.minibatches": settings.minibatches,
                "agent.learning_rate": settings.learning_rate,
                "agent.gamma": common.GAMMA,
                "agent.gae_lambda": common.GAE_LAMBDA,
                "agent.clip": common.CLIP,
                "agent.value_coefficient": common.VALUE_COEFFICIENT,
                "agent.entropy_coefficient": common.ENTROPY_COEFFICIENT,
                "agent.max_grad_norm": common.MAX_GRAD_NORM,
                "agent.optimizer_epsilon": common.ADAM_EPSILON,
                "noise.enabled": noise,
                "engine.precision": precision,
                "engine.threads": 0 if runners else settings.threads,
                "engine.runners": runners,
                "engine.checkpoint_every_s": 1e9,
                "wandb.mode": "disabled",
            },
        )
        folder = RunFolder(Path(settings.scratch) / "run")
        folder.create(to_dict(run), {"game": settings.game})
        trial = Trial(
            game=settings.game,
            num_actions=num_actions(settings.game, run.env.protocol),
            folder=str(folder.path),
            cpus=settings.threads,
        )
        self._algorithm = AtariPPOConfig.of(run, trial).build_algo()

    def run(self, observations: int) -> dict[str, Any]:
        """Trains; returns also wall_s, sample_s and learn_s, lists with one entry per iteration."""
        done = 0
        times: dict[str, list[float]] = {"wall_s": [], "sample_s": [], "learn_s": []}
        while done < observations:
            began = time.perf_counter()
            row = self._algorithm.train()["row"]
            times["wall_s"].append(time.perf_counter() - began)
            times["sample_s"].append(row["throughput/sample_s"])
            times["learn_s"].append(row["throughput/learn_s"])
            done += row["rollout_observations"]
        return {"observations": done, **times}

    def close(self) -> None:
        """Stops the algorithm and its Ray."""
        stop_rllib(self._algorithm)
