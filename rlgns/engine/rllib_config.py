"""RLlib's settings, derived from a run's configuration: which classes it builds, and what each process gets."""

from __future__ import annotations

import dataclasses
from typing import Any

from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from rlgns.config.schema import Config
from rlgns.engine.learner import AtariLearner
from rlgns.engine.module import AtariModule
from rlgns.engine.run_settings import RunSettings, TrialSpec
from rlgns.engine.runner import AtariRunner, observation_and_action_space

ENV = "rlgns"


class AtariPPOConfig(RunSettings):
    """Derives everything that RLlib reads from `run_config` and `trial_config`, which Tune passes to a trial."""

    def update_from_dict(self, config_dict: dict[str, Any]) -> AtariPPOConfig:
        """Takes `run_config` and `trial_config` (among RLlib's own keys) and derives the rest."""
        super().update_from_dict(config_dict)
        if self.run_config is not None and self.trial_config is not None:
            self._derive(self.run, self.trial)
        return self

    def _derive(self, run: Config, trial: TrialSpec) -> None:
        placed = trial.placement
        observation_space, action_space = observation_and_action_space(run, trial.num_actions)
        self.learner_threads, self.driver_threads = placed.learner_threads, placed.driver_threads
        register_env(ENV, _no_env)
        self.environment(env=ENV, observation_space=observation_space, action_space=action_space)
        self.env_runners(
            env_runner_cls=AtariRunner,
            num_env_runners=placed.runners,
            num_envs_per_env_runner=run.env.num_envs // max(1, placed.runners),
            num_cpus_per_env_runner=placed.runner_cpus,  # type: ignore[arg-type]  # fractions are fine
            rollout_fragment_length=run.agent.rollout_steps,
            sample_timeout_s=run.engine.sample_timeout_s,
        )
        self.learners(
            num_learners=placed.learners,
            num_cpus_per_learner=placed.learner_cpus,
            num_gpus_per_learner=placed.learner_gpus,
        )
        # SPREAD uses the memory and network of every machine; Tune reserves all bundles or none.
        self.resources(
            num_cpus_for_main_process=placed.driver_cpus,  # type: ignore[arg-type]
            placement_strategy="SPREAD",
        )
        self.training(
            gamma=run.agent.gamma, lr=run.agent.learning_rate, train_batch_size_per_learner=run.rollout_observations
        )
        # Without limit over the run, as nodes come and go: `AtariRunnerGroup` limits the restarts within an iteration.
        self.fault_tolerance(
            restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0, max_num_env_runner_restarts=-1
        )
        self.debugging(seed=run.run.seed, log_level="ERROR")
        # Weights are a runner's only state, and travel with each call.
        self._dont_auto_sync_env_runner_states = True

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Returns the network's module and what it is built from."""
        run, trial = self.run, self.trial
        return RLModuleSpec(
            module_class=AtariModule,
            model_config={
                "network": dataclasses.asdict(run.network),
                "num_actions": trial.num_actions,
                "frame_stack": run.env.frame_stack,
                "image_size": run.env.image_size,
            },
        )

    def get_default_learner_class(self) -> type:
        """Returns the learner's class."""
        return AtariLearner


def _no_env(_: Any) -> None:
    raise AssertionError("environments are made by AtariRunner, never by RLlib")
