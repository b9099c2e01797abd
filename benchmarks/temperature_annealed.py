"""Which average of an annealed run's noise scale predicts that of the same run at a constant learning rate.

The small classifier of `temperature_digits`, whose noise scale at given parameters is exact. Every run is done twice:
with a constant learning rate, whose average along the path (appendix D of the paper) is the truth, and with one that
falls linearly to zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from benchmarks.temperature_digits import LEARNING_RATES, exact_moments, images, network

STEPS, POINTS = (500, 2000, 6000), 100
"""Optimizer steps of the runs, and exact measurements in each."""

BATCHES, SEEDS, EXPONENTS = (8, 32), (0, 1), (-0.24, -0.54, -0.86)
"""The learning rate's exponents: the least of digits, Pong's, the largest of digits (docs/results/temperature.md)."""

LAST = 0.2
"""Last part of a run, which stands for a noise scale smoothed up to its end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One exact measurement along a run."""

    rate: float
    grad_sq: float
    trace: float


def course(optimizer: str, batch: int, seed: int, steps: int, *, anneal: bool) -> list[Measured]:
    """Trains once and returns what was measured along the way."""
    inputs, labels = images()
    model = network(seed)
    kind = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    update = kind(model.parameters(), lr=LEARNING_RATES[optimizer])
    rng = np.random.default_rng([seed, batch])
    found = []
    for step in range(steps):
        rate = LEARNING_RATES[optimizer] * (1 - step / steps if anneal else 1.0)
        for group in update.param_groups:
            group["lr"] = rate
        if step % (steps // POINTS) == 0:
            grad_sq, trace = exact_moments(model, inputs, labels)
            found.append(Measured(rate=rate, grad_sq=grad_sq, trace=trace))
        chosen = torch.from_numpy(rng.integers(len(labels), size=batch))
        update.zero_grad()
        functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
        update.step()
    return found


def average(run: list[Measured], batch: int, *, least: float = 0.0, exponent: float = 0.0) -> float:
    """Returns a run's average noise scale in images, with the weights of appendix D.

    Args:
        run: What was measured.
        batch: Images per step.
        least: Steps whose learning rate is below this share of the first are left out.
        exponent: Every noise scale is divided by (rate / first rate)^exponent.
    """
    above = below = 0.0
    for part in run:
        share = part.rate / run[0].rate
        if share >= least:
            square = part.grad_sq + part.trace / batch
            above += part.trace * share**-exponent / square
            below += part.grad_sq / square
    return above / below


CANDIDATES: dict[str, dict[str, float]] = {
    "all steps": {},
    "rate at least half": {"least": 0.5},
    "rate at least a fifth": {"least": 0.2},
    **{f"all, corrected by {p:g}": {"exponent": p} for p in EXPONENTS},
    **{f"at least a fifth, corrected by {p:g}": {"exponent": p, "least": 0.2} for p in EXPONENTS},
    **{f"at least half, corrected by {p:g}": {"exponent": p, "least": 0.5} for p in EXPONENTS},
}


def table() -> str:
    """Runs everything; returns a table of candidates over truth: geometric mean, lowest, highest, rms in logs."""
    ratios: dict[str, dict[int, list[float]]] = {}
    for steps in STEPS:
        for optimizer in LEARNING_RATES:
            for batch in BATCHES:
                for seed in SEEDS:
                    truth = average(course(optimizer, batch, seed, steps, anneal=False), batch)
                    annealed = course(optimizer, batch, seed, steps, anneal=True)
                    candidates = {name: average(annealed, batch, **given) for name, given in CANDIDATES.items()}
                    last = annealed[-round(LAST * len(annealed)) :]
                    candidates[f"last {LAST:.0%}"] = average(last, batch)
                    for name, value in candidates.items():
                        ratios.setdefault(name, {}).setdefault(steps, []).append(value / truth)
    head = ["average of the annealed run", *(f"{steps:,} steps" for steps in STEPS), "typical miss"]
    lines = [f"| {' | '.join(head)} |", f"|---{'|---:' * (len(head) - 1)}|"]
    for name, by_steps in ratios.items():
        cells = [
            f"{math.exp(np.log(values).mean()):.2f} ({min(values):.2f} to {max(values):.2f})"
            for values in by_steps.values()
        ]
        logs = np.log([value for values in by_steps.values() for value in values])
        lines.append(f"| {name} | {' | '.join(cells)} | {math.exp(math.sqrt(float((logs**2).mean()))):.2f} times |")
    return "\n".join(lines)
