"""The noise scale of a character language model on Python's help texts, beside a sweep over batch sizes.

    python examples/characters.py

An observation is a character to predict. Every step draws windows of 32 characters at random places of the text.
Windows are independent of each other; the characters of one window are not. So each window stays whole in one part,
like the steps of one environment. (If windows were read one after another through a document, all windows of a document
would belong in one part.)
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pydoc_data.topics import topics

import torch
from shared import Problem, Progress, compare, options
from torch import Tensor, nn

from rlgns.noise import NoiseScaleMonitor

WINDOW = 32
"""Characters predicted in one window."""
CONTEXT = 8
"""Characters that each prediction sees."""
LEARNING_RATES = (0.01, 0.02, 0.005, 0.04)


class Model(nn.Module):
    """An embedding, one convolution over the preceding characters, one hidden layer."""

    def __init__(self, alphabet: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(alphabet, 16)
        self.mix = nn.Conv1d(16, 64, CONTEXT)
        self.head = nn.Conv1d(64, alphabet, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Returns logits [windows, alphabet, WINDOW] of codes [windows, CONTEXT + WINDOW - 1]."""
        logits: Tensor = self.head(torch.relu(self.mix(self.embed(codes).transpose(1, 2))))
        return logits


def characters() -> Problem:
    """Returns the problem: windows of the help texts that come with Python, trained with Adam."""
    text = "".join(topics.values())
    alphabet = sorted(set(text))
    place = {character: code for code, character in enumerate(alphabet)}
    codes = torch.tensor([place[character] for character in text])

    def model() -> nn.Module:
        torch.manual_seed(0)
        return Model(len(alphabet))

    def draw(count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(len(codes) - CONTEXT - WINDOW, (count,), generator=generator)

    def loss(model: nn.Module, starts: Tensor) -> Tensor:
        windows = codes[starts[:, None] + torch.arange(CONTEXT + WINDOW)]
        return nn.functional.cross_entropy(model(windows[:, :-1]), windows[:, CONTEXT:])

    fixed = draw(64, torch.Generator().manual_seed(2))

    @torch.no_grad()
    def target_loss(model: nn.Module) -> float:
        return loss(model, fixed).item()

    return Problem(
        unit="characters",
        per_draw=WINDOW,
        model=model,
        optimizer=lambda model, learning_rate: torch.optim.Adam(model.parameters(), lr=learning_rate),
        draw=draw,
        loss=loss,
        target_loss=target_loss,
    )


def train(problem: Problem, chosen: Namespace) -> float:
    """Trains to the target loss by gradient accumulation: micro-batches of two windows, joined into eight groups.

    Returns the critical batch that the noise scale predicts.
    """
    model, generator = problem.model(), torch.Generator().manual_seed(1)
    optimizer = problem.optimizer(model, chosen.learning_rate)
    batch = chosen.draws * WINDOW
    monitor = NoiseScaleMonitor(model, groups=8)
    progress = Progress(problem, monitor, batch)
    for step in range(1, chosen.most_steps + 1):
        parts = problem.draw(chosen.draws, generator).split(2 if chosen.draws % 16 == 0 else 1)
        with monitor.step(observations=batch, parts=len(parts)):
            for part in parts:
                monitor.backward(problem.loss(model, part))
        optimizer.step()
        if progress.reached(chosen.target, step, model):
            break
    return progress.predicted_critical_batch()


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, predicts, sweeps, compares."""
    defaults = {"draws": 16, "learning_rate": 0.01, "target": 2.2, "sweep": [2, 8, 32, 128]}
    chosen = options("noise scale of a character language model, beside a sweep over batch sizes", arguments, defaults)
    compare(characters(), train, LEARNING_RATES, chosen)


if __name__ == "__main__":
    main()
