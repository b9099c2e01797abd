"""RLlib's learner: moments of a slow twin, training bit for bit the same, one clear error."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole

from rlgns.adapters.rllib import NoiseScalePPOLearner
from rlgns.adapters.rllib_units import games_of_chunks, rows_of_games
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


def twin(built: Any, module_id: str, episodes: list[list[Any]]) -> tuple[Any, Any]:
    """Trains; returns a module's measurement and the moments of a twin that holds every observation's gradient."""
    seen: dict[str, Any] = {}
    measurement = built.noise_scale(module_id)
    measure, measure_module = measurement.measure, built._measure_module

    def equal_groups(groups: Any, loss: Any, **more: Any) -> None:
        size = min(map(len, groups))
        seen["loss"], seen["groups"] = loss, [group[:size] for group in groups]
        measure(seen["groups"], loss, **more)

    def with_twin(name: str, data: Any, names: Any) -> None:
        measure_module(name, data, names)
        if name != module_id:
            return
        valid = data["loss_mask"].numpy()
        assert valid[np.concatenate(seen["groups"])].all()
        parameters = list(built.module[name].unwrapped().parameters())

        def gradient(index: int) -> np.ndarray:
            loss = seen["loss"](np.array([index]))
            found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            return torch.cat([g.flatten() for g in found]).double().numpy()

        seen["twin"] = slow_moments([np.stack([gradient(i) for i in group]) for group in seen["groups"]])

    object.__setattr__(measurement, "measure", equal_groups)
    built._measure_module = with_twin
    train(built, episodes)
    return measurement, seen["twin"]


def check_twin(measurement: Any, moments: Any) -> None:
    grad_sq, trace = moments
    row = measurement.row()
    assert row["noise/at_rollout/trace"] == pytest.approx(trace, rel=1e-4)
    assert row["noise/at_rollout/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)


def test_moments_are_those_of_a_twin_that_holds_every_observations_gradient(played: list[list[Any]]) -> None:
    check_twin(*twin(learner(settings()), "default_policy", played[:3]))


def several_agents() -> PPOConfig:
    """Three poles in one game; two share a module."""
    return (
        settings()
        .environment(MultiAgentCartPole, env_config={"num_agents": 3})
        .multi_agent(
            policies={"one", "two"}, policy_mapping_fn=lambda agent, episode, **_: "one" if agent < 2 else "two"
        )
        .env_runners(num_envs_per_env_runner=1)
    )


def test_several_agents_of_one_game_are_one_unit() -> None:
    torch.manual_seed(0)
    config = several_agents()
    runner = MultiAgentEnvRunner(config=config)
    episodes = [runner.sample(num_timesteps=100, random_actions=False) for _ in range(3)]
    runner.stop()
    chunks = games_of_chunks(episodes[0])
    games = [str(episode.id_) for episode in episodes[0]]
    assert chunks["two"] == games
    assert sorted(set(chunks["one"])) == sorted(games)
    assert len(chunks["one"]) == 2 * len(games)
    built = config.build_learner(env=None, spaces={name: _spaces() for name in ("one", "two")})
    check_twin(*twin(built, "one", episodes))
    assert built.noise_scale("two").estimate().updates == built.noise_scale("one").estimate().updates


class Records(NoiseScalePPOLearner):
    """Writes the gradients of its groups, by learner, into a folder."""

    def _measure_module(self, module_id: str, data: Any, names: Any) -> None:
        measurement = self.noise_scale(module_id)
        measure = measurement.measure
        parameters = list(self.module[module_id].unwrapped().parameters())

        def recorded(groups: Any, loss: Any, **more: Any) -> None:
            rows = []
            for group in groups:
                found = torch.autograd.grad(loss(group), parameters, allow_unused=True, materialize_grads=True)
                rows.append(torch.cat([g.flatten() for g in found]).double().numpy())
            measure(groups, loss, **more)
            path = Path(self.config.learner_config_dict["folder"]) / f"{self._learner_index}.npz"
            row = measurement.row()
            np.savez(
                path,
                rows=rows,
                sizes=[len(group) for group in groups],
                found=[row["noise/at_rollout/grad_sq"], row["noise/at_rollout/trace"]],
                batch=more["batch_observations"],
            )

        object.__setattr__(measurement, "measure", recorded)
        super()._measure_module(module_id, data, names)
        object.__setattr__(measurement, "measure", measure)


@pytest.mark.usefixtures("local_ray")
def test_several_learners_measure_one_batch_together(tmp_path: Path) -> None:
    """Each its part; the moments are those of all groups."""
    config = settings(Records).learners(
        num_learners=2,
        num_cpus_per_learner=0.5,
        learner_config_dict={"noise_scale_overhead": 0.9, "noise_scale_groups": 2, "folder": str(tmp_path)},
    )
    config.env_runners(num_envs_per_env_runner=8).training(train_batch_size_per_learner=200)
    algorithm = config.build_algo()
    for _ in range(3):
        result = algorithm.train()
    algorithm.stop()
    parts = [np.load(tmp_path / f"{rank}.npz") for rank in range(2)]
    grad_sq, trace = weighted_moments(
        [(row, size) for part in parts for row, size in zip(part["rows"], part["sizes"], strict=True)]
    )
    for part in parts:
        assert part["found"] == pytest.approx([grad_sq, trace], rel=1e-4, abs=1e-5 * trace)
        assert 64 < part["batch"] <= 128  # of both learners, less the rows that RLlib adds
    assert result["learners"]["default_policy"]["noise/at_rollout/trace"] > 0


def weighted_moments(groups: list[tuple[np.ndarray, int]]) -> tuple[float, float]:
    """Unbiased |G|^2 and tr(Sigma) from means of groups of different sizes, pair by pair."""
    total = sum(size for _, size in groups)
    pairs = [(a, b) for i, a in enumerate(groups) for j, b in enumerate(groups) if i != j]
    grad_sq = sum(m * n * (g @ h) for (g, m), (h, n) in pairs) / sum(m * n for (_, m), (_, n) in pairs)
    mean = sum(size * row for row, size in groups) / total
    spread = sum(size * ((row - mean) @ (row - mean)) for row, size in groups)
    return grad_sq, spread / (len(groups) - 1)


def test_a_state_is_restored(played: list[list[Any]]) -> None:
    first, second = learner(settings()), learner(settings())
    train(first, played)
    second.set_state(first.get_state())
    assert second.noise_scale("default_policy").estimate() == first.noise_scale("default_policy").estimate()


def test_a_recurrent_module_is_refused() -> None:
    with pytest.raises(ValueError, match="module 'default_policy' is recurrent"):
        learner(settings(use_lstm=True, max_seq_len=8))


def test_chunks_of_one_episode_are_one_unit() -> None:
    valid = np.array([1, 1, 0, 1, 0, 1, 1, 1, 0], dtype=bool)
    assert [list(unit) for unit in rows_of_games(valid, ["a", "b", "a"], "Learner")] == [[0, 1, 5, 6, 7], [3]]
    with pytest.raises(ValueError, match="has 3 episodes and the rollout 2: Learner needs"):
        rows_of_games(valid, ["a", "b"], "Learner")
