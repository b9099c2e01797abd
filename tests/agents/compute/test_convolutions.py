"""The compiled kernels against a twin that computes each position separately."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlgns.agents.compute import native
from rlgns.agents.compute.convolutions import Frames, NativeConvolutions
from rlgns.agents.compute.forward_backward import outer_products
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from tests.reference.convolutions import slow_convolutions, to_bfloat16

needs_kernels = pytest.mark.skipif(
    native.library() is None, reason="no kernels: they need AVX-512 with bfloat16 and a C compiler at install time"
)


@pytest.fixture(params=[True, False], ids=["AMX", "AVX-512"])
def registers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a test with the matrix registers, where the processor has them, and without."""
    if native.call("use_amx", int(request.param)) != request.param:
        native.call("use_amx", 1)
        pytest.skip("needs a processor with AMX")
    yield
    native.call("use_amx", 1)


SHAPES = {
    "nature": ((32, 64, 64), (8, 4, 3), (4, 2, 1), 4, 84),
    "quick": ((16, 32, 32), (6, 4, 3), (3, 2, 1), 4, 64),
    "pixels left over": ((16, 48, 32), (4, 3, 2), (3, 2, 1), 2, 37),
    "pixels between kernels": ((32, 16), (3, 2), (2, 3), 6, 33),
    "one layer": ((48,), (5,), (4,), 4, 29),
    "one output": ((16, 32), (4, 8), (2, 1), 2, 18),
    "sides without divisors": ((16, 32), (4, 3), (2, 1), 4, 40),
}


def make_network(shape: str) -> ActorCritic:
    channels, kernels, strides, stack, size = SHAPES[shape]
    torch.manual_seed(0)
    config = NetworkConfig(channels=channels, kernels=kernels, strides=strides, hidden=32)
    network = build_network(config, num_actions=5, frame_stack=stack, image_size=size)
    for layer in network.body:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.bias, std=0.1)
    return network


def make_frames(stack: int, size: int, *, steps: int = 5, envs: int = 3) -> tuple[Tensor, Tensor, np.ndarray]:
    """Frames, how many are missing in each observation, and the observations by look-up."""
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (steps + stack - 1, envs, size, size), dtype=np.uint8)
    missing = rng.integers(0, stack, steps * envs) * (rng.random(steps * envs) < 0.5)
    observations = np.zeros((steps * envs, stack, size, size))
    for step in range(steps):
        for env in range(envs):
            number = step * envs + env
            for k in range(missing[number], stack):
                observations[number, k] = frames[step + k, env]
    return torch.from_numpy(frames), torch.from_numpy(missing), observations


def layers_of(network: ActorCritic) -> list[nn.Conv2d]:
    return [layer for layer in network.body if isinstance(layer, nn.Conv2d)]


def parameters_of(network: ActorCritic) -> list[Tensor]:
    return [parameter for layer in layers_of(network) for parameter in (layer.weight, layer.bias)]


def distance(got: Tensor, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got.double().numpy() - expected) / np.linalg.norm(expected))


@needs_kernels
@pytest.mark.usefixtures("registers")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 13])
def test_outputs_and_gradients_are_those_of_the_slow_twin(shape: str, count: int) -> None:
    network = make_network(shape)
    frames, missing, observations = make_frames(network.frame_stack, network.image_size)
    where = torch.from_numpy(np.random.default_rng(2).permutation(len(observations))[:count])
    direction = np.random.default_rng(3)

    slow = [
        ((layer.weight.detach() / (1 if number else 255)).double().numpy(), layer.bias.detach().double().numpy(),
         layer.stride[0])
        for number, layer in enumerate(layers_of(network))
    ]  # fmt: skip
    seen: list[np.ndarray] = []

    def gradient(outputs: np.ndarray) -> np.ndarray:
        seen.append(to_bfloat16(direction.normal(size=outputs.shape)))
        return seen[0]

    expected, expected_gradients = slow_convolutions(observations[where.numpy()], slow, gradient)

    convolutions = NativeConvolutions(network)
    source = Frames(frames, missing, 3)
    features, outputs = convolutions.forward(source, where)
    assert distance(features, expected.reshape(count, -1)) < 1e-3
    rows = [torch.full_like(parameter, 7.0) for parameter in parameters_of(network)]
    by_features = torch.from_numpy(seen[0]).to(torch.bfloat16).view(count, -1)
    convolutions.backward(source, where, outputs, by_features, slice(0, count), rows)
    expected_gradients[0] = expected_gradients[0] / 255
    for got, one in zip(rows, expected_gradients, strict=True):
        assert distance(got, one) < 3e-3


