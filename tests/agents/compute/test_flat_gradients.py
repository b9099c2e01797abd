"""Rows of flat gradients, their mean, clipping."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlgns.agents.compute.flat_gradients import FlatGradients, clip_, equal_parts, mean_rows_
from rlgns.agents.compute.team import Team
from rlgns.agents.network import ActorCritic
from tests.agents.synthetic import SIZE, STACK, small_network


def observations(seed: int, count: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, STACK, SIZE, SIZE), dtype=np.uint8))


def loss(network: ActorCritic, batch: Tensor) -> Tensor:
    logits, values = network(batch)
    return (logits.square().sum(-1) + values.square()).mean()


def gradients(network: ActorCritic, batch: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss(network, batch), list(network.parameters()))


def write(flat: FlatGradients, row: int, values: Sequence[Tensor]) -> None:
    for view, value in zip(flat.views[row], values, strict=True):
        view.copy_(value)


def test_a_row_holds_every_parameters_gradient_and_the_first_is_the_networks_own() -> None:
    network = small_network()
    flat = FlatGradients(network, rows=4)
    flat.rows.fill_(9.0)
    expected = gradients(network, observations(1, 3))
    write(flat, 1, expected)
    assert (flat.rows[[0, 2, 3]] == 9).all()
    assert torch.equal(flat.rows[1], torch.cat([g.flatten() for g in expected]))
    write(flat, 0, expected)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)


@pytest.fixture(params=[1, 3])
def team(request: pytest.FixtureRequest) -> Iterator[Team]:
    with closing(Team(request.param)) as team:
        yield team


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_mean_of_rows_is_the_gradient_of_the_whole_batch(parts: int, team: Team) -> None:
    network = small_network().double()
    flat = FlatGradients(network, rows=5)
    flat.rows.fill_(float("nan"))  # rows beyond the parts must not matter
    batch = observations(3, 8)
    for row, part in enumerate(batch.chunk(parts)):
        write(flat, row, gradients(network, part))
    mean = flat.put(mean_rows_(flat.rows[:parts], team))
    expected = gradients(network, batch)
    torch.testing.assert_close(mean, torch.cat([g.flatten() for g in expected]), rtol=1e-12, atol=1e-12)
    mean.mul_(0.5)  # the network's own gradients are views: what clips the vector clips them
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 0.5 * gradient, rtol=1e-12, atol=1e-12)


@given(scale=st.floats(1e-3, 1e3), max_norm=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_clipping_is_that_of_torch(team: Team, scale: float, max_norm: float, seed: int) -> None:
    vector = scale * torch.randn(37, generator=torch.Generator().manual_seed(seed))
    parameters = [torch.nn.Parameter(torch.zeros(20)), torch.nn.Parameter(torch.zeros(17))]
    for parameter, part in zip(parameters, vector.clone().split([20, 17]), strict=True):
        parameter.grad = part
    expected = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    norm = clip_(vector, max_norm, team)
    torch.testing.assert_close(norm, expected)
    torch.testing.assert_close(vector, torch.cat([p.grad for p in parameters if p.grad is not None]))


def test_clipping_leaves_a_zero_gradient_alone(team: Team) -> None:
    vector = torch.zeros(2)  # fewer than threads
    assert clip_(vector, 0.5, team).item() == 0
    assert (vector == 0).all()


@given(total=st.integers(1, 60), most=st.integers(0, 20))
def test_equal_parts_is_the_largest_divisor_allowed(total: int, most: int) -> None:
    allowed = [d for d in range(1, total + 1) if total % d == 0 and d <= most]
    assert equal_parts(total, most) == (allowed[-1] if allowed else 1)
