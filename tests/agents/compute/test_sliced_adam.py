"""Adam in slices over threads against torch's."""

import copy
from collections.abc import Sequence
from contextlib import closing

import pytest
import torch
from torch import Tensor

from rlgns.agents.compute.sliced_adam import SlicedAdam
from rlgns.agents.compute.team import Team

SHAPES = [(7, 5, 3), (4,), (1,), (1301, 13)]
"""The last is long enough to be cut."""


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]


def step(optimizer: torch.optim.Optimizer, values: Sequence[Tensor], number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for value in values:
        value.grad = torch.randn(value.shape, generator=generator)
    optimizer.step()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_and_state_are_those_of_torch(threads: int) -> None:
    mine, theirs = parameters(), parameters()
    with closing(Team(threads)) as team:
        shared = SlicedAdam(mine, team=team, learning_rate=1e-2, epsilon=1e-5)
        plain = torch.optim.Adam(theirs, lr=1e-2, eps=1e-5)
        for number in range(6):
            for optimizer in (shared, plain):
                optimizer.param_groups[0]["lr"] = 1e-2 / (1 + number)
            step(shared, mine, number)
            step(plain, theirs, number)
            if number == 3:  # training continues from a state that was saved and loaded
                shared.load_state_dict(copy.deepcopy(shared.state_dict()))
    for left, right in zip(mine, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-7)
        for name in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(shared.state[left][name], plain.state[right][name], rtol=1e-6, atol=1e-9)


def test_the_number_of_threads_changes_nothing() -> None:
    found = []
    for threads in (1, 2, 3):
        values = parameters()
        with closing(Team(threads)) as team:
            optimizer = SlicedAdam(values, team=team, learning_rate=1e-2, epsilon=1e-5)
            for number in range(4):
                step(optimizer, values, number)
        found.append(torch.cat([value.detach().flatten() for value in values]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
