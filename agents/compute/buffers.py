"""Memory that is kept from one use to the next."""

from __future__ import annotations

import threading
from typing import final

import torch
from torch import Tensor

CPU = torch.device("cpu")


@final
class Buffers(threading.local):
    """Each thread's own memory by name: large blocks that come and go would leave gaps, which add up over hours."""

    def __init__(self) -> None:
        """Keeps nothing yet."""
        self._tensors: dict[str, Tensor] = {}

    def __call__(
        self, name: str, *shape: int, dtype: torch.dtype = torch.float32, device: torch.device = CPU
    ) -> Tensor:
        """Returns a contiguous tensor that holds anything; whoever asks this thread for that name next gets it, too."""
        numbers = torch.Size(shape).numel()
        kept = self._tensors.pop(name, None)
        if kept is None or kept.numel() < numbers or kept.dtype != dtype or kept.device != device:
            kept = None  # goes before what takes its place comes
            kept = torch.empty(numbers, dtype=dtype, device=device)
        self._tensors[name] = kept
        return kept[:numbers].view(shape)
