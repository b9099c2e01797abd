"""What the agent computes differently on a GPU, run on the CPU: the same values, bit for bit.

On a GPU nothing asks for a tensor's value, since that waits for the device. The arithmetic that avoids the question is
plain torch, so its values are held here.
"""

import functools
from contextlib import closing

import numpy as np
import pytest
import torch

from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.flat_gradients import clip_
from rlgns.agents.compute.precision import autocast
from rlgns.agents.compute.team import Team
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import build_network
from rlgns.agents.rollout import FrameStacks, Rollout, blank_oldest_
from rlgns.envs.config import EnvConfig
from rlgns.envs.vector import AtariEnvs
from tests.agents.synthetic import random_rollouts
from tests.reference.agents import slow_stacks

CPU = torch.device("cpu")
STACK, SIZE, STEPS, ENVS = 4, 32, 12, 3


def young_and_old(frames: np.ndarray, begins: np.ndarray) -> tuple[Rollout, np.ndarray]:
    """A rollout of frames [time, env, H, W] with games that begin at `begins`, and its stacks by the slow look-up."""
    blanks = np.zeros((STACK - 1, *begins.shape[1:], *frames.shape[2:]), np.uint8)
    steps, envs = begins.shape
    ages = np.zeros(begins.shape, np.uint8)
    for t in range(steps):
        ages[t] = np.where(begins[t], 1, np.minimum(ages[t - 1] + 1, STACK))
    zeros = np.zeros(begins.shape, np.float32)
    rollout = Rollout(
        frames=np.concatenate([blanks, frames]),
        ages=ages,
        actions=zeros.astype(np.int64),
        log_probs=zeros,
        values=np.zeros((steps + 1, envs), np.float32),
        final_values=zeros,
        rewards=zeros,
        terminal=zeros.astype(np.bool_),
        truncated=zeros.astype(np.bool_),
    )
    return rollout, slow_stacks(frames, begins, STACK)


def every_age() -> np.ndarray:
    """Begins of games [time, env], so that each age from 1 to 4 occurs, and some of them side by side."""
    begins = np.zeros((STEPS, ENVS), np.bool_)
    begins[0] = True
    begins[5, 1] = begins[6, 2] = begins[8, 1] = True
    return begins


def noise_frames() -> np.ndarray:
    """Every byte, and those whose words are special numbers: -0, infinity, NaN, denormal."""
    frames = np.random.default_rng(0).integers(0, 256, (STEPS, ENVS, SIZE, SIZE), dtype=np.uint8)
    for t, value in enumerate((0, 1, 127, 128, 240, 255)):
        frames[t] = np.where(frames[t] < 128, frames[t], value)
    frames[6] = np.tile(np.frombuffer(b"\0\0\0\0\0\0\xf0\x7f", np.uint8), SIZE * SIZE // 8).reshape(SIZE, SIZE)
    frames[7] = 255
    return frames


def plain(stacks: torch.Tensor, block: int) -> np.ndarray:
    """Undoes blocks: [batch, stack, H, W]."""
    count, _, tall, wide = stacks.shape
    split = stacks.reshape(count, STACK, block, block, tall, wide).permute(0, 1, 4, 2, 5, 3)
    return split.reshape(count, STACK, tall * block, wide * block).numpy()


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("waits", [True, False])
def test_stacks_of_every_age_are_those_of_the_slow_look_up(block: int, waits: bool) -> None:
    rollout, expected = young_and_old(noise_frames(), every_age())
    assert set(rollout.ages.ravel()) == {1, 2, 3, 4}
    stacks = FrameStacks.of([rollout], CPU, block, waits=waits)
    indices = np.random.default_rng(1).permutation(STEPS * ENVS)
    found = plain(stacks.gather(torch.from_numpy(indices)), block)
    np.testing.assert_array_equal(found, expected.reshape(-1, STACK, SIZE, SIZE)[indices])


@functools.cache
def two_games(game: str) -> np.ndarray:
    """What environments show in two games, one after the other: [2 * STEPS, 2, stack, H, W]."""
    seen = []
    for seed in range(2):
        envs = AtariEnvs(game, EnvConfig(stagger_steps=0), num_envs=2, seed=seed, threads=1)
        observations = envs.reset()
        for t in range(STEPS):
            seen.append(observations.copy())
            observations = envs.step(np.array([t % envs.num_actions] * 2)).observations
        envs.close()
    return np.stack(seen)


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_stacks_of_real_frames_are_those_that_the_environments_show(game: str, block: int, waits: bool) -> None:
    seen = two_games(game)
    begins = np.zeros((2 * STEPS, 2), np.bool_)
    begins[[0, STEPS]] = True
    rollout, expected = young_and_old(seen[:, :, -1], begins)
    assert (rollout.frames[STEPS : STEPS + STACK] >= 128).any()  # frames of the earlier game that must not show
    np.testing.assert_array_equal(expected, seen)
    found = plain(FrameStacks.of([rollout], CPU, block, waits=waits).gather(torch.arange(4 * STEPS)), block)
    np.testing.assert_array_equal(found, seen.reshape(-1, *seen.shape[2:]))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [(8, 16), (3,)])
