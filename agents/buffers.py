"""Memory that is used again instead of being freed."""

from __future__ import annotations

import threading
from typing import final

import torch
from torch import Tensor

CPU = torch.device("cpu")


@final
class Buffers(threading.local):
    """Hands out each thread's own tensors by name.

    Large blocks that are allocated and freed again leave gaps in memory, which add up over hours.
    """

    def __init__(self) -> None:
        """Holds nothing yet."""
        self._tensors: dict[str, Tensor] = {}

    def __call__(
        self, name: str, *shape: int, dtype: torch.dtype = torch.float32, device: torch.device = CPU
    ) -> Tensor:
        """Returns a contiguous, uninitialised tensor. This thread's next call with the same name reuses its memory."""
        size = torch.Size(shape).numel()
        tensor = self._tensors.pop(name, None)
        if tensor is None or tensor.numel() < size or tensor.dtype != dtype or tensor.device != device:
            tensor = None  # frees the old memory before the new is allocated
            tensor = torch.empty(size, dtype=dtype, device=device)
        self._tensors[name] = tensor
        return tensor[:size].view(shape)
