"""RLlib's learner: moments of a slow twin, training bit for bit the same, one clear error."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rlgns.adapters.rllib import NoiseScalePPOLearner, _units
from rlgns.metrics.registry import KEYS
from tests.reference.noise import slow_moments

TIMESTEPS = {"num_env_steps_sampled_lifetime": 1000}


def settings(learner: Any = NoiseScalePPOLearner, **more: Any) -> PPOConfig:
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=4, num_env_runners=0)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8], vf_share_layers=False, **more))
        .training(num_epochs=2, minibatch_size=64, train_batch_size=200, entropy_coeff=0.01)
        .learners(learner_class=learner, learner_config_dict={"noise_scale_overhead": 0.9, "noise_scale_groups": 2})
        .debugging(seed=3)
    )


def rollouts(config: PPOConfig, count: int) -> list[list[Any]]:
    runner = SingleAgentEnvRunner(config=config)
    found = [runner.sample(num_timesteps=200, random_actions=False) for _ in range(count)]
    runner.stop()
    return found


def learner(config: PPOConfig) -> Any:
    torch.manual_seed(0)
    return config.build_learner(env=None, spaces={"default_policy": _spaces()})


def _spaces() -> Any:
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    return env.observation_space, env.action_space


def train(built: Any, episodes: list[list[Any]]) -> Any:
    np.random.seed(5)
    for rollout in episodes:
        result = built.update(
            episodes=copy.deepcopy(rollout),
            timesteps=TIMESTEPS,
            num_epochs=2,
            minibatch_size=64,
            shuffle_batch_per_epoch=True,
        )
    return result


@pytest.fixture(scope="module")
def played() -> list[list[Any]]:
    torch.manual_seed(0)
    return rollouts(settings(), 5)


def test_training_is_bit_for_bit_the_same(played: list[list[Any]]) -> None:
    states = []
    for kind in (PPOTorchLearner, NoiseScalePPOLearner):
        built = learner(settings(kind))
        train(built, played)
        states.append((built.module.get_state(), built._get_optimizer_state(), torch.rand(1), np.random.random()))
    measured = built.noise_scale("default_policy")
    assert measured.estimate().updates >= 2
    assert set(measured.entries()) <= set(KEYS)
    plain, ours = states
    assert plain[3] == ours[3] and torch.equal(plain[2], ours[2])
    for name, value in plain[0]["default_policy"].items():
        np.testing.assert_array_equal(value, ours[0]["default_policy"][name])
    assert repr(plain[1]) == repr(ours[1])


def test_moments_are_those_of_a_twin_that_holds_every_observations_gradient(played: list[list[Any]]) -> None:
    built = learner(settings())
    seen: dict[str, Any] = {}
    measurement = built.noise_scale("default_policy")
    measure = measurement.measure

    def equal_groups(groups: Any, loss: Any, **more: Any) -> None:
        size = min(map(len, groups))
        seen["loss"], seen["groups"] = loss, [group[:size] for group in groups]
        measure(seen["groups"], loss, **more)

    object.__setattr__(measurement, "measure", equal_groups)
    batch_of = built._measure_module

    def with_twin(module_id: str, data: Any, names: Any) -> None:
        batch_of(module_id, data, names)
        valid = data["loss_mask"].numpy()
        assert valid[np.concatenate(seen["groups"])].all()
        parameters = list(built.module[module_id].unwrapped().parameters())

        def gradient(index: int) -> np.ndarray:
            loss = seen["loss"](np.array([index]))
            found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            return torch.cat([g.flatten() for g in found]).double().numpy()

        seen["twin"] = slow_moments([np.stack([gradient(i) for i in group]) for group in seen["groups"]])

    built._measure_module = with_twin
    train(built, played[:3])
    grad_sq, trace = seen["twin"]
    row = measurement.row()
    assert row["noise/at_rollout/trace"] == pytest.approx(trace, rel=1e-4)
    assert row["noise/at_rollout/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)


def test_a_state_is_restored(played: list[list[Any]]) -> None:
    first, second = learner(settings()), learner(settings())
    train(first, played)
    second.set_state(first.get_state())
    assert second.noise_scale("default_policy").estimate() == first.noise_scale("default_policy").estimate()


def test_a_recurrent_module_is_refused() -> None:
    with pytest.raises(ValueError, match="module 'default_policy' is recurrent"):
        learner(settings(use_lstm=True, max_seq_len=8))


def test_several_learners_are_refused() -> None:
    config = settings()
    config.num_learners = 2
    with pytest.raises(ValueError, match="measures one learner, got num_learners=2"):
        learner(config)


def test_several_agents_are_refused() -> None:
    config = settings().multi_agent(policies={"one", "two"}, policy_mapping_fn=lambda agent, episode: "one")
    with pytest.raises(ValueError, match="measures one agent, and this configuration has several"):
        config.build_learner(env=None, spaces={name: _spaces() for name in ("one", "two")})


def test_chunks_of_one_episode_are_one_unit() -> None:
    valid = np.array([1, 1, 0, 1, 0, 1, 1, 1, 0], dtype=bool)
    assert [list(unit) for unit in _units(valid, ["a", "b", "a"])] == [[0, 1, 5, 6, 7], [3]]
    with pytest.raises(ValueError, match="has 3 episodes and the rollout 2: NoiseScalePPOLearner needs"):
        _units(valid, ["a", "b"])
