"""RLlib's view of a run's configuration."""

from __future__ import annotations

import dataclasses
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from rlgns.config.schema import Config


class AtariPPOConfig(AlgorithmConfig):
    """An AlgorithmConfig that carries one game's resolved configuration; RLlib's own fields are derived from it."""

    def __init__(self, algo_class: type | None = None) -> None:
        """Starts empty; see `of`."""
        from rlgns.engine.algorithm import AtariPPO

        super().__init__(algo_class or AtariPPO)
        self.run_config: Config | None = None
        self.game: str = ""
        self.num_actions: int = 0
        self.folder: str = ""
        self.learner_threads: int = 1
        self.runner_threads: int = 1

    @classmethod
    def of(cls, run: Config, *, game: str, num_actions: int, folder: str, cpus: float, gpus: float = 0) -> AtariPPOConfig:
        """Lays one game's run out over the CPUs and GPUs that it gets.

        Args:
            run: The resolved configuration.
            game: ROM name.
            num_actions: Of the game under the run's protocol.
            folder: The run's folder, absolute.
            cpus: CPUs for this game's learner and runners together.
            gpus: GPUs for this game's learner.
        """
        from rlgns.engine.runner import AtariRunner, observation_and_action_space

        runners = run.engine.runners
        observation_space, action_space = observation_and_action_space(run, num_actions)
        # With fewer CPUs than processes all share; Ray only needs the fractions to add up.
        per_process = min(1.0, cpus / (runners + 1))
        main = max(per_process, float(int(cpus - runners * per_process)))
        name = f"rlgns/{game}"
        register_env(name, _no_env)
        config = cls()
        config.run_config, config.game, config.num_actions, config.folder = run, game, num_actions, folder
        config.learner_threads = run.engine.threads or max(1, int(cpus if runners == 0 else main))
        config.runner_threads = config.learner_threads if runners == 0 else 1
        config.environment(env=name, observation_space=observation_space, action_space=action_space)
        config.env_runners(
            env_runner_cls=AtariRunner,
            num_env_runners=runners,
            num_envs_per_env_runner=run.env.num_envs // max(1, runners),
            num_cpus_per_env_runner=per_process,
            rollout_fragment_length=run.agent.rollout_steps,
            sample_timeout_s=run.engine.sample_timeout_s,
        )
        config.learners(num_learners=0, num_gpus_per_learner=gpus)
        config.resources(num_cpus_for_main_process=main)
        config.training(
            gamma=run.agent.gamma,
            lr=run.agent.learning_rate,
            train_batch_size_per_learner=run.rollout_observations,
        )
        config.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0)
        config.debugging(seed=run.run.seed, log_level="ERROR")
        # Runners have no state but their weights, which travel with each call.
        config._dont_auto_sync_env_runner_states = True
        return config

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Names the network's module and what it is built from."""
        from rlgns.engine.module import AtariModule

        run = self.run_config
        assert run is not None
        return RLModuleSpec(
            module_class=AtariModule,
            model_config={
                "network": dataclasses.asdict(run.network),
                "num_actions": self.num_actions,
                "frame_stack": run.env.frame_stack,
                "image_size": run.env.image_size,
            },
        )

    def get_default_learner_class(self) -> type:
        """Names the learner."""
        from rlgns.engine.learner import AtariLearner

        return AtariLearner


def _no_env(_: Any) -> None:
    raise AssertionError("environments are made by AtariRunner, never by RLlib")
