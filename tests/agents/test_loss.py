"""The loss against a loop over observations in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlgns.agents.config import AgentConfig
from rlgns.agents.loss import LossParts, Minibatch, actor_critic_loss
from tests.reference.agents import slow_loss

PPO = AgentConfig(clip=0.2, value_coefficient=0.7, entropy_coefficient=0.03)
A2C = replace(PPO, algorithm="a2c", epochs=1, minibatches=1)


def draw(seed: int, observations: int, actions: int, *, on_policy: bool = False) -> tuple[Tensor, Tensor, Minibatch]:
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    logits, chosen = normal(observations, actions), torch.randint(actions, (observations,), generator=rng)
    log_probs = torch.log_softmax(logits, -1)[torch.arange(observations), chosen]
    if not on_policy:
        log_probs = (log_probs + 0.4 * normal(observations)).clamp(max=0)
    old_values = normal(observations)
    batch = Minibatch(chosen, log_probs, old_values, normal(observations), normal(observations))
    return logits.requires_grad_(), (old_values + 0.4 * normal(observations)).requires_grad_(), batch


def by_loop(logits: Tensor, values: Tensor, batch: Minibatch, config: AgentConfig) -> LossParts:
    parts = []
    for i in range(len(values)):
        action, log_prob, old_value, advantage, target = (float(column[i]) for column in batch)
        parts.append(
            slow_loss(
                logits[i],
                values[i],
                action=int(action),
                log_prob=log_prob,
                old_value=old_value,
                advantage=advantage,
                target=target,
                config=config,
            )
        )
    return LossParts(**{name: torch.stack([part[name] for part in parts]).mean() for name in LossParts._fields})


@given(
    seed=st.integers(0, 2**31),
    observations=st.integers(1, 12),
    actions=st.integers(2, 6),
    config=st.sampled_from([PPO, replace(PPO, clip_value=False), replace(PPO, clip=0.0), A2C]),
)
@settings(max_examples=40, deadline=None)
def test_loss_parts_and_gradient_are_those_of_the_loop(
    seed: int, observations: int, actions: int, config: AgentConfig
) -> None:
    logits, values, batch = draw(seed, observations, actions)
    fast, slow = actor_critic_loss(logits, values, batch, config), by_loop(logits, values, batch, config)
    for name, part in fast._asdict().items():
        assert part.item() == pytest.approx(getattr(slow, name).item(), rel=1e-9, abs=1e-12), name
    if config.clip > 0:  # at clip 0 and ratio exactly 1 the gradient is a convention
        for mine, theirs in zip(
            torch.autograd.grad(fast.total, [logits, values]),
            torch.autograd.grad(slow.total, [logits, values], materialize_grads=True),
            strict=True,
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_cases_are_all_among_the_draws() -> None:
    """Without them the comparison above would not see a missing clip."""
    logits, values, batch = draw(0, 400, 3)
    ratio = (torch.log_softmax(logits, -1).gather(-1, batch.actions[:, None])[:, 0] - batch.log_probs).exp()
    for beyond in (ratio > 1 + PPO.clip, ratio < 1 - PPO.clip):
        for sign in (batch.advantages > 0, batch.advantages < 0):
            assert (beyond & sign).any()
    moved = values - batch.values
    assert (moved > PPO.clip).any() and (moved < -PPO.clip).any() and (moved.abs() < PPO.clip).any()


@pytest.mark.parametrize("config", [A2C, PPO], ids=["a2c", "ppo"])
def test_gradient_at_ratio_one_is_that_of_the_policy_gradient_theorem(config: AgentConfig) -> None:
    config = replace(config, entropy_coefficient=0.0, value_coefficient=0.0)
    logits, values, batch = draw(1, 16, 4, on_policy=True)
    (gradient,) = torch.autograd.grad(actor_critic_loss(logits, values, batch, config).total, logits)
    chosen = torch.log_softmax(logits, -1)[torch.arange(16), batch.actions]
    (expected,) = torch.autograd.grad(-(batch.advantages * chosen).mean(), logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


def test_clipped_observations_have_no_policy_gradient() -> None:
    config = replace(PPO, entropy_coefficient=0.0, value_coefficient=0.0)
    logits, values, batch = draw(2, 200, 4)
    (gradient,) = torch.autograd.grad(actor_critic_loss(logits, values, batch, config).total, logits)
    ratio = (torch.log_softmax(logits, -1).gather(-1, batch.actions[:, None])[:, 0] - batch.log_probs).exp()
    gone = ((ratio > 1.2) & (batch.advantages > 0)) | ((ratio < 0.8) & (batch.advantages < 0))
    assert gone.any() and not gone.all()
    assert torch.equal(gradient.abs().sum(-1) == 0, gone)


def test_a_uniform_policy_has_the_entropy_of_its_actions() -> None:
    _, values, batch = draw(3, 5, 6)
    parts = actor_critic_loss(torch.zeros(5, 6, dtype=torch.float64), values, batch, PPO)
    assert parts.entropy.item() == pytest.approx(np.log(6))


def test_duplicating_every_observation_changes_nothing() -> None:
    logits, values, batch = draw(4, 7, 3)
    once = actor_critic_loss(logits, values, batch, PPO)
    twice = actor_critic_loss(
        logits.repeat(2, 1), values.repeat(2), Minibatch(*(column.repeat(2) for column in batch)), PPO
    )
    for first, second in zip(once, twice, strict=True):
        assert first.item() == pytest.approx(second.item(), rel=1e-12)
