"""The noise scale of a small classifier at equal loss, for learning rates x batches, on scikit-learn's digits.

The data set is small enough for exact values: the gradient of every image is computed, so the noise scale at given
parameters has no sampling error. Runs still reach different parameters, hence the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LOSSES = (1.0, 0.3, 0.1)
"""Training losses, nats per image, at which the noise scale is measured. It grows along training, so cells are
compared at equal loss, not at equal step."""

SNAPSHOTS = 8
"""Parameter vectors averaged for one noise scale, each a fiftieth of the steps so far after the previous one."""

HIDDEN, MOST_STEPS = 32, 15_000
LEARNING_RATES = {"sgd": 0.1, "adam": 0.002}
"""About the fastest rates to a loss of 0.1 at a batch of 32 (benchmarks/temperature.py prints every cell's steps)."""

FACTORS, BATCHES = (0.25, 1.0, 4.0), (8, 32, 128)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The noise scale of one run at one loss."""

    optimizer: str
    learning_rate: float
    learning_rate_factor: float
    batch_images: int
    seed: int
    loss: float
    steps: int
    """Optimizer steps until the loss over all images first reached `loss`."""
    noise_scale: float
    """tr(Sigma) / |G|^2 in images, sums over the snapshots."""
    grad_sq: float
    trace: float


def images() -> tuple[Tensor, Tensor]:
    """Returns all 1,797 images, float32 [images, 64] in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.from_numpy(data.data / 16).float(), torch.from_numpy(data.target).long()


def network(seed: int) -> torch.nn.Sequential:
    """Returns the classifier, 64 - 32 - 10, rectified."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(64, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10))


@torch.no_grad()
def exact_moments(model: torch.nn.Sequential, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Returns |G|^2 and tr(Sigma) of drawing from these images with replacement, from one gradient per image.

    The images are the whole population, so their mean gradient is G itself, and nothing is estimated. A linear layer's
    gradient for one image is an outer product, so its squared norm is a product of two norms.
    """
    first, second = cast(nn.Linear, model[0]), cast(nn.Linear, model[2])
    hidden = first(inputs)
    active = functional.relu(hidden)
    error = functional.softmax(second(active), -1) - functional.one_hot(labels, 10)
    back = (error @ second.weight) * (hidden > 0)
    norms = error.square().sum(1) * (active.square().sum(1) + 1) + back.square().sum(1) * (inputs.square().sum(1) + 1)
    sums = (error.T @ active, error.sum(0), back.T @ inputs, back.sum(0))
    grad_sq = sum(float(part.double().square().sum()) for part in sums) / len(labels) ** 2
    return grad_sq, float(norms.double().mean()) - grad_sq


def readings(optimizer: str, factor: float, batch: int, seed: int) -> Iterator[Reading]:
    """Trains one cell and yields its noise scale at each loss that it reaches."""
    inputs, labels = images()
    model = network(seed)
    rate = LEARNING_RATES[optimizer] * factor
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    update = kind(model.parameters(), lr=rate)
    rng = np.random.default_rng([seed, batch])
    reached, taken, following = 0, 0, 0
    snapshots: list[tuple[float, float]] = []
    for step in range(MOST_STEPS):
        with torch.no_grad():
            due = step >= following
            # Evaluating the whole set at every step would take most of the time.
            if due and functional.cross_entropy(model(inputs), labels) <= LOSSES[reached]:
                taken = taken or step
            if due and taken:
                snapshots.append(exact_moments(model, inputs, labels))
        if due:
            following = step + max(1, (taken or step) // 50)
        if len(snapshots) == SNAPSHOTS:
            grad_sq, trace = map(sum, zip(*snapshots, strict=True))
            yield Reading(
                optimizer=optimizer,
                learning_rate=rate,
                learning_rate_factor=factor,
                batch_images=batch,
                seed=seed,
                loss=LOSSES[reached],
                steps=taken,
                noise_scale=trace / grad_sq,
                grad_sq=grad_sq / SNAPSHOTS,
                trace=trace / SNAPSHOTS,
            )
            reached, taken, snapshots = reached + 1, 0, []
            if reached == len(LOSSES):
                return
        chosen = torch.from_numpy(rng.integers(len(labels), size=batch))
        update.zero_grad()
        functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
        update.step()
