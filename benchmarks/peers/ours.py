"""Our contenders: rlgns through algo.train(), as in one trial of `rlgns train`, and its learner alone."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import psutil

from benchmarks.peers import settings as common
from benchmarks.peers.settings import Settings, start_ray, stop_rllib

if TYPE_CHECKING:
    from rlgns.config.schema import Config

NEGLIGIBLE_LEARNING_RATE = 1e-12
"""For full-cost steps that leave the network as it is: the learner gets the same rollout again and again."""


def run_of(settings: Settings, *, noise: bool = True, precision: str = "auto", runners: int = 0) -> Config:
    """Returns the preset with the benchmark's sizes, without W&B and checkpoints."""
    from rlgns.config.load import resolve

    changes = {
        "run.games": [settings.game],
        "run.seed": settings.seed,
        "run.observations": 2**31,  # so long that annealing does not change the step size
        "env.num_envs": settings.num_envs,
        "agent.rollout_steps": settings.rollout_steps,
        "agent.epochs": settings.epochs,
        "agent.minibatches": settings.minibatches,
        "agent.learning_rate": settings.learning_rate,
        "noise.enabled": noise,
        "engine.precision": precision,
        "engine.runners": runners,
        "engine.checkpoint_every_s": 1e9,
        "wandb.mode": "disabled",
    }
    if settings.preset == "ppo":  # the peers train this one too
        changes |= {
            "env.image_size": common.IMAGE_SIZE,
            "env.frame_stack": common.FRAME_STACK,
            "env.frame_skip": common.FRAME_SKIP,
            "agent.gamma": common.GAMMA,
            "agent.gae_lambda": common.GAE_LAMBDA,
            "agent.clip": common.CLIP,
            "agent.value_coefficient": common.VALUE_COEFFICIENT,
            "agent.entropy_coefficient": common.ENTROPY_COEFFICIENT,
            "agent.max_grad_norm": common.MAX_GRAD_NORM,
            "agent.optimizer_epsilon": common.ADAM_EPSILON,
        }
    return resolve([settings.preset], changes)


@final
class Ours:
    """AtariPPO; `rlgns.engine.rllib_config` divides threads among learner and runners as in any run."""

    def __init__(self, settings: Settings, *, noise: bool = True, precision: str = "auto", runners: int = 0) -> None:
        """Builds the algorithm with its run's folder below `settings.scratch`."""
        from rlgns.config.load import to_dict
        from rlgns.engine.algorithm import AtariPPO
        from rlgns.engine.run_settings import TrialSpec
        from rlgns.envs.vector import num_actions
        from rlgns.machine.placement import Node, Placement, TrialShare
        from rlgns.storage.run_folder import RunFolder

        self._resident = {"libraries": _resident_bytes()}
        start_ray(settings.threads)
        self._resident["client of Ray"] = _resident_bytes()
        run = run_of(settings, noise=noise, precision=precision, runners=runners)
        folder = RunFolder(Path(settings.scratch) / "run")
        folder.create(to_dict(run), {"game": settings.game})
        trial = TrialSpec(
            game=settings.game,
            num_actions=num_actions(settings.game, run.env.protocol),
            folder=str(folder.path),
            placement=Placement.of(run, TrialShare.of([Node(cpus=settings.threads)], 1)),
        )
        self._probes = 0
        self._algorithm = AtariPPO.configured(run, trial).build_algo()
        self._resident["network and optimizer"] = _resident_bytes()

    def run(self, observations: int) -> dict[str, Any]:
        """Trains.

        Returns:
            observations; wall_s, sample_s, learn_s, lists with one entry per iteration; probes, the number of
            noise-scale probes among them; probe_s, their seconds together; probe_every, iterations between two
            probes under the budget, or None; resident, bytes of this process after each stage, the newest last.
        """
        done, probes_before, probe_s = 0, self._probes, 0.0
        times: dict[str, list[float]] = {"wall_s": [], "sample_s": [], "learn_s": []}
        while done < observations:
            began = time.perf_counter()
            row = self._algorithm.train()["row"]
            times["wall_s"].append(time.perf_counter() - began)
            times["sample_s"].append(row["throughput/sample_s"])
            times["learn_s"].append(row["throughput/learn_s"])
            done += row["rollout_observations"]
            self._probes = row.get("noise/probes", 0)
            probe_s += row.get("noise/probe_s", 0.0)
            self._resident.setdefault("first iteration", _resident_bytes())
        self._resident["all iterations"] = _resident_bytes()
        probed = {
            "probes": self._probes - probes_before,
            "probe_s": probe_s,
            "probe_every": row.get("noise/probe_every_iterations"),
        }
        return {"observations": done, **times, **probed, "resident": self._resident}

    def close(self) -> None:
        """Stops the algorithm and its Ray."""
        stop_rllib(self._algorithm)


@final
class LearnerAlone:
    """Our learner on one rollout from memory, again and again."""

    def __init__(self, settings: Settings) -> None:
        """Builds the algorithm and plays the rollout."""
        self._ours = Ours(dataclasses.replace(settings, learning_rate=NEGLIGIBLE_LEARNING_RATE))
        algorithm = self._ours._algorithm
        self._played = [algorithm.env_runner.play(iteration=0, version=0)]
        assert algorithm.learner_group is not None
        self._group, self._each, self._iterations = algorithm.learner_group, settings.rollout_observations, 0

    def run(self, observations: int) -> dict[str, Any]:
        """Learns from at least so many observations."""
        from ray.rllib.core.learner.training_data import TrainingData

        done = 0
        while done < observations:
            self._group.update(
                training_data=TrainingData(batch_refs=self._played),
                timesteps={"iteration": self._iterations, "observations": 0, "version": 0, "sample_s": 0.0},
                defer_solve_refs_to_learner=True,
            )
            self._iterations += 1
            done += self._each
        return {"observations": done}

    def close(self) -> None:
        """Stops the algorithm and its Ray."""
        self._ours.close()


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
