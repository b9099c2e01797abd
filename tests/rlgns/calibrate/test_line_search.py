"""Line searches on a checkpoint of a tiny policy, and the loss that they evaluate."""

import dataclasses

import pytest
import torch

from rlgns.agents.network import build_network
from rlgns.calibrate.frozen_loss import FrozenLoss
from rlgns.calibrate.frozen_policy import play_rounds, prepare_policy
from rlgns.calibrate.line_search import MIN_ROLLOUTS, PILOT_ROLLOUTS, line_search
from rlgns.config.load import to_dict
from rlgns.errors import UserError
from rlgns.storage.checkpoint import Policy
from tests.reference.noise import slow_hessian
from tests.rlgns.engine.tiny import tiny


@pytest.fixture
def policy() -> Policy:
    torch.manual_seed(0)
    config = tiny()
    network = build_network(config.network, num_actions=6, frame_stack=config.env.frame_stack, image_size=32)
    return Policy(
        network=network, config=config, game="pong", observations=0, iteration=0, state={"config": to_dict(config)}
    )


def test_measures_b_noise_in_two_ways(policy: Policy) -> None:
    before = {name: value.clone() for name, value in policy.network.state_dict().items()}
    reported: list[tuple[str, int]] = []
    rollouts = MIN_ROLLOUTS + 4
    result = line_search(
        policy,
        observations=(rollouts + PILOT_ROLLOUTS) * 32,
        progress=lambda *step: reported.append(step),
    )
    assert reported == [("pilot", PILOT_ROLLOUTS)] * PILOT_ROLLOUTS + [("line search", rollouts)] * rollouts
    assert result.fit.batch_observations == (8, 16)
    assert result.rollouts == result.hessian.updates == result.simple.updates == rollouts
    assert "by Hessian-vector products" in result.describe()
    after = policy.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_loss_agrees_with_its_derivatives(policy: Policy) -> None:
    team = prepare_policy(policy)
    config = dataclasses.replace(policy.config.agent, normalise_advantages=False)
    played = play_rounds(policy, team, sets=1)
    rollouts = next(played).rollouts
    played.close()
    team.close()
    surrogate = FrozenLoss(policy.network.double(), config, rollouts, [[2, 0], [1, 3]])
    gradients = surrogate.gradients([0, 1])
    step = 1e-5 * gradients[0]
    rise = (surrogate.value([0, 1], step) - surrogate.value([0, 1], -step)) / 2
    assert rise == pytest.approx(float(gradients.mean(0) @ step), rel=1e-4)
    bend = surrogate.value([0, 1], step) + surrogate.value([0, 1], -step) - 2 * surrogate.value([0, 1])
    assert bend == pytest.approx(float(step @ surrogate.hessian_product([0, 1], step[None])[0]), rel=1e-2)
    heads = [*policy.network.policy_head.parameters(), *policy.network.value_head.parameters()]
    count = sum(parameter.numel() for parameter in heads)
    written_out = torch.from_numpy(slow_hessian(lambda: surrogate._loss(0), heads))
    only_heads = torch.zeros(1, gradients.shape[1], dtype=torch.float64)
    only_heads[:, -count:] = gradients[:1, -count:]
    found = surrogate.hessian_product([0], only_heads)[:, -count:]
    torch.testing.assert_close(found, only_heads[:, -count:] @ written_out)


def test_refuses_too_few_observations_or_environments(policy: Policy) -> None:
    with pytest.raises(UserError, match="at least 352 observations of this policy, got 100"):
        line_search(policy, observations=100)
