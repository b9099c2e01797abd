"""Recorded steps without a GPU: a recorder keeps the step as it was and replays that, whatever it is given later.

So anything that a step reads from Python, or from memory that moves, would be seen: the training would differ.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.compute.step_graphs import WARM_UP, Step, StepGraphs
from rlgns.agents.config import AgentConfig
from rlgns.agents.update import Updater
from tests.agents.synthetic import random_rollouts, small_network

UPDATES = 6


class Replays:
    """Keeps the first step of each kind, and its result's memory, as a graph does."""

    def __init__(self) -> None:
        self.warm, self.replayed = 0, 0

    def warm_up(self, step: Step) -> Tensor:
        self.warm += 1
        return step()

    def record(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        result: list[Tensor] = []

        def replay() -> None:
            self.replayed += 1
            if result[1:]:
                result[0].copy_(step())
            else:
                result[0].set_(step())
                result.append(result[0])

        result.append(torch.empty(0, dtype=torch.float64))
        return replay, result[0]


class Refuses:
    """Cannot record."""

    def warm_up(self, step: Step) -> Tensor:
        return step()

    def record(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")


def trained(recorder: Replays | Refuses | None, optimizer: str = "adam") -> tuple[list[Tensor], list[Tensor], Updater]:
    """Weights after each update, and all products."""
    network = small_network()
    config = AgentConfig(rollout_steps=16, epochs=3, minibatches=2, optimizer=optimizer)
    products: list[Tensor] = []

    def keep(found: Tensor, split: GroupSplit) -> None:
        products.append(found.clone())

    updater = Updater(
        network, config, groups=2, precision="float32", on_products=keep, on_losses=keep, recorder=recorder
    )
    weights = []
    for update in range(UPDATES):
        parts = [random_rollouts(10 * update + part, steps=16, envs=4)[0][0] for part in range(2)]
        updater.update(
            parts,
            learning_rate=1e-3 / (1 + update),
            seed=(0, update),
            split_shuffled=update == 2,
            step_by_loss=update % 2,
        )
        weights.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
    return weights, products, updater


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_training_by_recorded_steps_is_training(optimizer: str) -> None:
    recorder = Replays()
    (plain, plain_products, _), (recorded, products, updater) = trained(None, optimizer), trained(recorder, optimizer)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(plain_products, products, strict=True))
    assert updater._steps._graphs.recorded == 3  # measured, by loss, and of later epochs
    assert recorder.replayed > (UPDATES - 1) * 6 / 2
    first_update = 6  # takes its steps before the optimizer has a state; recording begins anew then
    assert recorder.warm <= 3 * WARM_UP + first_update


def test_steps_that_cannot_be_recorded_are_taken_as_they_are() -> None:
    said: list[str] = []
    graphs = StepGraphs(Refuses(), said.append)
    taken = []

    def step() -> Tensor:
        taken.append(1)
        return torch.zeros(1)

    for _ in range(WARM_UP + 3):
        graphs.take("kind", step)
    assert len(taken) == WARM_UP + 3
    assert not graphs.enabled
    assert len(said) == 1
    assert "\n" not in said[0]
    assert "not permitted" in said[0]


def test_recordings_are_thrown_away_where_memory_moved() -> None:
    recorder = Replays()
    graphs = StepGraphs(recorder)
    one, other = torch.zeros(3), torch.ones(3)
    for place in (one, one, other):
        graphs.read_from([place])
        for _ in range(WARM_UP + 1):
            result = graphs.take("kind", lambda place=place: place.clone().double())  # type: ignore[misc]
    assert torch.equal(result, other.double())
    assert recorder.warm == 2 * WARM_UP
