"""Frames that stay on the device that plays: the stacks that the policy sees, and the frames that the learner gets."""

import functools

import numpy as np
import pytest
import torch

from rlgns.agents.frame_ring import FrameRing
from rlgns.agents.update import Updater
from tests.agents.synthetic import random_rollouts, small_network
from tests.agents.training import GROUPS, PPO, SEED, flat, rollouts_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("steps", [1, 2, 3, 8])  # also fewer than a stack has frames
@pytest.mark.parametrize("stack", [1, 2, 4])
def test_stacks_are_those_of_a_naive_look_up(steps: int, stack: int) -> None:
    rollouts, seen = random_rollouts(0, steps=steps, envs=3, rollouts=6, stack=stack)
    ring, blank = FrameRing(steps, seen[0][0], CPU), np.zeros((3, 7, 7), np.uint8)
    assert {age for rollout in rollouts for age in rollout.ages.ravel()} == set(range(1, stack + 1))
    for number, (rollout, stacks) in enumerate(zip(rollouts, seen, strict=True)):
        ring.begin()
        for t in range(steps):
            # The first was copied at the last rollout's end: it is not looked at again.
            newest = blank if number and t == 0 else rollout.frames[t + stack - 1]
            np.testing.assert_array_equal(ring.stacks(t, newest, rollout.ages[t]).numpy(), stacks[t])
        frames = ring.hold()
        np.testing.assert_array_equal(numbers(frames()), rollout.frames)
        if number < 5:
            after = rollouts[number + 1]
            found = ring.stacks(steps, after.frames[stack - 1], after.ages[0])
            np.testing.assert_array_equal(found.numpy(), seen[number + 1][0])
        np.testing.assert_array_equal(numbers(frames()), rollout.frames)
    ring.begin()
    assert frames() is None  # whoever learns from an older rollout takes the processor's frames


def numbers(frames: torch.Tensor | None) -> np.ndarray:
    assert frames is not None
    return frames.numpy()


@pytest.mark.parametrize("both", [True, False])
def test_the_learner_takes_the_frames_that_are_there(both: bool) -> None:
    """The processor's copy is blank, so that training shows which is read: the ring's, if all rollouts have one."""
    trained = []
    for there in (False, True):
        network, (rollouts, _) = small_network(), rollouts_of(0)
        for rollout in rollouts if there and both else rollouts[: int(there)]:
            rollout.frames_there = functools.partial(torch.from_numpy, rollout.frames)
            rollout.frames = np.zeros_like(rollout.frames)
        updater = Updater(network, PPO, groups=GROUPS, precision="float32", on_products=lambda *_: None)
        updater.update(rollouts, learning_rate=1e-3, seed=SEED)
        trained.append(flat(network))
    assert torch.equal(*trained) == both
