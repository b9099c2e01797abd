"""Storage of a rollout: the newest frame of every observation once; stacks are rebuilt where they are used."""

from __future__ import annotations

import math
import mmap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlgns.agents.buffers import Buffers
from rlgns.agents.upload import Upload

WORDS = {4: torch.int32, 16: torch.complex128}
"""Types by size in bytes. Copying whole blocks of pixels as one number each is ten times as fast as copying bytes."""

ROWS_OF_BLOCKS = {2: torch.int16, 4: torch.int32}
"""Types by size in bytes, for one row of a block."""


@dataclass(slots=True, eq=False)
class Rollout:
    """What one set of environments saw and did: T steps of N environments, arrays [time, env].

    Observation t of environment n is the stack `frames[t : t + stack, n]` with all but its newest `ages[t, n]` frames
    set to zero (a game's first stacks are padded with zeros). Storing newest frames takes a quarter of the bytes.
    """

    frames: npt.NDArray[np.uint8]
    """[T + stack - 1, N, height, width]: the first stack - 1 are from before the rollout."""
    ages: npt.NDArray[np.uint8]
    """[T, N] frames in the stack that belong to the current game, 1 to stack."""
    actions: npt.NDArray[np.int64]
    """[T, N]."""
    log_probs: npt.NDArray[np.float32]
    """[T, N] log-probability of the action when it was taken."""
    values: npt.NDArray[np.float32]
    """[T + 1, N] value of every observation, and of the one after the rollout."""
    final_values: npt.NDArray[np.float32]
    """[T, N] value of a game's last observation where the time limit cut the game off, else 0."""
    rewards: npt.NDArray[np.float32]
    """[T, N] raw game points."""
    terminal: npt.NDArray[np.bool_]
    """[T, N] the return ends here: game over, or a life lost under a protocol that says so."""
    truncated: npt.NDArray[np.bool_]
    """[T, N] the time limit cut the game off here."""
    frames_there: Callable[[], Tensor | None] | None = None
    """Returns `frames` on the learner's accelerator, where its process played, and None once it plays again."""

    @property
    def num_steps(self) -> int:
        """T."""
        return self.actions.shape[0]

    @property
    def num_envs(self) -> int:
        """N."""
        return self.actions.shape[1]

    @property
    def frame_stack(self) -> int:
        """Frames per observation."""
        return self.frames.shape[0] - self.num_steps + 1


