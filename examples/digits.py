"""The noise scale of an image classifier on scikit-learn's 8 x 8 digits, beside a sweep over batch sizes.

    python examples/digits.py

Images are drawn independently and with replacement, so any split into parts is valid. The true gradient is the mean
over these 1,797 images; the result says nothing about other images.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

import torch
from shared import Problem, Progress, compare, options
from sklearn.datasets import load_digits
from torch import Tensor, nn

from rlgns.noise import NoiseScaleMonitor

LEARNING_RATES = (0.5, 1.0, 0.25, 2.0, 0.125, 4.0)


def digits() -> Problem:
    """Returns the problem: a network with one hidden layer, trained with plain SGD."""
    pixels, labels = load_digits(return_X_y=True)
    images, targets = torch.tensor(pixels / 16 - 0.3, dtype=torch.float32), torch.tensor(labels)

    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def loss(model: nn.Module, chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images[chosen]), targets[chosen])

    @torch.no_grad()
    def target_loss(model: nn.Module) -> float:
        return nn.functional.cross_entropy(model(images), targets).item()

    return Problem(
        unit="images",
        per_draw=1,
        model=model,
        optimizer=lambda model, learning_rate: torch.optim.SGD(model.parameters(), lr=learning_rate),
        draw=lambda count, generator: torch.randint(len(images), (count,), generator=generator),
        loss=loss,
        target_loss=target_loss,
    )


def train(problem: Problem, chosen: Namespace) -> float:
    """Trains to the target loss with a live noise scale; returns the critical batch that it predicts."""
    model, generator = problem.model(), torch.Generator().manual_seed(1)
    optimizer = problem.optimizer(model, chosen.learning_rate)
    batch = chosen.draws
    monitor = NoiseScaleMonitor(model, groups=8)
    progress = Progress(problem, monitor, batch)
    for step in range(1, chosen.most_steps + 1):
        with monitor.step(observations=batch):
            for part in problem.draw(batch, generator).chunk(8):
                monitor.backward(problem.loss(model, part))
        optimizer.step()
        if progress.reached(chosen.target, step, model):
            break
    return progress.predicted_critical_batch()


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, predicts, sweeps, compares."""
    defaults = {"draws": 64, "learning_rate": 0.5, "target": 0.2, "sweep": [4, 16, 64, 256]}
    chosen = options("noise scale of a digit classifier, beside a sweep over batch sizes", arguments, defaults)
    compare(digits(), train, LEARNING_RATES, chosen)


if __name__ == "__main__":
    main()
