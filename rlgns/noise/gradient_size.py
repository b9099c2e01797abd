"""Divides gradients by their recent size, so that a short phase of large ones does not dominate the sums."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, final

from rlgns.noise.moments import Moments

OUTLIER = 4.0
"""A batch is an outlier if its squared gradient size is more than so many times that of those before."""

MANY_OUTLIERS = 0.5
"""Where outliers have more than this share of |G|^2, the noise scale may be several times larger than estimated
(docs/notes/outliers.md)."""

NEW_PHASE = 64.0
"""A batch may begin a new phase if its squared gradient size is more than this many times that of those before."""

BEYOND_OUTLIERS = 4.0
"""It does so if that ratio is also this many times the largest one before: outliers come again."""

SETTLED = 4
"""A large ratio was an outlier if gradients are small again after so many times the batches of the size's average."""


@final
class Jumps:
    """Says which batches are too large to be compared with those before: a jump, or the first outlier of its size."""

    def __init__(self, batches: float) -> None:
        """`batches`: over how many the size is averaged."""
        self._settled = int(SETTLED * batches)
        self._largest = 1.0  # ratio of an outlier to the size of its time
        self._peak = self._peak_ratio = 1.0  # size of a batch that may have been one, and its ratio to s_t
        self._since_peak = 0

    def begins_phase(self, new: float, size: float) -> bool:
        """Returns whether a batch of squared size `new` begins a phase, those before it having `size`; remembers it."""
        ratio, before = new / size, max(self._largest, self._peak_ratio)
        self._since_peak += 1
        if ratio > self._peak_ratio:
            self._peak, self._peak_ratio, self._since_peak = new, ratio, 0
        elif self._since_peak == self._settled:
            self._largest = max(self._largest, self._peak / size)
            self._peak_ratio = 1.0
        return ratio > max(NEW_PHASE, BEYOND_OUTLIERS * before)

    def state_dict(self) -> dict[str, Any]:
        """Returns what is remembered of outliers."""
        return {name: getattr(self, f"_{name}") for name in ("largest", "peak", "peak_ratio", "since_peak")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; an older version remembered less or nothing."""
        self._largest, self._since_peak = float(state.get("largest", 1.0)), int(state.get("since_peak", 0))
        self._peak, self._peak_ratio = float(state.get("peak", 1.0)), float(state.get("peak_ratio", 1.0))


@final
class GradientSize:
    r"""Divides each batch's moments by the mean squared group gradient of the batches *before* it.

        log s_t = (1 - r) log s_{t-1} + r log (G + S / b)_{t-1},    (G_t / s_t, S_t / s_t)

    with b the observations of a group of the first batch, so that G + S / b = mean_k |g_k|^2. Where later batches have
    larger or smaller groups, it is the value that groups of b would have: a batch weighs as much as its observations,
    and not more because larger groups have smaller gradients.

    The noise scale S / G does not depend on the size of the gradients, but a ratio of plain sums weighs every batch by
    it. In the first iterations of PPO the value loss makes squared gradients a hundred times as large as later ones: a
    ratio of plain sums would describe those few iterations for hundreds of thousands of observations.

    s_t is known before batch t is drawn, so E[G_t / s_t] = |G|^2 / s_t and the ratio of sums stays consistent. Nothing
    about batch t itself may enter its divisor: where few environments have large gradients, they are the noise. The
    mean is one of logarithms, so that such a batch hardly changes the weight of those after it. If the true noise scale
    changes over time, the ratio estimates its (weighted) harmonic mean.

    Where gradients jump, s_t does not describe the batch: after a first step of Adam at a high learning rate squared
    gradients have grown 7,000 times, and that one batch dominated the sums for a whole horizon. Such a batch begins a
    new phase: what was summed before is forgotten, and the batch itself only sets the size. It must be far larger,
    against s_t, than any outlier before it. Large gradients that come again and again are therefore kept from the
    second on, and the sums since the first are unbiased. A jump that lasted is no outlier.
    """

    def __init__(self, batches: float = 16) -> None:
        """Averages sizes over about so many batches."""
        if not batches >= 1:
            raise ValueError(f"batches must be at least 1, got {batches}")
        self._batches = batches
        self.value: float | None = None
        """s_t, the squared size that the next batch is divided by; None before the first."""
        self.divisor: float | None = None
        """What the newest batch was divided by; None where it began a phase."""
        self._group: float | None = None  # b
        self._seen = 0  # batches of this phase, counted up to those that the average spans
        self._jumps = Jumps(batches)

    def divide(self, moments: Moments) -> Moments | None:
        """Returns the batch's moments in units of s_t, then updates s_t with its size.

        Returns None where a phase begins: for the first batch, after gradients that were all zero, and after a jump.
        Sums start again with the next batch. Moments that are not finite are returned unchanged.
        """
        if not moments.is_finite:
            return moments
        self._group = self._group or moments.observations_per_group
        size, new = self.value, moments.grad_sq + moments.trace / self._group
        if not size:
            self.value, self.divisor, self._seen = max(new, 0.0), None, 1
            return None
        if self._jumps.begins_phase(new, size):
            self.value, self.divisor, self._seen = new, None, 1
            return None
        self.divisor = size
        if new > 0:
            self._seen = int(min(self._seen + 1, self._batches))
            self.value = size * math.exp(math.log(new / size) / self._seen)
        return scaled(moments, 1 / size)

    def state_dict(self) -> dict[str, Any]:
        """Returns s_t, b and what is remembered of outliers."""
        return {"value": self.value, "group": self._group, "seen": self._seen, **self._jumps.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, or an older version's, which had s_t and b alone."""
        self.value = None if state["value"] is None else float(state["value"])
        self._group, self._seen = state["group"], int(state.get("seen", self._batches))
        self._jumps.load_state_dict(state)


def scaled(moments: Moments, factor: float) -> Moments:
    """Returns the moments of gradients that are sqrt(factor) times as large."""
    return dataclasses.replace(
        moments,
        grad_sq=moments.grad_sq * factor,
        trace=moments.trace * factor,
        ladder=tuple(dataclasses.replace(rung, grad_sq_norm=rung.grad_sq_norm * factor) for rung in moments.ladder),
    )
