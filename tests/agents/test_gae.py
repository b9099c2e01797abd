"""Generalised advantage estimation against explicit sums, and its laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.agents.gae import advantages_and_returns
from rlgns.agents.rollout import Rollout
from tests.agents.synthetic import random_rollouts
from tests.reference.agents import slow_advantages, slow_returns

SHAPES = {"seed": st.integers(0, 2**32 - 1), "steps": st.integers(1, 9), "envs": st.integers(1, 4)}


def rollout_of(seed: int, steps: int, envs: int) -> Rollout:
    return random_rollouts(seed, steps=steps, envs=envs, size=1)[0][0]


def plain(
    rewards: list[float],
    values: list[float],
    *,
    terminal: list[int] | None = None,
    truncated: list[int] | None = None,
    final_value: float = 0.0,
) -> Rollout:
    steps = len(rewards)
    ends = np.zeros((2, steps, 1), np.bool_)
    ends[0, terminal or [], 0] = True
    ends[1, truncated or [], 0] = True
    return Rollout(
        frames=np.zeros((steps, 1, 1, 1), np.uint8),
        ages=np.ones((steps, 1), np.uint8),
        actions=np.zeros((steps, 1), np.int64),
        log_probs=np.zeros((steps, 1), np.float32),
        values=np.array(values, np.float32)[:, None],
        final_values=np.where(ends[1], np.float32(final_value), np.float32(0)),
        rewards=np.array(rewards, np.float32)[:, None],
        terminal=ends[0],
        truncated=ends[1],
    )


@given(**SHAPES, gamma=st.floats(0, 1), gae_lambda=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_agrees_with_explicit_sums(seed: int, steps: int, envs: int, gamma: float, gae_lambda: float) -> None:
    rollout = rollout_of(seed, steps, envs)
    advantages, returns = advantages_and_returns(rollout, gamma=gamma, gae_lambda=gae_lambda)
    expected = slow_advantages(rollout, gamma, gae_lambda)
    assert advantages.dtype == returns.dtype == np.float32
    np.testing.assert_allclose(advantages, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(returns, expected + rollout.values[:-1], rtol=1e-4, atol=1e-5)


@given(**SHAPES, gamma=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_lambda_one_is_the_discounted_return_minus_the_value(seed: int, steps: int, envs: int, gamma: float) -> None:
    rollout = rollout_of(seed, steps, envs)
    advantages, returns = advantages_and_returns(rollout, gamma=gamma, gae_lambda=1.0)
    expected = slow_returns(rollout, gamma)
    np.testing.assert_allclose(returns, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(advantages, expected - rollout.values[:-1], rtol=1e-4, atol=1e-5)


def test_lambda_zero_is_the_td_error() -> None:
    rollout = plain([1, 0, -3], [0.5, 1.0, 2.0, 4.0])
    advantages, _ = advantages_and_returns(rollout, gamma=0.9, gae_lambda=0.0)
    assert advantages[:, 0] == pytest.approx([1 + 0.9 * 1 - 0.5, 0.9 * 2 - 1, -1 + 0.9 * 4 - 2])


def test_each_kind_of_end_by_hand() -> None:
    gamma, both = 0.9, 0.9 * 0.8

    def first_two(rollout: Rollout) -> list[float]:
        return advantages_and_returns(rollout, gamma=gamma, gae_lambda=0.8)[0][:2, 0].tolist()

    values = [1.0, 2.0, 100.0]  # what follows the second step belongs to another game, or lies beyond the rollout
    end_of_rollout = gamma * 100 - 2
    assert first_two(plain([0, 0], values)) == pytest.approx([gamma * 2 - 1 + both * end_of_rollout, end_of_rollout])
    terminal = -2.0
    assert first_two(plain([0, 0], values, terminal=[1])) == pytest.approx([gamma * 2 - 1 + both * terminal, terminal])
    time_limit = gamma * 3 - 2  # the value of the game's own last observation, 3, not of the next game's first, 100
    cut = plain([0, 0], values, truncated=[1], final_value=3.0)
    assert first_two(cut) == pytest.approx([gamma * 2 - 1 + both * time_limit, time_limit])


def test_nothing_flows_back_over_the_end_of_a_game() -> None:
    for terminal, truncated in (([1], []), ([], [1])):
        quiet = plain([0, 0, 0, 0], [0.0, 0, 0, 0, 0], terminal=terminal, truncated=truncated)
        loud = plain([0, 0, 1, 1], [0.0, 0, 5, 5, 5], terminal=terminal, truncated=truncated)
        before = [advantages_and_returns(r, gamma=0.99, gae_lambda=0.95)[0][:2] for r in (quiet, loud)]
        np.testing.assert_array_equal(before[0], before[1])


def test_rewards_count_by_their_sign_alone() -> None:
    small, large = plain([0.1, -0.1, 0], [0.0] * 4), plain([700, -3, 0], [0.0] * 4)
    for first, second in zip(
        *(advantages_and_returns(r, gamma=0.9, gae_lambda=0.9) for r in (small, large)), strict=True
    ):
        np.testing.assert_array_equal(first, second)
