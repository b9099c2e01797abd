"""One noise scale for a whole run, averaged with the weights of the run's cost."""

from __future__ import annotations

import math
from typing import final


@final
class RunAverage:
    r"""Average noise scale of a run: the prediction for the run's critical batch.

    A step at batch B where the noise scale is N makes 1 / (1 + N/B) of a full-batch step's progress, so with steps t

        S_min = sum_t w_t,   E_min = sum_t w_t N_t,   w_t = 1 / (1 + N_t / B_t),   average = E_min / S_min

    Steps without a noise scale (None, NaN, infinite, not positive) are left out of both sums. The average grows with
    every N_t, so the averages of the intervals' lower and upper ends bracket the true average if the intervals hold.

    A batch of B = sqrt(r N) at every step changes the front of fixed batches, (S/S_min - 1) (E/E_min - 1) = 1, into

        (S/S_min - 1) (E/E_min - 1) = gamma,   gamma = (sum_t w_t sqrt(N_t))^2 / (S_min E_min)

    which is 1 where N never changes and smaller the more it does. Scatter of the estimates N_t counts as change.

    McCandlish et al. 2018, arXiv:1812.06162, appendix D (eq. D.1, and D.6 for gamma).
    """

    def __init__(self) -> None:
        self.min_steps = 0.0
        """S_min over the counted steps, optimizer steps."""
        self.min_observations = 0.0
        """E_min over the counted steps, observations."""
        self.root_sum = 0.0
        """Sum of w sqrt(N) over the counted steps."""
        self.steps = 0.0
        """Optimizer steps so far, counted or not."""
        self.counted_steps = 0.0
        """Optimizer steps that had a noise scale."""

    def update(self, noise_scale: float | None, batch: float, steps: float) -> None:
        """Adds `steps` optimizer steps taken at `batch` observations while the noise scale was `noise_scale`."""
        if not (batch > 0 and steps >= 0):
            raise ValueError(f"need batch > 0 and steps >= 0; got {batch} and {steps}")
        self.steps += steps
        if noise_scale is None or not math.isfinite(noise_scale) or noise_scale <= 0:
            return
        self.counted_steps += steps
        weight = steps / (1 + noise_scale / batch)
        self.min_steps += weight
        self.min_observations += weight * noise_scale
        self.root_sum += weight * math.sqrt(noise_scale)

    @property
    def value(self) -> float:
        """The average in observations; NaN before the first step that counts."""
        return self.min_observations / self.min_steps if self.min_steps > 0 else math.nan

    @property
    def gamma(self) -> float:
        """Gamma predicted for an adaptive batch, above 0 and at most 1; NaN before the first step that counts.

        The steps may have been taken at any batch sizes, fixed or not.
        """
        product = self.min_steps * self.min_observations
        return self.root_sum**2 / product if product > 0 else math.nan

    @property
    def share(self) -> float:
        """Share of the steps that had a noise scale; NaN before the first step."""
        return self.counted_steps / self.steps if self.steps > 0 else math.nan

    def state_dict(self) -> dict[str, float]:
        """Returns all sums."""
        return {
            "min_steps": self.min_steps,
            "min_observations": self.min_observations,
            "root_sum": self.root_sum,
            "steps": self.steps,
            "counted_steps": self.counted_steps,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restores what `state_dict` returned."""
        self.min_steps = float(state["min_steps"])
        self.min_observations = float(state["min_observations"])
        self.root_sum = float(state["root_sum"])
        self.steps, self.counted_steps = float(state["steps"]), float(state["counted_steps"])