class RolloutRecorder:
    """Fills rollouts step by step and carries the newest frames from one rollout to the next."""

    def __init__(
        self, num_steps: int, first_observations: npt.NDArray[np.uint8], first_ages: npt.NDArray[np.uint8]
    ) -> None:
        """Starts from the stacks uint8 [N, stack, H, W] before the first step and their ages uint8 [N]."""
        self._num_steps = num_steps
        self._stack = first_observations.shape[1]
        self._tail = np.ascontiguousarray(first_observations[:, :-1].swapaxes(0, 1))
        self._age = first_ages.astype(np.uint8)
        self.begin()

    def begin(self) -> None:
        """Allocates the next rollout: a new one each time, since the last may still be on its way to a learner."""
        steps, stack = self._num_steps, self._stack
        envs, height, width = self._tail.shape[1:]
        shape = (steps, envs)
        self._rollout = Rollout(
            frames=_own_pages(steps + stack - 1, envs, height, width),
            ages=np.empty(shape, np.uint8),
            actions=np.empty(shape, np.int64),
            log_probs=np.empty(shape, np.float32),
            values=np.empty((steps + 1, envs), np.float32),
            final_values=np.zeros(shape, np.float32),
            rewards=np.empty(shape, np.float32),
            terminal=np.empty(shape, np.bool_),
            truncated=np.empty(shape, np.bool_),
        )
        self._rollout.frames[: stack - 1] = self._tail
        self._step = 0

    @property
    def ages(self) -> npt.NDArray[np.uint8]:
        """Frames of the current game in each stack of the observation that comes next, [N]."""
        return self._age

    def observe(self, newest_frames: npt.NDArray[np.uint8]) -> None:
        """Stores the newest frame [N, H, W] of the observation that is about to be acted on."""
        self._rollout.frames[self._step + self._stack - 1] = newest_frames
        self._rollout.ages[self._step] = self._age

    def act(
        self,
        *,
        actions: npt.NDArray[np.int64],
        values: npt.NDArray[np.float32],
        rewards: npt.NDArray[np.float32],
        terminal: npt.NDArray[np.bool_],
        truncated: npt.NDArray[np.bool_],
        restarted: npt.NDArray[np.bool_],
        final_values: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Stores this step's actions and their results, all [N]; `restarted`: the next observation starts a game."""
        rollout, t = self._rollout, self._step
        rollout.actions[t], rollout.values[t] = actions, values
        rollout.rewards[t], rollout.terminal[t], rollout.truncated[t] = rewards, terminal, truncated
        if final_values is not None:
            rollout.final_values[t] = final_values
        self._age = np.where(restarted, 1, np.minimum(self._age + 1, self._stack)).astype(np.uint8)
        self._step += 1

    def finish(self, next_values: npt.NDArray[np.float32], log_probs: npt.NDArray[np.float32]) -> Rollout:
        """Returns the full rollout and begins the next.

        Args:
            next_values: Values of the observations after it, [N].
            log_probs: Log-probability of every action when it was taken, [T, N].
        """
        assert self._step == self._num_steps, f"{self._step} of {self._num_steps} steps were recorded"
        rollout = self._rollout
        rollout.log_probs[:] = log_probs
        rollout.values[-1] = next_values
        self._tail = rollout.frames[self._num_steps :].copy()
        self.begin()
        return rollout


class FrameStacks:
    """The frames of one iteration's rollouts on the learner's device, with stacks rebuilt on demand."""

    def __init__(
        self,
        frames: Tensor,
        ages: Tensor,
        block: int = 1,
        buffers: Buffers | None = None,
        *,
        waits: bool | None = None,
    ) -> None:
        """Takes what `Rollout` has, all environments side by side, on the device where the stacks are built.

        Args:
            frames: uint8 [T + stack - 1, N, height, width].
            ages: uint8 [T, N].
            block: Side of the blocks of pixels that `gather` returns, a divisor of height and width.
            buffers: Memory for what is derived, overwritten at its next use. None: new memory.
            waits: As for `blank_oldest_`; None: on a CPU alone, where it costs nothing.
        """
        buffers = buffers or Buffers()
        self._waits = frames.device.type == "cpu" if waits is None else waits
        self.num_steps, self.num_envs = ages.shape
        self.stack, self._block = len(frames) - self.num_steps + 1, block
        self._height, self._width = frames.shape[2:]
        self.frames = _in_blocks(frames, block, buffers) if block > 1 else frames
        missing = buffers("missing", *ages.shape, dtype=torch.int64, device=frames.device)
        self.missing = missing.copy_(ages).neg_().add_(self.stack).view(-1)
        """int64 [T * N]: how many of each stack's oldest frames are from an earlier game, and count as zero."""

    @staticmethod
    def of(
        rollouts: Sequence[Rollout], device: torch.device, block: int = 1, *, waits: bool | None = None
    ) -> FrameStacks:
        """Returns those of rollouts of equal length. A single rollout on the CPU is not copied."""
        arrays = [[rollout.frames for rollout in rollouts], [rollout.ages for rollout in rollouts]]
        frames, ages = Upload(device)([as_tensors(parts) for parts in arrays])
        return FrameStacks(frames, ages, block, waits=waits)

    def gather(self, indices: Tensor) -> Tensor:
        """Rebuilds observations.

        Args:
            indices: int64 [batch], `step * num_envs + env`.

        Returns:
            uint8 [batch, stack, height, width]; in blocks of b x b pixels [batch, stack * b^2, height / b, width / b],
            channels last in memory, channel (frame * b + row in the block) * b + column in the block.
        """
        count, block, missing = len(indices), self._block, self.missing[indices]
        pixels = self._height * self._width
        frames = self.frames.reshape(-1, pixels)
        if block > 1:
            frames = frames.view(WORDS[block**2])  # one number per block
            stacks = frames.new_empty(count, frames.shape[1], self.stack).transpose(1, 2)
        else:
            stacks = frames.new_empty(count, self.stack, pixels)
        # One frame of every stack at a time: what is gathered stays in the cache until it is copied to its place.
        for number in range(self.stack):
            stacks[:, number] = frames.index_select(0, indices + number * self.num_envs)
        blank_oldest_(stacks, missing, waits=self._waits)
        if block == 1:
            return stacks.view(count, self.stack, self._height, self._width)
        tall, wide = self._height // block, self._width // block
        merged = stacks.transpose(1, 2).view(torch.uint8)
        return merged.view(count, tall, wide, self.stack * block**2).permute(0, 3, 1, 2)


def blank_oldest_(stacks: Tensor, missing: Tensor, *, waits: bool) -> Tensor:
    """Sets the oldest frames of stacks [batch, stack, words] to zero, as many of each as `missing` [batch] says.

    Args:
        stacks: Words of any type; their other bytes stay as they are. (A product with a mask would not do: a byte of
            128 or more can make a word negative, and zero times a negative number is -0, which is not all zeros.)
        missing: int64, less than `stack`.
        waits: Whether the host may ask for values, which waits for an accelerator. It then skips ages that do not
            occur. The result is the same.

    Returns:
        The stacks.
    """
    for depth in range(1, stacks.shape[1]):
        rows_short = missing >= depth
        if not waits:
            stacks[:, depth - 1].masked_fill_(rows_short[:, None], 0)
        elif rows_short.any():
            stacks[rows_short, depth - 1] = 0
        else:
            break
    return stacks


def _own_pages(*shape: int) -> npt.NDArray[np.uint8]:
    """Allocates an array in separate pages. Freeing it returns them to the system, so memory does not fragment."""
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return np.frombuffer(mmap.mmap(-1, math.prod(shape), **private), np.uint8).reshape(shape)


def _in_blocks(frames: Tensor, block: int, buffers: Buffers) -> Tensor:
    """Reorders frames uint8 [time, env, height, width] so that the pixels of each block are adjacent."""
    time, envs, height, width = frames.shape
    rows = frames.view(ROWS_OF_BLOCKS[block]).view(time, envs, height // block, block, width // block)
    blocks = rows.transpose(3, 4)
    ordered = buffers("blocks", *blocks.shape, dtype=blocks.dtype, device=frames.device).copy_(blocks)
    return ordered.view(torch.uint8).view(frames.shape)


def as_tensors(arrays: Sequence[npt.NDArray[np.generic]]) -> list[Tensor]:
    """Returns arrays as tensors that share their memory and must not be written to."""
    with warnings.catch_warnings():  # arrays from Ray's object store are read-only
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return [torch.from_numpy(array) for array in arrays]
