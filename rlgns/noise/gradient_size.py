"""Divides gradients by their recent size, so that a short phase of large ones does not dominate the sums."""

from __future__ import annotations

import dataclasses
from typing import Any, final

from rlgns.noise.moments import Moments

LARGEST_JUMP = 16.0
"""A batch counts in full if its squared gradient size is at most this many times that of the batches before."""


@final
class GradientSize:
    r"""Divides each batch's moments by the mean squared group gradient of the batches *before* it.

        s_t = (1 - r) s_{t-1} + r (G + S / b)_{t-1},    (G_t / s_t, S_t / s_t)

    with b the observations of a group of the first batch, so that G + S / b = mean_k |g_k|^2. Where later batches have
    larger or smaller groups, it is the value that groups of b would have: a batch weighs as much as its observations,
    and not more because larger groups have smaller gradients.

    The noise scale S / G does not depend on the size of the gradients, but a ratio of plain sums weighs every batch by
    it. In the first iterations of PPO the value loss makes squared gradients a hundred times as large as later ones: a
    ratio of plain sums would describe those few iterations for hundreds of thousands of observations.

    s_t is known before batch t is drawn, so E[G_t / s_t] = |G|^2 / s_t and the ratio of sums stays consistent. Dividing
    by the batch's own trace would not, since one noisy number would then be on both sides. If the true noise scale
    changes over time, the ratio estimates its (weighted) harmonic mean.

    Where gradients jump, s_t does not describe the batch: after a first step of Adam at a high learning rate squared
    gradients have grown 7,000 times, and that one batch dominated the sums for a whole horizon. A batch of more than
    LARGEST_JUMP times s_t, which scatter alone hardly reaches, is divided by its own size / LARGEST_JUMP instead.
    """

    def __init__(self, batches: float = 16) -> None:
        """Averages sizes over about so many batches."""
        if not batches >= 1:
            raise ValueError(f"batches must be at least 1, got {batches}")
        self._rate = 1 / batches
        self.value: float | None = None
        """s_t, the squared size that the next batch is divided by; None before the first."""
        self.divisor: float | None = None
        """What the newest batch was divided by; None before the second."""
        self._group: float | None = None  # b

    def divide(self, moments: Moments) -> Moments | None:
        """Returns the batch's moments in units of s_t, then updates s_t with its size.

        Returns None for the first batch, and while all gradients before were zero. Moments that are not finite are
        returned unchanged.
        """
        if not moments.is_finite:
            return moments
        size = self.value
        self._group = self._group or moments.observations_per_group
        new = moments.grad_sq + moments.trace / self._group
        self.value = new if size is None or size <= 0 else size + self._rate * (new - size)
        self.divisor = None if size is None or size <= 0 else max(size, new / LARGEST_JUMP)
        return None if self.divisor is None else scaled(moments, 1 / self.divisor)

    def state_dict(self) -> dict[str, Any]:
        """Returns s_t and b."""
        return {"value": self.value, "group": self._group}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.value = None if state["value"] is None else float(state["value"])
        self._group = state["group"]


def scaled(moments: Moments, factor: float) -> Moments:
    """Returns the moments of gradients that are sqrt(factor) times as large."""
    return dataclasses.replace(
        moments,
        grad_sq=moments.grad_sq * factor,
        trace=moments.trace * factor,
        ladder=tuple(dataclasses.replace(rung, grad_sq_norm=rung.grad_sq_norm * factor) for rung in moments.ladder),
    )
