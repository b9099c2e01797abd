"""A learner's state as a checkpoint needs it."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def on_cpu(state: Any) -> Any:
    """Returns a copy of a state whose tensors are on the CPU, with memory of their own and their types.

    A driver without a GPU cannot read a GPU's tensors. And training changes its tensors in place, but must not change
    what was handed out for a checkpoint or loaded from one.

    Args:
        state: Dictionaries, lists and tuples of tensors and plain values, nested.
    """
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: on_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(on_cpu, state))
    return state
