"""Image tasks: softmax, MLP and convolutional classifiers, an autoencoder and a variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from examples.tasks.image_data import ImageData
from examples.tasks.problem import EVALUATED, Problem
from examples.tasks.settings import TaskSettings
from rlgns.errors import UserError

HIDDEN_PER_CODE = 8
"""Hidden units of an autoencoder per unit of its code, which is as wide as the task's width."""


@final
class Vae(nn.Module):
    """A variational autoencoder with Gaussian code and Bernoulli pixels (Kingma and Welling 2014, arXiv:1312.6114)."""

    def __init__(self, pixels: int, width: int) -> None:
        super().__init__()
        hidden = HIDDEN_PER_CODE * width
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * width))
        self.decode = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, images: Tensor, generator: Generator) -> Tensor:
        """Returns the negative evidence lower bound, nats per image, with one sample of the code."""
        mean, log_variance = self.encode(images - 0.5).chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=generator)
        logits = self.decode(mean + noise * (log_variance / 2).exp())
        pixels = F.binary_cross_entropy_with_logits(logits, images.flatten(1), reduction="sum")
        code = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return cast(Tensor, (pixels + code) / len(images))


def image_problem(data: ImageData, settings: TaskSettings) -> Problem:
    """Returns the problem of a model on these images. Draws are single images.

    Raises:
        UserError: No such model.
    """
    sample = torch.arange(min(EVALUATED, data.count))
    pixels, labels = data.fetch(sample)
    variance = float(pixels.flatten(1).var(dim=0, correction=0).mean())
    if settings.model not in MODELS:
        raise UserError(f"no model {settings.model!r} of images; there are: {', '.join(MODELS)}")
    shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])

    def of_batch(model: nn.Module, images: Tensor, kinds: Tensor, generator: Generator) -> Tensor:
        if settings.model == "vae":
            return cast(Tensor, model(images, generator))
        output = model(images - 0.5)
        if settings.model == "autoencoder":
            # The share of the pixels' variance that the code does not explain.
            return F.mse_loss(output, images.flatten(1)) / variance
        return F.cross_entropy(output, kinds)

    def loss(model: nn.Module, places: Tensor, generator: Generator) -> Tensor:
        return of_batch(model, *data.fetch(places), generator)

    @torch.no_grad()
    def goal_loss(model: nn.Module) -> float:
        return of_batch(model, pixels, labels, Generator().manual_seed(0)).item()

    return Problem(
        unit="images",
        per_draw=1,
        model=lambda: MODELS[settings.model](shape, data.classes, settings.width),
        draw=lambda count, generator: torch.randint(data.count, (count,), generator=generator),
        loss=loss,
        goal_loss=goal_loss,
    )


Shape = tuple[int, int, int]
"""Channels, height, width."""


def _pixels(shape: Shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _softmax(shape: Shape, classes: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(_pixels(shape), classes))


def _mlp(shape: Shape, classes: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(_pixels(shape), width), nn.ReLU(), nn.Linear(width, classes))


def _conv(shape: Shape, classes: int, width: int) -> nn.Module:
    """Two convolutions with stride 2; the second has twice the channels."""
    height, breadth = ((side + 3) // 4 for side in shape[1:])
    return nn.Sequential(
        nn.Conv2d(shape[0], width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * height * breadth, classes),
    )


def _autoencoder(shape: Shape, classes: int, width: int) -> nn.Module:
    pixels, hidden = _pixels(shape), HIDDEN_PER_CODE * width
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, hidden),
        nn.ReLU(),
        nn.Linear(hidden, width),
        nn.Linear(width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, pixels),
    )


def _vae(shape: Shape, classes: int, width: int) -> nn.Module:
    return Vae(_pixels(shape), width)


MODELS: dict[str, Callable[[Shape, int, int], nn.Module]] = {
    "softmax": _softmax,
    "mlp": _mlp,
    "conv": _conv,
    "autoencoder": _autoencoder,
    "vae": _vae,
}
"""Builds a model from the images' shape, the number of classes and the task's width."""