@needs_kernels
def test_the_twin_sees_a_wrong_weight() -> None:
    """The comparison has power: it sees one weight of thousands that is off by 0.1."""
    network = make_network("quick")
    frames, missing, _ = make_frames(network.frame_stack, network.image_size)
    where, source = torch.arange(4), Frames(frames, missing, 3)
    convolutions = NativeConvolutions(network)
    before, _ = convolutions.forward(source, where)
    with torch.no_grad():
        layers_of(network)[1].weight[3, 2, 1, 0] += 0.1
    stale, _ = convolutions.forward(source, where)
    assert torch.equal(before, stale)  # packed weights are those of the last refresh
    convolutions.refresh()
    after, _ = convolutions.forward(source, where)
    assert distance(after, before.double().numpy()) > 3e-3


@needs_kernels
def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    network = make_network("quick")
    frames, missing, observations = make_frames(network.frame_stack, network.image_size)
    convolutions, source = NativeConvolutions(network), Frames(frames, missing, 3)
    where = torch.arange(len(observations))
    features, outputs = convolutions.forward(source, where)
    torch.manual_seed(1)
    gradient = torch.randn_like(features)

    def of(part: slice) -> list[Tensor]:
        rows = [torch.empty_like(parameter) for parameter in parameters_of(network)]
        convolutions.backward(source, where, outputs, gradient, part, rows)
        return rows

    parts = [of(slice(0, 3)), of(slice(3, 12)), of(slice(12, 15))]
    for whole, *some in zip(of(slice(0, 15)), *parts, strict=True):
        torch.testing.assert_close(sum(some), whole, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_whole_observations_can_be_given_as_frames() -> None:
    network = make_network("pixels left over")
    frames, missing, observations = make_frames(network.frame_stack, network.image_size)
    convolutions = NativeConvolutions(network)
    expected, _ = convolutions.forward(Frames(frames, missing, 3), torch.arange(len(observations)))
    whole = torch.from_numpy(observations.astype(np.uint8))
    got, _ = convolutions.forward(*Frames.of_observations(whole))
    assert torch.equal(got, expected)


@needs_kernels
@pytest.mark.usefixtures("registers")
@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 8, 32), (2, 5, 16), (7, 13, 48), (17, 48, 80), (68, 16, 32), (128, 512, 3136)]
)
def test_outer_products_are_a_matrix_product(count: int, rows: int, columns: int) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(count, rows).to(torch.bfloat16), torch.randn(count, columns).to(torch.bfloat16)
    result = torch.full((rows, columns), float("nan"))
    outer_products(left, right, result)
    assert distance(result, (left.double().T @ right.double()).numpy()) < 1e-6


@needs_kernels
def test_networks_of_other_widths_are_left_to_torch() -> None:
    assert NativeConvolutions.fit(make_network("nature"))
    for channels, stack in (((16, 24), 4), ((16, 32), 3)):
        config = NetworkConfig(channels=channels, kernels=(4, 3), strides=(2, 1), hidden=8)
        assert not NativeConvolutions.fit(build_network(config, num_actions=3, frame_stack=stack, image_size=20))
    config = NetworkConfig(channels=(16,) * 9, kernels=(2,) * 9, strides=(1,) * 9, hidden=8)
    assert not NativeConvolutions.fit(build_network(config, num_actions=3, frame_stack=4, image_size=20))


@pytest.mark.skipif(
    not native.suits_processor() or shutil.which("gcc") is None,
    reason="needs AVX-512 with bfloat16 and a C compiler",
)
def test_the_kernels_were_built_where_they_can_be() -> None:
    assert native.library() is not None, "install again: pip install -e ."


def test_without_kernels_no_network_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    assert not NativeConvolutions.fit(make_network("nature"))


@needs_kernels
def test_kernels_older_than_their_sources_are_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = next(native._HERE.glob("_kernels.*"))
    copied = shutil.copy(built, tmp_path)
    source = tmp_path / "kernels" / "tile.h"
    source.parent.mkdir()
    source.touch()
    monkeypatch.setattr(native, "_HERE", tmp_path)
    try:
        for seconds, there in ((10.0, True), (-10.0, False)):
            os.utime(copied, (source.stat().st_mtime + seconds,) * 2)
            native.library.cache_clear()
            assert (native.library() is not None) == there
    finally:
        native.library.cache_clear()


def test_a_library_built_for_another_system_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(path: str) -> ctypes.CDLL:
        raise OSError(f"{path}: wrong ELF class")

    monkeypatch.setattr(ctypes, "CDLL", cannot)
    native.library.cache_clear()
    try:
        assert native.library() is None
    finally:
        native.library.cache_clear()
