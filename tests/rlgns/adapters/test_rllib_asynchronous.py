"""RLlib's IMPALA and APPO: groups add up to the batch, training is the same bit for bit, a batch is measured once."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ray.rllib", reason="needs RLlib")

import gymnasium
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rlgns.adapters.rllib import NoiseScaleAPPOLearner, NoiseScaleIMPALALearner, NoiseScalePPOLearner
from rlgns.metrics.registry import KEYS
from tests.rlgns.adapters.test_rllib import weighted_moments

MODULE = "default_policy"
LEARNERS = {NoiseScaleIMPALALearner: IMPALATorchLearner, NoiseScaleAPPOLearner: APPOTorchLearner}
FRAGMENT, BATCH = 25, 200

pytestmark = pytest.mark.usefixtures("local_ray")  # the thread that learns puts weights into its store


def settings(learner: Any, **more: Any) -> Any:
    config = APPOConfig() if issubclass(learner, APPOTorchLearner) else IMPALAConfig()
    config = (
        config.environment("CartPole-v1")
        .env_runners(num_envs_per_env_runner=4, num_env_runners=0, rollout_fragment_length=FRAGMENT)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8], vf_share_layers=False, **more))
        .training(train_batch_size_per_learner=BATCH, entropy_coeff=0.01, lr=3e-3)
        .learners(
            num_learners=0,
            learner_class=learner,
            learner_config_dict={"noise_scale_overhead": 0.9, "noise_scale_groups": 3},
        )
        .debugging(seed=3)
    )
    return config.training(use_circular_buffer=False) if isinstance(config, APPOConfig) else config


def build(config: Any) -> Any:
    torch.manual_seed(0)
    env = gymnasium.make("CartPole-v1")
    return config.build_learner(env=None, spaces={MODULE: (env.observation_space, env.action_space)})


@pytest.fixture(scope="module")
def played() -> list[list[Any]]:
    """Rollouts of 200 steps, each of two fragments of every environment: games have several chunks."""
    torch.manual_seed(0)
    runner = SingleAgentEnvRunner(config=settings(IMPALATorchLearner))
    count = BATCH // FRAGMENT // 4
    found = [[e for _ in range(count) for e in runner.sample(num_timesteps=4 * FRAGMENT)] for _ in range(4)]
    runner.stop()
    return found


def train(built: Any, rollouts: list[list[Any]]) -> None:
    for rollout in rollouts:
        built.update(TrainingData(episodes=copy.deepcopy(rollout)), timesteps={"num_env_steps_sampled_lifetime": 1000})
    built.shutdown()


@pytest.mark.parametrize("ours", LEARNERS)
def test_training_is_bit_for_bit_the_same(ours: Any, played: list[list[Any]]) -> None:
    states = []
    for kind in (LEARNERS[ours], ours):
        built = build(settings(kind))
        train(built, played)
        states.append((built.module.get_state(), built._get_optimizer_state()))
    assert built.noise_scale(MODULE).estimate().updates >= 1
    assert set(built.noise_scale(MODULE).entries()) <= set(KEYS)
    plain, with_noise_scale = states
    for name, value in plain[0][MODULE].items():
        np.testing.assert_array_equal(value, with_noise_scale[0][MODULE][name])
    assert repr(plain[1]) == repr(with_noise_scale[1])


class Seen:
    """What a learner measured last, and its parameters then."""

    def __init__(self, built: Any) -> None:
        self.built, self.measurement = built, built.noise_scale(MODULE)
        measure, compute, self.loss_of_rows = self.measurement.measure, built.compute_gradients, built._loss_of_rows

        def loss_of_rows(module_id: str, data: Any) -> Any:
            self.data = data
            return self.loss_of_rows(module_id, data)

        def recorded(groups: Any, loss: Any, **more: Any) -> None:
            self.groups = groups
            self.means = [self.gradient(loss(group)) for group in groups]
            measure(groups, loss, **more)
            self.row = self.measurement.row()
            self.batch = None

        def compute_gradients(losses: Any, **more: Any) -> Any:
            found = compute(losses, **more)
            if getattr(self, "groups", None) is not None and self.batch is None:
                self.batch = torch.cat([g.flatten() for g in found.values()]).double().numpy()
            return found

        object.__setattr__(self.measurement, "measure", recorded)
        built._loss_of_rows, built.compute_gradients = loss_of_rows, compute_gradients

    def gradient(self, loss: Any) -> np.ndarray:
        parameters = list(self.built._params.values())
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in found]).double().numpy()


@pytest.fixture(params=LEARNERS, scope="module")
def seen(request: Any, played: list[list[Any]]) -> Seen:
    built = build(settings(request.param))
    found = Seen(built)
    train(built, played)
    return found


def test_the_groups_add_up_to_the_gradient_that_is_stepped_along(seen: Seen) -> None:
    sizes = [len(group) for group in seen.groups]
    assert sum(sizes) == int(seen.data["loss_mask"].sum())
    mean = np.average(seen.means, axis=0, weights=sizes)
    np.testing.assert_allclose(mean, seen.batch, rtol=1e-4, atol=1e-5 * np.abs(seen.batch).max())


def test_moments_are_those_of_the_groups(seen: Seen) -> None:
    grad_sq, trace = weighted_moments(list(zip(seen.means, map(len, seen.groups), strict=True)))
    assert seen.row["noise/at_rollout/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-5 * trace)
    assert seen.row["noise/at_rollout/trace"] == pytest.approx(trace, rel=1e-4)


def test_a_group_does_not_depend_on_the_others(seen: Seen) -> None:
    """Other games' rewards, actions and observations changed: the same loss, bit for bit."""
    group = seen.groups[0]
    before = seen.loss_of_rows(MODULE, seen.data)(group)
    own = np.zeros(len(seen.data["loss_mask"]), bool)
    own[group] = True
    own[1:] |= own[:-1]  # and the row after a chunk, which only bootstraps
    others = torch.from_numpy(~own)
    changed = {name: column.clone() for name, column in seen.data.items() if isinstance(column, torch.Tensor)}
    for name in ("rewards", "obs", "action_logp"):
        changed[name][others] += 1.0
    assert seen.loss_of_rows(MODULE, changed)(group) == before
    changed["rewards"][torch.from_numpy(group)] += 1.0
    assert seen.loss_of_rows(MODULE, changed)(group) != before


