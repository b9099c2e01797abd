"""A host's noise scale over time: moments in, the entries of a logger out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median_high
from typing import Any, final

from rlgns.critical.calibration import Calibration
from rlgns.critical.calibration_choice import RunCalibrations
from rlgns.critical.predicted import average_entries, critical_batch_entries
from rlgns.critical.run_average import RunAverage
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.moments import Moments
from rlgns.noise.noise_scale import scale_entries
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker

USUAL = 8
"""Measured steps over which the usual batch is the median: the last batch of an epoch may be small."""


@final
class NoiseScaleRecord:
    """The noise scale of one model as of now and along the run, from measured steps' moments."""

    def __init__(self, *, prefix: str, level: float = 0.95, calibration: Calibration | None = None) -> None:
        """Starts with nothing measured.

        Args:
            prefix: Of the entries, which mean what they mean in metrics.jsonl (docs/metrics.md).
            level: Confidence of the intervals.
            calibration: From noise scale to critical batch; None: entries say nothing of the critical batch.

        Raises:
            ValueError: A level outside (0, 1).
        """
        self._prefix, self._level, self._calibration = prefix, level, calibration
        self._size, self._tracker = GradientSize(), NoiseScaleTracker(None, level, follows_run=True)
        self._run_average = RunAverage(rate_follows_batch=False)
        self._conditions: dict[str, Any] = {}  # of the newest measurement
        self._batches: deque[float] = deque(maxlen=USUAL)

    def update(
        self,
        moments: Moments | None,
        *,
        batch_observations: float,
        learning_rate: float,
        observations: float,
        **more: Any,
    ) -> None:
        """Adds one measured step.

        Args:
            moments: Of the step; None: it had fewer than two groups.
            batch_observations: Of one optimizer step of training.
            learning_rate: Of training.
            observations: Of the run so far.
            more: Other entries of `row`.
        """
        grad_sq, trace = (moments.grad_sq, moments.trace) if moments else (math.nan, math.nan)
        if moments is not None:
            relative = self._size.divide(moments)
            if relative is None:
                self._tracker.restart()
            else:
                self._tracker.update(relative)
        self._run_average.update(
            grad_sq=grad_sq, trace=trace, batch=batch_observations, steps=1, learning_rate=learning_rate
        )
        self._batches.append(batch_observations)
        self._conditions = {
            f"{self._prefix}/grad_sq": grad_sq,
            f"{self._prefix}/trace": trace,
            "batch_observations": batch_observations,
            "learning_rate": learning_rate,
            "observations": observations,
            **more,
        }

    @property
    def divisor(self) -> float | None:
        """What the newest step's moments were divided by; None where sums started again with it."""
        return self._size.divisor

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the noise scale as of now, its moments scaled to the gradients' present size."""
        return self._tracker.estimate().scaled(self._size.value or 1.0)

    def row(self) -> dict[str, Any]:
        """Returns the entries and their conditions; empty before the first measurement."""
        if not self._conditions:
            return {}
        estimate = self.estimate()
        row = {
            **self._conditions,
            "usual_batch_observations": median_high(self._batches),
            **scale_entries(self._prefix, estimate),
            "noise/updates": estimate.updates,
            "noise/skipped": estimate.skipped,
            **average_entries(self._run_average.estimate(self._level)),
        }
        if self._calibration is None:
            return row
        both = RunCalibrations(average=self._calibration, now=self._calibration)
        return row | critical_batch_entries(row, both, self._level, now=self._prefix)

    def entries(self) -> dict[str, Any]:
        """Returns what a logger gets: the known numbers of `row` under noise/ and critical_batch/."""
        return {
            name: value
            for name, value in self.row().items()
            if name.startswith(("noise/", "critical_batch/"))
            if not isinstance(value, float) or math.isfinite(value)
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, as plain Python numbers and lists."""
        return {
            "monitor": {**self._tracker.state_dict(), "size": self._size.state_dict()},
            "run_average": self._run_average.state_dict(),
            "conditions": dict(self._conditions),
            "batches": list(self._batches),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._tracker.load_state_dict(state["monitor"])
        self._size.load_state_dict(state["monitor"]["size"])
        self._run_average.load_state_dict(state["run_average"])
        self._conditions = dict(state["conditions"])
        newest = self._conditions.get("batch_observations")
        self._batches = deque(state.get("batches", [] if newest is None else [newest]), USUAL)
