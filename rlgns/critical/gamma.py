"""What an adaptive batch is predicted to gain, from how the noise scale changed along a run."""

from __future__ import annotations

import math
from typing import final


@final
class PredictedGamma:
    r"""Gamma of a run.

    A batch B = sqrt(r N) at every step changes the front of fixed batches from 1 into gamma:

        (S/S_min - 1) (E/E_min - 1) = gamma,   gamma = (sum w sqrt(N))^2 / (sum w  sum w N),   w = 1 / (1 + N/B)

    which is 1 where the noise scale N never changes and smaller the more it does. Steps whose noise scale is not known
    are left out. Scatter of the estimates counts as change.

    McCandlish et al. 2018, arXiv:1812.06162, appendix D, eq. D.6.
    """

    def __init__(self) -> None:
        """Starts empty."""
        self._weights = self._scales = self._roots = 0.0

    def update(self, noise_scale: float | None, batch: float, steps: float) -> None:
        """Adds `steps` optimizer steps at `batch` observations while the noise scale was `noise_scale`."""
        if not (batch > 0 and steps >= 0):
            raise ValueError(f"need batch > 0 and steps >= 0; got {batch} and {steps}")
        if noise_scale is None or not math.isfinite(noise_scale) or noise_scale <= 0:
            return
        weight = steps / (1 + noise_scale / batch)
        self._weights += weight
        self._scales += weight * noise_scale
        self._roots += weight * math.sqrt(noise_scale)

    @property
    def value(self) -> float:
        """Gamma, above 0 and at most 1; NaN before the first step that counts. Any batch sizes may have been used."""
        product = self._weights * self._scales
        return self._roots**2 / product if product > 0 else math.nan
