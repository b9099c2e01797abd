"""An iteration's arrays on the learner's device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from rlgns.agents.buffers import Buffers

ALIGNED = 16
"""Bytes that every array's address is a multiple of."""


@final
class Upload:
    """Joins arrays [time, env, ...] along the environments, and gives all of them to a device in one copy.

    A copy from pageable memory waits for everything that was launched before it. One from pinned memory does not, and
    one copy of many arrays costs one launch. Memory is used again by the next call, so that its addresses stay.
    """

    def __init__(self, device: torch.device, *, packs: bool | None = None) -> None:
        """Holds nothing yet.

        Args:
            device: Where the arrays are needed.
            packs: Whether they travel as one block. None: on an accelerator. A processor needs no copy of an array that
                comes in one part.
        """
        self._device, self._buffers = device, Buffers()
        self._packs = device.type != "cpu" if packs is None else packs
        self._host = torch.empty(0, dtype=torch.uint8)

    def __call__(self, arrays: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Returns each array on the device, contiguous and valid until the next call.

        Args:
            arrays: Each in parts, of one type and equal but for their second dimension, on the processor; or on the
                device already, where they are joined.
        """
        packs = [self._packs and parts[0].device.type == "cpu" for parts in arrays]
        block = iter(self._sent([parts for parts, packed in zip(arrays, packs, strict=True) if packed]))
        numbered = enumerate(zip(arrays, packs, strict=True))
        return [next(block) if packed else self._joined(number, parts) for number, (parts, packed) in numbered]

    def _sent(self, arrays: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """Sends arrays in one block."""
        if not arrays:
            return []
        shapes = [_shape(parts) for parts in arrays]
        sizes = [math.prod(shape) * parts[0].element_size() for shape, parts in zip(shapes, arrays, strict=True)]
        starts = [0]
        for size in sizes:
            starts.append(starts[-1] + -(-size // ALIGNED) * ALIGNED)
        host, there = self._pinned(starts[-1]), self._buffers("all", starts[-1], dtype=torch.uint8, device=self._device)
        found = []
        for parts, shape, size, start in zip(arrays, shapes, sizes, starts[:-1], strict=True):
            cut = slice(start, start + size)
            _join(parts, host[cut].view(parts[0].dtype).view(shape))
            found.append(there[cut].view(parts[0].dtype).view(shape))
        there.copy_(host, non_blocking=True)
        return found

    def _joined(self, number: int, parts: Sequence[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        return _join(parts, self._buffers(f"{number}", *_shape(parts), dtype=first.dtype, device=first.device))

    def _pinned(self, size: int) -> Tensor:
        """The last call's copy has ended when the next begins: an update ends with values that the host asked for."""
        if len(self._host) < size:
            self._host = torch.empty(size, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
        return self._host[:size]


def _shape(parts: Sequence[Tensor]) -> tuple[int, ...]:
    first = parts[0].shape
    return tuple(first) if len(parts) == 1 else (first[0], sum(part.shape[1] for part in parts), *first[2:])


def _join(parts: Sequence[Tensor], to: Tensor) -> Tensor:
    if len(parts) == 1:
        return to.copy_(parts[0])
    for place, part in zip(to.split([part.shape[1] for part in parts], dim=1), parts, strict=True):
        place.copy_(part)
    return to
