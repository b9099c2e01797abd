"""The noise scale of RLlib's PPO as it comes, on CartPole: one line in the configuration.

    python examples/rllib_cartpole.py

A fifth of the time is given to measuring here. Longer runs need less: the default is a hundredth.
"""

from __future__ import annotations

from ray.rllib.algorithms.ppo import PPOConfig

from rlgns.adapters.rllib import NoiseScalePPOLearner

ITERATIONS = 30


def main() -> None:
    """Trains, and prints the noise scale from RLlib's own metrics."""
    config = (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .training(train_batch_size=1024, minibatch_size=64, num_epochs=2, lr=3e-4)
        .learners(learner_class=NoiseScalePPOLearner, learner_config_dict={"noise_scale_overhead": 0.2})
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for _ in range(ITERATIONS):
        module = algorithm.train()["learners"]["default_policy"]
    for name in ("noise/updates", "noise/run_average", "noise/run_average_low", "noise/run_average_high"):
        print(name, module.get(name, "not known"))
    verdict = algorithm.learner_group.foreach_learner(lambda learner: learner.noise_scale("default_policy").verdict())
    print(next(iter(verdict)).get().sentence())
    algorithm.stop()


if __name__ == "__main__":
    main()
