"""Made-up points of a sweep with a known critical batch."""

from __future__ import annotations

import math

import numpy as np

from rlgns.critical.points import Point


def points(goal: float, critical: float, noise: float, seed: int = 0) -> list[Point]:
    """Returns seven batches with two seeds each: 5 % scatter in steps, 10 % in the noise scale."""
    rng = np.random.default_rng(seed)
    return [
        Point(
            game="toy", goal_score=goal, batch_observations=batch, observations=steps * batch, optimizer_steps=steps,
            seed=number, run=f"b{batch}-s{number}", noise_scale=noise * math.exp(0.1 * rng.standard_normal()),
            noise_scale_low=1.0, noise_scale_high=1e4,
        )
        for batch in (8, 16, 32, 64, 128, 256, 512)
        for number in (0, 1)
        for steps in [100 * (1 + critical / batch) * math.exp(0.05 * rng.standard_normal())]
    ]  # fmt: skip
