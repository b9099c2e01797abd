"""What the loss needs of each observation."""

import numpy as np
import pytest

from rlgns.agents.training_data import make_training_data
from rlgns.agents.update import Updater
from tests.agents.synthetic import random_rollouts, small_network
from tests.agents.training import GROUPS, PPO, SEED, STEPS, rollouts_of, train
from tests.reference.agents import SlowRecord


def test_explained_variance_is_one_minus_the_share_of_the_error() -> None:
    rollouts, observations = rollouts_of(0)
    record = SlowRecord(rollouts, observations, PPO)
    expected = 1 - (record.targets - record.values).var() / record.targets.var()
    assert make_training_data(rollouts, PPO)[1] == pytest.approx(expected, rel=1e-4)
    assert train(PPO)[1].metrics["explained_variance"] == pytest.approx(expected, rel=1e-4)


def test_explained_variance_of_constant_returns_is_undefined() -> None:
    (rollout,), _ = random_rollouts(0, steps=STEPS, envs=4, end_probability=0)
    rollout.rewards[:], rollout.values[:] = 0, 0
    updater = Updater(small_network(), PPO, groups=GROUPS, precision="float32")
    metrics = updater.update([rollout], learning_rate=1e-3, seed=SEED).metrics
    assert [name for name, value in metrics.items() if not np.isfinite(value)] == ["explained_variance"]
