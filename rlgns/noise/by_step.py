"""How |G|^2 and tr(Sigma) change along the optimizer steps of a first epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

from rlgns.metric_key import OLDER_RUNS, Key
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.statistic import MeasuredBatch, Statistic

Sums = tuple[float, float, float]
"""Decayed weight, and with it the sums of relative |G|^2 and trace."""


@final
class ByStepStatistic(Statistic):
    """Both moments by optimizer step of the first epoch, smoothed; batches split by environment.

    A batch of n observations has the weight n exp(-age / H), age being the observations measured since, of whatever
    step: all steps look back over the same stretch of training. Batches may change their size.
    """

    keys: ClassVar = (
        Key(
            name="noise/by_step",
            kind=list,
            unit="squared norm",
            meaning="|G|^2 and tr(Sigma) by optimizer step of the first epoch, smoothed and scaled to the gradients' "
            "present size. Step 0 is at the parameters that played. Where |G|^2 rises from step to step, the steps "
            "are ruled by noise. May be negative. Without steps of which nothing was measured yet",
            formula="weighted means with a horizon of 200,000 observations, or `noise.horizon_observations` if shorter",
            source="[M] A.1",
            absent_from=OLDER_RUNS,
            entry_fields=("step", "grad_sq", "trace"),
        ),
    )

    def __init__(self, size: GradientSize, horizon_observations: float | None) -> None:
        """Starts empty; `size` is what batches are divided by, None as horizon: plain sums over everything."""
        self._size = size
        self._horizon = horizon_observations
        self._sums: dict[int, Sums] = {}

    def update(self, batch: MeasuredBatch) -> None:
        """Adds one batch split by environment; skips moments that are not finite."""
        relative = batch.relative
        if batch.shuffled or relative is None or not relative.is_finite:
            return
        n = relative.observations
        decay = 1.0 if self._horizon is None else math.exp(-n / self._horizon)
        self._sums = {
            step: (weight * decay, grad_sq * decay, trace * decay)
            for step, (weight, grad_sq, trace) in self._sums.items()
        }
        weight, grad_sq, trace = self._sums.get(batch.step, (0.0, 0.0, 0.0))
        self._sums[batch.step] = (weight + n, grad_sq + n * relative.grad_sq, trace + n * relative.trace)

    def restart(self) -> None:
        """Forgets all sums."""
        self._sums = {}

    def row(self, *, refresh: bool = True) -> dict[str, Any]:
        """Ends an iteration: returns the smoothed moments by step, first step first."""
        size = self._size.value or 0.0
        return {
            "noise/by_step": [
                {"step": step, "grad_sq": grad_sq / weight * size, "trace": trace / weight * size}
                for step, (weight, grad_sq, trace) in sorted(self._sums.items())
                if weight > 0
            ]
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums by step, as plain Python numbers and lists."""
        return {"sums": [[step, *sums] for step, sums in sorted(self._sums.items())]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._sums = {
            int(step): (float(weight), float(grad_sq), float(trace)) for step, weight, grad_sq, trace in state["sums"]
        }