def test_inference_and_learning_see_the_same_observations(precision: str, channels: tuple[int, ...]) -> None:
    """Bit for bit by the module: a network in blocks gets the frames that it got while playing, in another order."""
    torch.manual_seed(0)
    kernels, strides = (8, 4)[: len(channels)], (4, 2)[: len(channels)]
    shape = NetworkConfig(channels=channels, kernels=kernels, strides=strides, hidden=32)
    network = build_network(shape, num_actions=5, frame_stack=STACK, image_size=SIZE)
    rollout, seen = young_and_old(noise_frames(), every_age())
    copy, where = ComputeCopy(network, precision), torch.arange(STEPS * ENVS)
    outputs = [
        copy.evaluate(FrameStacks.of([rollout], CPU, copy.block, waits=waits), where).logits for waits in (True, False)
    ]
    assert torch.equal(*outputs)
    with torch.no_grad(), autocast(CPU, precision):
        played, _ = network(torch.from_numpy(seen.reshape(-1, STACK, SIZE, SIZE)))
    torch.testing.assert_close(outputs[1], played, rtol=0, atol={"float32": 1e-6, "bfloat16": 2e-3}[precision])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.complex128])
def test_blanking_without_waiting_touches_no_other_byte(dtype: torch.dtype) -> None:
    words = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (5, STACK, 64), dtype=np.uint8)).view(dtype)
    missing = torch.tensor([0, 3, 1, 2, 0])
    found = blank_oldest_(words.clone(), missing, waits=False).view(torch.uint8)
    for row, count in enumerate(missing.tolist()):
        assert not found[row, :count].any()
        assert torch.equal(found[row, count:], words.view(torch.uint8)[row, count:])


def test_the_old_product_with_a_mask_fails_this() -> None:
    """The biased twin: false times a negative number is -0, whose last byte is 128."""
    words = torch.full((1, 16), 200, dtype=torch.uint8).view(torch.complex128)
    assert words.mul(torch.tensor([[False]])).view(torch.uint8).max() == 128


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_without_waiting_is_clipping(max_norm: float) -> None:
    gradient = torch.from_numpy(np.random.default_rng(3).normal(size=1000)).float()
    asked, unasked = gradient.clone(), gradient.clone()
    with closing(Team(1)) as team:
        norms = clip_(asked, max_norm, team, waits=True), clip_(unasked, max_norm, team, waits=False)
    assert torch.equal(*norms)
    assert torch.equal(asked, unasked)
    assert torch.equal(asked, gradient) == (max_norm > norms[0])


def test_rollouts_of_several_runners_have_the_same_stacks_either_way() -> None:
    rollouts = [random_rollouts(seed, steps=5, envs=2, stack=STACK, size=16)[0][0] for seed in range(3)]
    where = torch.arange(5 * 6)
    for block in (1, 2, 4):
        one, other = (FrameStacks.of(rollouts, CPU, block, waits=waits).gather(where) for waits in (True, False))
        assert torch.equal(one, other)
