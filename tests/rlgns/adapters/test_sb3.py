"""Stable-Baselines3's callback: its loss is the host's, its moments a slow twin's, training is bit for bit the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.reference.noise import slow_moments

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")

from stable_baselines3 import A2C, PPO

from rlgns.adapters.groups import split
from rlgns.adapters.sb3_loss import environments, rollout_loss
from tests.rlgns.adapters.sb3_cases import CASES, build, played, quiet


@pytest.mark.parametrize("case", [case for case in CASES if "dropout" not in case])
def test_the_loss_is_the_hosts(case: str) -> None:
    """One step of the host over the whole rollout, with plain SGD, moves parameters by our gradient."""
    whole = {} if CASES[case][0] is A2C else {"batch_size": 64, "n_epochs": 1}
    model = build(case, max_grad_norm=math.inf, learning_rate=1.0, **whole)
    model.policy.optimizer = torch.optim.SGD(model.policy.parameters(), lr=1.0)
    played(model)
    parameters = [p for p in model.policy.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    loss = rollout_loss(model, ppo=isinstance(model, PPO))
    ours = torch.autograd.grad(loss(np.arange(64)), parameters, allow_unused=True, materialize_grads=True)
    model.train()
    scale = max(float(gradient.abs().max()) for gradient in ours)
    assert scale > 1e-4
    for old, new, gradient in zip(before, parameters, ours, strict=True):
        torch.testing.assert_close(old - new.detach(), gradient, rtol=1e-3, atol=2e-5 * max(1.0, scale))


@pytest.mark.parametrize("case", ["PPO on CartPole", "A2C on CartPole"])
def test_moments_are_those_of_a_twin_that_holds_every_observations_gradient(case: str) -> None:
    model, callback = build(case), quiet(groups=2)
    played(model)
    callback.init_callback(model)
    callback._measure(callback._started())
    loss, parameters = rollout_loss(model, ppo=isinstance(model, PPO)), list(model.policy.parameters())

    def gradient(index: int) -> np.ndarray:
        found = torch.autograd.grad(loss(np.array([index])), parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in found]).double().numpy()

    groups = [np.stack([gradient(i) for i in group]) for group in split(environments(model), 2)]
    assert [len(group) for group in groups] == [32, 32]
    grad_sq, trace = slow_moments(groups)
    entries = callback._entries
    assert entries["noise/at_rollout/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)
    assert entries["noise/at_rollout/trace"] == pytest.approx(trace, rel=1e-4)


def test_passes_over_parts_of_a_group_change_nothing() -> None:
    """11 environments in 8 groups, in passes of at most 5 observations."""
    model = build("PPO on CartPole", n_envs=11)
    played(model)
    found = []
    for chunk in (10**6, 5):
        callback = quiet()
        callback.init_callback(model)
        measurement = callback._started()
        measurement.measure(
            split(environments(model), 8),
            rollout_loss(model, ppo=True),
            chunk_observations=chunk,
            batch_observations=32,
            learning_rate=1e-3,
            observations=0,
        )
        found.append(measurement.row())
    for name in ("grad_sq", "trace"):
        assert found[0][f"noise/at_rollout/{name}"] == pytest.approx(found[1][f"noise/at_rollout/{name}"], rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_training_is_bit_for_bit_the_same(case: str) -> None:
    states, measured = [], 0.0
    for callback in (None, quiet()):
        model = build(case)
        model.learn(64 * 4, callback=callback)
        draws = (torch.rand(1).item(), float(np.random.random()))
        states.append((model.policy.state_dict(), model.policy.optimizer.state_dict()["state"], draws))
        measured = callback.estimate().updates if callback else 0
    (plain, optimizer, draws), (ours, our_optimizer, our_draws) = states
    assert measured >= 2
    assert draws == our_draws
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    for key, state in optimizer.items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(our_optimizer[key][n])) for n, v in state.items())
