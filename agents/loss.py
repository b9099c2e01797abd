"""The loss of PPO, and of A2C as its special case."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlgns.agents.config import AgentConfig


class Minibatch(NamedTuple):
    """What the loss needs of each observation, all [batch]."""

    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


class LossParts(NamedTuple):
    """The loss that is minimised, then the statistics that are logged; scalars, means over the batch.

    To log another statistic, add a field, compute it in `actor_critic_loss`, and declare its key in rlgns/metrics.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    approx_kl: Tensor
    clip_fraction: Tensor

    def statistics(self) -> Tensor:
        """Returns all parts but the total [len(STATISTICS)], without their graph."""
        return torch.stack(self[1:]).detach()


_KEYS = {"policy": "loss/policy", "value": "loss/value"}

STATISTICS = tuple(_KEYS.get(name, name) for name in LossParts._fields[1:])
"""The statistics' keys in metrics.jsonl: their names, but for the losses."""


def actor_critic_loss(logits: Tensor, values: Tensor, batch: Minibatch, config: AgentConfig) -> LossParts:
    """Computes the mean loss of a batch.

        ratio  = pi(a|s) / pi_old(a|s)
        policy = -mean min(ratio A, clip(ratio, 1 - c, 1 + c) A)
        value  = 1/2 mean max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2)
        total  = policy - entropy_coefficient * entropy + value_coefficient * value

    A2C does not clip: its only step is at ratio = 1, where the policy part's gradient is -mean A grad log pi.

    Args:
        logits: [batch, actions].
        values: [batch].
        batch: Actions, what was recorded when they were taken, advantages and value targets.
        config: Coefficients.

    Returns:
        Loss and parts; total, policy, value and entropy are differentiable. approx_kl is mean((ratio - 1) - log ratio).

    Schulman et al. 2017, arXiv:1707.06347, eq. 7 and 9; value clipping as in OpenAI Baselines' ppo2.
    """
    log_policy = torch.log_softmax(logits, dim=-1)
    log_ratio = log_policy.gather(-1, batch.actions[:, None]).squeeze(-1) - batch.log_probs
    ratio = log_ratio.exp()
    surrogate = ratio * batch.advantages
    value_error = (values - batch.returns).square()
    if config.algorithm == "ppo":
        surrogate = torch.minimum(surrogate, ratio.clamp(1 - config.clip, 1 + config.clip) * batch.advantages)
        if config.clip_value:
            clipped = batch.values + (values - batch.values).clamp(-config.clip, config.clip)
            value_error = torch.maximum(value_error, (clipped - batch.returns).square())
    policy = -surrogate.mean()
    value = 0.5 * value_error.mean()
    entropy = -(log_policy.exp() * log_policy).sum(-1).mean()
    total = policy - config.entropy_coefficient * entropy + config.value_coefficient * value
    with torch.no_grad():
        approx_kl = ((ratio - 1) - log_ratio).mean()
        clip_fraction = ((ratio - 1).abs() > config.clip).to(ratio.dtype).mean()
    return LossParts(total, policy, value, entropy, approx_kl, clip_fraction)


def policy_part(loss: LossParts, config: AgentConfig) -> Tensor:
    """Returns the whole loss without the value's: policy - entropy_coefficient * entropy, differentiable."""
    return loss.policy - config.entropy_coefficient * loss.entropy
