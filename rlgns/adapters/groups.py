"""What every host's adapter does around an extra pass: groups of whole units, and a model left as it was."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Indices = NDArray[np.int64]


@contextlib.contextmanager
def undisturbed(model: nn.Module, *, restores_random: bool = True) -> Iterator[None]:
    """Puts gradients, buffers and random numbers (torch's, numpy's, Python's) back; the model's training mode stays.

    Args:
        model: Whose gradients and buffers.
        restores_random: False where other threads draw random numbers meanwhile, which must not come twice.

    Yields:
        Nothing.
    """
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = {parameter.device for parameter, _ in gradients if parameter.device.type == "cuda"}
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices, enabled=restores_random), torch.enable_grad():
        try:
            yield
        finally:
            if restores_random:
                np.random.set_state(numpy_state)
                random.setstate(python_state)
            for parameter, gradient in gradients:
                parameter.grad = gradient
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


def split(units: Sequence[Indices], groups: int) -> list[Indices]:
    """Returns groups of whole units (environments or episodes), as many as there are up to `groups`.

    Units of one length stay in order. Of different lengths the longest go first, each to the smallest group so far, so
    that groups are nearly equal: `moments_from_sums` takes the noise of an observation for the same in groups of any
    size, but a short rest of a game is all alike, or all of it the game's end.
    """
    count = min(groups, len(units))
    if len({len(unit) for unit in units}) <= 1:
        shares = np.array_split(np.arange(len(units)), count) if count else []
        return [np.concatenate([units[unit] for unit in share]) for share in shares]
    dealt: list[list[Indices]] = [[] for _ in range(count)]
    sizes = [0] * count
    for unit in sorted(units, key=len, reverse=True):
        smallest = sizes.index(min(sizes))
        dealt[smallest].append(unit)
        sizes[smallest] += len(unit)
    return [np.concatenate(group) for group in dealt]
