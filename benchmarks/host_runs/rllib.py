"""A run of RLlib's own PPO with NoiseScalePPOLearner, as a user has it."""

from __future__ import annotations

import math

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.registry import register_env

from benchmarks.host_runs import settings as common
from benchmarks.host_runs.policy import PolicyModule
from benchmarks.host_runs.rows import row_of
from benchmarks.host_runs.settings import HostRun, make_env
from benchmarks.peers.settings import start_ray, stop_rllib
from rlgns.adapters.rllib import NoiseScalePPOLearner


def configure(run: HostRun) -> PPOConfig:
    """Returns the algorithm's configuration, with a run's settings and first weights."""
    register_env("host-game", lambda _: make_env(run.game, run.stagger_steps))
    return (
        PPOConfig()
        .environment("host-game")
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=run.num_envs,
            rollout_fragment_length=run.rollout_steps,
        )
        .learners(
            num_learners=0,
            learner_class=NoiseScalePPOLearner,
            learner_config_dict={"noise_scale_overhead": common.OVERHEAD, "noise_scale_groups": run.num_envs},
        )
        .training(
            train_batch_size_per_learner=run.rollout_observations,
            minibatch_size=run.batch_observations,
            num_epochs=run.epochs,
            lr=run.learning_rate,
            gamma=run.gamma,
            lambda_=common.GAE_LAMBDA,
            clip_param=run.clip,
            vf_loss_coeff=run.value_coefficient,
            vf_clip_param=math.inf,
            entropy_coeff=run.entropy_coefficient,
            grad_clip=common.MAX_GRAD_NORM,
            use_kl_loss=False,
        )
        .rl_module(rl_module_spec=RLModuleSpec(module_class=PolicyModule, model_config={"run": run}))
        .debugging(seed=run.seed, log_level="ERROR")
    )


def run_rllib(run: HostRun) -> list[dict[str, float]]:
    """Trains, or plays with a frozen policy; returns a row per rollout."""
    threads = torch.get_num_threads()
    start_ray(1)
    algorithm = configure(run).build_algo()
    torch.set_num_threads(threads)
    rows = []
    for _ in range(run.iterations):
        result = algorithm.train()
        played = result[ENV_RUNNER_RESULTS]
        rows.append(
            row_of(
                result["learners"]["default_policy"],
                observations=int(played[NUM_ENV_STEPS_SAMPLED_LIFETIME]),
                score=float(played.get(EPISODE_RETURN_MEAN, math.nan)),
            )
        )
    stop_rllib(algorithm)
    return rows
