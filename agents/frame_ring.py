"""The newest frames of one set of environments on the device that plays, copied there once for playing and learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlgns.agents.rollout import blank_oldest_


@final
class FrameRing:
    """Holds a rollout's frames on a device, and rebuilds the stacks that the policy sees there.

    A step sends one block from pinned memory: its newest frames and ages, a quarter of the stacks' bytes. The learner
    then gathers from the same frames (`Rollout.frames_there`), so the rollout's need not be copied again.
    """

    def __init__(self, num_steps: int, first_observations: npt.NDArray[np.uint8], device: torch.device) -> None:
        """Starts from the stacks uint8 [N, stack, H, W] before the first step of a rollout of `num_steps`."""
        envs, self._stack, height, width = first_observations.shape
        self._steps, self._envs, self._pixels = num_steps, envs, height * width
        # one frame more than a rollout has: that of the observation after it
        self._frames = torch.zeros(num_steps + self._stack, envs, height, width, dtype=torch.uint8, device=device)
        older = np.ascontiguousarray(first_observations[:, :-1].swapaxes(0, 1))
        self._frames[: self._stack - 1] = torch.from_numpy(older).to(device)
        size = envs * (self._pixels + 1)
        self._host = torch.empty(size, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        self._there = torch.empty(size, dtype=torch.uint8, device=device)
        self._full, self._begun = False, 0

    def begin(self) -> None:
        """Begins the next rollout with the frames that the last one ended with, which it overwrites."""
        self._begun += 1
        if self._full:
            self._frames[: self._stack] = self._frames[self._steps :].clone()

    def stacks(self, step: int, newest: npt.NDArray[np.uint8], ages: npt.NDArray[np.uint8]) -> Tensor:
        """Returns the observations of a step on the device, uint8 [N, stack, H, W].

        The caller asks for a value that depends on them before the next call, whose frames take the same pinned memory.

        Args:
            step: Of the rollout, in order; `num_steps` for the observations after it. Those are the first of the next
                rollout too, and are not copied again.
            newest: Their newest frames [N, H, W].
            ages: Frames in each stack that belong to the current game [N].
        """
        envs, pixels = self._envs, self._envs * self._pixels
        if step or not self._full:
            self._host[:pixels] = torch.from_numpy(newest).reshape(-1)
            self._host[pixels:] = torch.from_numpy(ages)
            self._there.copy_(self._host, non_blocking=True)
            self._frames[step + self._stack - 1].view(-1).copy_(self._there[:pixels])
        self._full = step == self._steps or (self._full and step == 0)
        seen = self._frames[step : step + self._stack].transpose(0, 1).contiguous()
        missing = self._stack - self._there[pixels:].to(torch.int64)
        blank_oldest_(seen.view(envs, self._stack, self._pixels), missing, waits=False)
        return seen

    def hold(self) -> Callable[[], Tensor | None]:
        """Returns what gives this rollout's frames, as `Rollout.frames` has them, and None once the next one begins."""
        number = self._begun
        return lambda: self._frames[: self._steps + self._stack - 1] if self._begun == number else None
