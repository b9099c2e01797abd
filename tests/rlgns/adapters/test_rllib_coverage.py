"""Known truth under RLlib: intervals hold the enumerated noise scale as often as they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ray.rllib", reason="needs RLlib")

from gymnasium import spaces
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from rlgns.adapters.rllib import NoiseScalePPOLearner
from tests.rlgns.adapters.bandit import ACTIONS, CONTEXTS, REWARDS, STEPS, ContextBandit, gradient_table
from tests.rlgns.adapters.bandit_coverage import ENVS, GROUPS, coverage

MODULE = "default_policy"


def host() -> Any:
    torch.manual_seed(2)
    config = (
        PPOConfig()
        .environment(ContextBandit)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[4], vf_share_layers=False))
        .training(entropy_coeff=0.01, use_kl_loss=False)
        .learners(learner_class=NoiseScalePPOLearner, learner_config_dict={"noise_scale_groups": GROUPS})
    )
    space = (spaces.Box(0, 1, (CONTEXTS,), np.float32), spaces.Discrete(ACTIONS))
    built = config.build_learner(env=None, spaces={MODULE: space})
    built.before_gradient_based_update(timesteps={})
    return built


def batch_of(module: Any, contexts: np.ndarray, actions: np.ndarray) -> tuple[Any, list[str]]:
    """A train batch as RLlib's connectors make it of one-step rewards [steps, episodes], and the episodes' names."""
    padded = [np.concatenate([column, column[:1]]).T.ravel() for column in (contexts, actions)]
    seen = torch.eye(CONTEXTS)[torch.from_numpy(padded[0])]
    with torch.no_grad():
        logits = module.forward_train({Columns.OBS: seen})[Columns.ACTION_DIST_INPUTS]
        values = module.compute_values({Columns.OBS: seen})
    taken, paid = torch.from_numpy(padded[1]), torch.from_numpy(REWARDS[padded[0], padded[1]]).float()
    valid = np.tile(np.arange(STEPS + 1) < STEPS, contexts.shape[1])
    data = {
        Columns.OBS: seen,
        Columns.ACTIONS: taken,
        Columns.ACTION_DIST_INPUTS: logits,
        Columns.ACTION_LOGP: torch.log_softmax(logits, -1)[torch.arange(len(taken)), taken],
        Columns.ADVANTAGES: paid - values,
        Columns.VALUE_TARGETS: paid,
        Columns.LOSS_MASK: torch.from_numpy(valid),
    }
    return data, [str(episode) for episode in range(contexts.shape[1])]


class Recorder:
    """Stands before a measurement; keeps the groups and the loss that the learner gives it."""

    def __init__(self, measurement: Any) -> None:
        self.measurement, self.groups, self.loss = measurement, [], None

    def measure(self, groups: Any, loss: Any, **more: Any) -> None:
        self.groups.append([rows // (STEPS + 1) * STEPS + rows % (STEPS + 1) for rows in groups])
        self.loss = loss
        self.measurement.measure(groups, loss, **more)


@pytest.fixture(scope="module")
def held() -> dict[str, float]:
    built = host()
    module = built.module[MODULE].unwrapped()

    def measure(rollouts: Any) -> Recorder:
        built._measured.clear()
        recorder = Recorder(built.noise_scale(MODULE))
        built._measured[MODULE] = recorder
        for contexts, actions in rollouts:
            built._measure_module(MODULE, *batch_of(module, contexts, actions))
        return recorder

    def real(rollouts: Any, groups: Any) -> Any:
        """The learner makes its own groups, whatever is asked for."""
        recorder = measure(rollouts)
        return recorder.measurement.estimate(), recorder.groups

    first = np.arange(CONTEXTS * ACTIONS)
    each = measure([(np.tile(first // ACTIONS, (STEPS, 1)), np.tile(first % ACTIONS, (STEPS, 1)))])
    table = gradient_table(module, lambda c, a: each.loss(np.array([(c * ACTIONS + a) * (STEPS + 1)])))
    with torch.no_grad():
        logits = module.forward_train({Columns.OBS: torch.eye(CONTEXTS)})[Columns.ACTION_DIST_INPUTS]
    return coverage(table, torch.softmax(logits, -1).numpy(), real)


def test_intervals_hold_the_truth(held: dict[str, float]) -> None:
    print(held)
    assert 0.93 <= held["environments"] <= 0.97
    assert held["resolved"] > 0.5


def test_groups_of_shuffled_observations_do_not(held: dict[str, float]) -> None:
    assert held["shuffled"] < 0.93


def test_a_unit_is_an_episode() -> None:
    built = host()
    recorder = Recorder(built.noise_scale(MODULE))
    built._measured[MODULE] = recorder
    contexts = np.zeros((STEPS, ENVS), np.int64)
    built._measure_module(MODULE, *batch_of(built.module[MODULE].unwrapped(), contexts, contexts))
    (groups,) = recorder.groups
    assert [len(group) for group in groups] == [ENVS * STEPS // GROUPS] * GROUPS
    assert all(len(np.unique(group // STEPS)) == ENVS // GROUPS for group in groups)
