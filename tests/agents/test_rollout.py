"""Stacks rebuilt from the newest frames, against a look-up frame by frame."""

import mmap
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.agents.buffers import Buffers
from rlgns.agents.rollout import FrameStacks, as_tensors
from rlgns.agents.upload import Upload
from tests.agents.synthetic import random_rollouts

CPU = torch.device("cpu")


@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 7),
    envs=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    rollouts=st.integers(1, 4),
    stack=st.integers(1, 5),
    end_probability=st.sampled_from([0.0, 0.1, 0.5]),
)
@settings(max_examples=40, deadline=None)
def test_stacks_are_those_of_a_naive_look_up(
    seed: int, steps: int, envs: list[int], rollouts: int, stack: int, end_probability: float
) -> None:
    """Across ends of games, across consecutive rollouts, and with several rollouts side by side."""
    played = [
        random_rollouts(
            seed + i, steps=steps, envs=n, rollouts=rollouts, stack=stack, size=2, end_probability=end_probability
        )
        for i, n in enumerate(envs)
    ]
    for k in range(rollouts):
        stacks = FrameStacks.of([recorded[k] for recorded, _ in played], CPU)
        expected = np.concatenate([seen[k] for _, seen in played], axis=1)
        assert (stacks.num_steps, stacks.num_envs) == expected.shape[:2]
        expected = expected.reshape(-1, *expected.shape[2:])
        indices = np.random.default_rng(seed).permutation(len(expected))
        indices = np.concatenate([indices, indices[:2]])  # an index may come twice
        np.testing.assert_array_equal(stacks.gather(torch.from_numpy(indices)).numpy(), expected[indices])


@given(
    seed=st.integers(0, 2**32 - 1),
    envs=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    stack=st.integers(1, 4),
    block=st.sampled_from([2, 4]),
)
@settings(max_examples=20, deadline=None)
def test_stacks_in_blocks_are_the_same_pixels_in_another_order(
    seed: int, envs: list[int], stack: int, block: int
) -> None:
    size, steps = 2 * block, 3
    rollouts = [
        random_rollouts(seed + i, steps=steps, envs=n, stack=stack, size=size, end_probability=0.3)[0][0]
        for i, n in enumerate(envs)
    ]
    indices = torch.from_numpy(np.random.default_rng(seed).permutation(steps * sum(envs)))
    plain = FrameStacks.of(rollouts, CPU).gather(indices)
    blocked = FrameStacks.of(rollouts, CPU, block).gather(indices)
    assert blocked.shape == (len(indices), stack * block**2, 2, 2)
    assert blocked.is_contiguous(memory_format=torch.channels_last)
    for row in range(size):
        for column in range(size):
            for frame in range(stack):
                channel = (frame * block + row % block) * block + column % block
                found = blocked[:, channel, row // block, column // block]
                assert torch.equal(found, plain[:, frame, row, column])


@pytest.mark.parametrize("block", [1, 2])
def test_buffers_hold_one_iteration_after_another(block: int) -> None:
    upload, buffers, places, where = Upload(CPU), Buffers(), [], torch.arange(12)
    for seed in range(3):
        rollouts, _ = random_rollouts(seed, steps=3, envs=2, rollouts=2, stack=4, size=8)
        frames, ages = upload([as_tensors([getattr(r, name) for r in rollouts]) for name in ("frames", "ages")])
        stacks = FrameStacks(frames, ages, block, buffers)
        assert torch.equal(stacks.gather(where), FrameStacks.of(rollouts, CPU, block).gather(where))
        places.append((stacks.frames.data_ptr(), stacks.missing.data_ptr()))
    assert len(set(places)) == 1


def test_storage_is_the_newest_frame_of_each_observation() -> None:
    (rollout,), (seen,) = random_rollouts(0, steps=6, envs=3, stack=4, end_probability=0)
    assert rollout.frames.shape == (6 + 3, 3, 7, 7)
    assert (rollout.num_steps, rollout.num_envs, rollout.frame_stack) == (6, 3, 4)
    np.testing.assert_array_equal(rollout.frames[3:], seen[:, :, -1])


def test_a_rollout_is_left_alone_by_the_next_one() -> None:
    """The last rollout may still be on its way to a learner while the next is recorded."""
    first, second = random_rollouts(1, steps=4, envs=2, rollouts=2, stack=4)[0]
    for name in set(first.__slots__) - {"frames_there"}:
        assert not np.shares_memory(getattr(first, name), getattr(second, name)), name


def test_frames_have_their_own_pages_which_are_freed_with_them() -> None:
    (rollout,), _ = random_rollouts(0, steps=4, envs=2, stack=4)
    pages: object = rollout.frames
    while isinstance(pages, np.ndarray | memoryview):
        pages = pages.base if isinstance(pages, np.ndarray) else pages.obj
    assert isinstance(pages, mmap.mmap)
    again = pickle.loads(pickle.dumps(rollout))  # sent by a runner, it becomes an ordinary array
    np.testing.assert_array_equal(again.frames, rollout.frames)


def test_final_values_are_those_of_time_limits_and_else_zero() -> None:
    rollouts, _ = random_rollouts(2, steps=50, envs=2)
    truncated = rollouts[0].truncated
    assert truncated.any() and not truncated.all()
    assert (rollouts[0].final_values[truncated] != 0).all()
    assert (rollouts[0].final_values[~truncated] == 0).all()


def test_the_value_after_a_rollout_is_the_first_of_the_next() -> None:
    rollouts, _ = random_rollouts(3, steps=5, envs=3, rollouts=2)
    np.testing.assert_array_equal(rollouts[0].values[-1], rollouts[1].values[0])


def test_read_only_arrays_are_read_without_a_warning() -> None:
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = as_tensors([array])
    np.testing.assert_array_equal(found.numpy(), array)
