"""A learning problem as the trainer sees it: draws, loss, and the loss that is compared with the goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Generator, Tensor, nn

from examples.tasks.settings import TaskSettings

EVALUATED = 2000
"""Most images in the fixed sample of the training data that gives the goal loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A learning problem: model, data and loss."""

    unit: str
    """Name of an observation, in the plural."""
    per_draw: int
    """Observations in one draw. Draws are independent of each other; the observations of one draw need not be."""
    model: Callable[[], nn.Module]
    """Returns a new model, initialised from torch's global random state."""
    draw: Callable[[int, Generator], Tensor]
    """Returns so many independent draws [draws, ...], with replacement."""
    loss: Callable[[nn.Module, Tensor, Generator], Tensor]
    """Mean loss over the draws; the generator is for losses with noise of their own."""
    goal_loss: Callable[[nn.Module], float]
    """Mean loss on a fixed sample of the training data; it has no sampling noise."""


def make_problem(settings: TaskSettings) -> Problem:
    """Returns the problem of a task. Raises UserError where its data are missing or do not fit."""
    if settings.dataset in ("words", "characters"):
        from examples.tasks.text import text_problem

        return text_problem(settings.dataset, settings.data, settings.width)
    from examples.tasks.image_data import load_images
    from examples.tasks.images import image_problem

    return image_problem(load_images(settings.dataset, Path(settings.data) if settings.data else None), settings)
