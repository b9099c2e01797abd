"""What a checkpoint gets from a learner: on the CPU, its own memory, and every bit back."""

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.optimizer import make_optimizer
from rlgns.engine.training_state import on_cpu
from tests.rlgns.engine.tiny import build, tiny


def tensors(state: Any, at: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a state, with its place."""
    return ((place, leaf) for place, leaf in leaves(state, at) if isinstance(leaf, Tensor))


def leaves(state: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor and value in a state, with its place. Fails on anything but tensors and plain types."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from leaves(value, f"{at}/{key}")
    elif isinstance(state, list | tuple):
        for place, value in enumerate(state):
            yield from leaves(value, f"{at}/{place}")
    else:
        assert state is None or isinstance(state, Tensor | bool | int | float | str), (at, type(state))
        yield at, state


def assert_equal(one: Any, other: Any) -> None:
    """Compares all values, and tensors bit for bit with their types."""
    first, second = dict(leaves(one)), dict(leaves(other))
    assert list(first) == list(second)
    for place, leaf in first.items():
        if isinstance(leaf, Tensor):
            assert leaf.dtype == second[place].dtype, place
            assert torch.equal(leaf, second[place]), place
        else:
            assert repr(leaf) == repr(second[place]), place  # NaN is NaN


def test_an_accelerators_state_comes_to_the_cpu_with_its_types() -> None:
    """With fake tensors, which have a device and no memory."""
    with FakeTensorMode():
        weights = [torch.empty(3, 2, device="cuda:0"), torch.empty(2, device="cuda:0", dtype=torch.bfloat16)]
        steps = torch.empty((), device="cuda:0")
        state = {"state": {0: {"step": steps, "average": weights[0]}}, "weights": weights, "lr": 0.1, "betas": (0.9, 1)}
        found = on_cpu(state)
        assert {tensor.device.type for _, tensor in tensors(found)} == {"cpu"}
        types = {place: (tensor.dtype, tensor.shape) for place, tensor in tensors(found)}
        assert types == {place: (tensor.dtype, tensor.shape) for place, tensor in tensors(state)}
    assert (found["lr"], found["betas"]) == (0.1, (0.9, 1))
    assert next(iter(tensors(state)))[1].device.type == "cuda"


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_loaded_state_goes_to_the_accelerator_with_its_types(optimizer: str) -> None:
    """Adam's step counts go there, where its fused step reads them; RMSProp's stay on the CPU, as torch wants them."""
    config, team = AgentConfig(optimizer=optimizer), Team(1)
    weight = torch.nn.Parameter(torch.ones(3, 2))
    trained = make_optimizer([weight], config, team)
    weight.grad = torch.ones(3, 2)
    trained.step()
    state = on_cpu(trained.state_dict())
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = torch.nn.Parameter(torch.empty(3, 2, device="cuda:0"))
        loaded = make_optimizer([there], config, team)
        loaded.load_state_dict(state)
        found = {name: (value.device.type, value.dtype) for name, value in loaded.state[there].items()}
        back = on_cpu(loaded.state_dict())
    moments = {"adam": ("exp_avg", "exp_avg_sq"), "rmsprop": ("square_avg",)}[optimizer]
    step_device = {"adam": "cuda", "rmsprop": "cpu"}[optimizer]
    assert found == {"step": (step_device, torch.float32)} | dict.fromkeys(moments, ("cuda", torch.float32))
    assert {tensor.device.type for _, tensor in tensors(back)} == {"cpu"}
    assert [place for place, _ in leaves(back)] == [place for place, _ in leaves(state)]


@pytest.mark.usefixtures("local_ray")
def test_a_learner_on_an_accelerator_hands_out_tensors_on_the_cpu(tmp_path: Path) -> None:
    """Its weights and its optimizer's state are made fake ones on a GPU: a driver without one could not read those."""
    algorithm = build(tiny(), tmp_path)
    learner = algorithm._learners.local
    algorithm.train()
    expected = learner.training_state()
    mode = FakeTensorMode()

    def fake(value: Tensor) -> Tensor:
        with mode:
            return torch.empty(value.shape, dtype=value.dtype, device="cuda:0")

    for parameter in learner.network.parameters():
        state = learner._updater.optimizer.state[parameter]
        state |= {name: fake(value) for name, value in state.items()}
    for module in learner.network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(fake(parameter)))
    assert next(learner.network.parameters()).device.type == "cuda"
    learner_state = learner.training_state()
    handed_out = [*tensors(learner_state), *tensors(learner._get_optimizer_state()), *tensors(learner.weights())]
    assert {tensor.device.type for _, tensor in handed_out} == {"cpu"}
    expected_types = {place: (tensor.dtype, tensor.shape) for place, tensor in tensors(expected)}
    assert {place: (tensor.dtype, tensor.shape) for place, tensor in tensors(learner_state)} == expected_types
    algorithm._whole = False  # else it would save
    algorithm.stop()


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_checkpoint_does_not_change_while_training_goes_on(tmp_path: Path, optimizer: str) -> None:
    config = tiny()
    agent = dataclasses.replace(config.agent, optimizer=optimizer)
    algorithm = build(dataclasses.replace(config, agent=agent), tmp_path)
    learner = algorithm._learners.local
    algorithm.train()
    state, of_optimizer = learner.training_state(), learner._get_optimizer_state()
    before = copy.deepcopy((state, of_optimizer))
    algorithm.train()
    assert_equal((state, of_optimizer), before)
    learner.load_training_state(state)
    assert_equal(learner.training_state(), state)
    algorithm.train()  # nor once it was loaded
    assert_equal((state, of_optimizer), before)
    learner._set_optimizer_state(of_optimizer)
    assert_equal(learner._get_optimizer_state(), of_optimizer)
    algorithm.train()
    assert_equal((state, of_optimizer), before)
    algorithm.stop()