def test_losses_of_rows_taken_out_of_the_batch_do_not_add_up(seen: Seen) -> None:
    """The twin that must fail: V-trace reads columns of the batch, which other rows then fill."""
    means = []
    for group in seen.groups:
        rows = np.unique(np.concatenate([group, group + 1]))
        part = {name: column[rows] for name, column in seen.data.items() if isinstance(column, torch.Tensor)}
        means.append(seen.gradient(seen.loss_of_rows(MODULE, part)(np.flatnonzero(part["loss_mask"]))))
    mean = np.average(means, axis=0, weights=[len(group) for group in seen.groups])
    whole = seen.gradient(seen.loss_of_rows(MODULE, seen.data)(np.flatnonzero(seen.data["loss_mask"])))
    assert np.abs(mean - whole).max() > 1e-3 * np.abs(whole).max()


def test_a_batch_that_is_drawn_again_is_not_measured(played: list[list[Any]]) -> None:
    built = build(settings(NoiseScaleAPPOLearner).training(use_circular_buffer=True))
    assert built.noise_scale(MODULE) and built._passes() == 2
    calls, measure = [], built._measure_if_due

    def counted(batch: Any, games: Any) -> None:
        calls.append((id(batch), games is not None))
        measure(batch, games)

    built._measure_if_due = counted
    train(built, played)
    first = [batch for batch, fresh in calls if fresh]
    again = [batch for batch, fresh in calls if not fresh]
    assert len(first) == len(set(first)) and set(again) <= set(first) and first


def test_a_state_is_restored(played: list[list[Any]]) -> None:
    first, second = build(settings(NoiseScaleIMPALALearner)), build(settings(NoiseScaleIMPALALearner))
    train(first, played)
    second.set_state(first.get_state())
    second.shutdown()
    assert second.noise_scale(MODULE).estimate() == first.noise_scale(MODULE).estimate()
    assert "noise_scale" not in first.get_state(components=["rl_module"])  # what goes to the runners


def test_what_cannot_be_measured_is_refused() -> None:
    config = settings(NoiseScaleIMPALALearner)
    with pytest.raises(ValueError, match="num_aggregator_actors_per_learner=2: set it to 0"):
        build(config.copy(copy_frozen=False).learners(num_aggregator_actors_per_learner=2))
    with pytest.raises(ValueError, match="num_learners=2: set it to 0 or 1"):
        build(config.copy(copy_frozen=False).learners(num_learners=2))
    with pytest.raises(ValueError, match="module 'default_policy' is recurrent"):
        build(settings(NoiseScaleAPPOLearner, use_lstm=True, max_seq_len=8))
    with pytest.raises(ValueError, match=r"NoiseScalePPOLearner does not learn as APPOConfig asks, .*APPOTorchLearner"):
        build(settings(NoiseScaleAPPOLearner).learners(learner_class=NoiseScalePPOLearner))


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_algorithm_logs_the_noise_scale(learner: Any) -> None:
    """With learner and runner in this process, where results do not come late; a batch is of two iterations."""
    algorithm = settings(learner).reporting(min_time_s_per_iteration=0).build_algo()
    found: dict[str, Any] = {}
    for _ in range(16):
        found = algorithm.train().get("learners", {}).get(MODULE, found)
    algorithm.stop()
    assert found["noise/updates"] >= 1
    assert found["noise/at_rollout/trace"] > 0
