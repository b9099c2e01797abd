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
    """Returns groups of whole units (environments or episodes), as many as there are up to `groups`, in order."""
    count = min(groups, len(units))
    shares = np.array_split(np.arange(len(units)), count) if count else []
    return [np.concatenate([units[unit] for unit in share]) for share in shares]
