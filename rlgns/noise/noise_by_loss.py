r"""Whose noise it is: |G|^2 and tr(Sigma) of the policy's and of the value's gradient, along the optimizer steps.

The whole loss is the policy's, with the entropy bonus, plus the value's with its coefficient: g = p + v. So in every
batch, exactly and not only on average,

    grad_sq = grad_sq_p + 2 grad_sq_pv + grad_sq_v          trace = trace_p + 2 trace_pv + trace_v

where the cross terms are the inner product of the two true gradients and the trace of their cross-covariance. Each loss
gets one of the two equal cross terms, so that shares add up to 1:

    noise_share  = (trace_v + trace_pv) / trace             signal_share = (grad_sq_v + grad_sq_pv) / grad_sq
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from rlgns.noise.block_sums import BlockSums
from rlgns.noise.interval import UNKNOWN, Ratio, ratio_interval
from rlgns.noise.losses_and_layers import cross_moments

LOSSES = ("policy", "value")
"""In the order of the inner products."""

# Linear combinations of the six sums (grad_sq and trace of policy, value, cross term).
_GRAD_SQ = {"policy": (1, 0, 0, 0, 0, 0), "value": (0, 0, 1, 0, 0, 0)}
_TRACE = {"policy": (0, 1, 0, 0, 0, 0), "value": (0, 0, 0, 1, 0, 0)}
_RATIOS = {
    **{f"{loss}/scale": (_TRACE[loss], _GRAD_SQ[loss]) for loss in LOSSES},
    "value/noise_share": ((0, 0, 0, 1, 0, 1), (0, 1, 0, 1, 0, 2)),
    "value/signal_share": ((0, 0, 1, 0, 1, 0), (1, 0, 1, 0, 2, 0)),
}
"""Numerator and denominator of each ratio."""

PREFIX = "noise/by_loss"


@final
class NoiseByLoss:
    """Smoothed moments by loss, of batches that were also split by loss; ratios are formed on read.

    Only some batches are. Each stands for all observations since the one before, so the horizon is in observations of
    training. It does not follow the run: too few batches are split to see a drift.
    """

    def __init__(self, horizon_observations: float | None = None, level: float = 0.95) -> None:
        """Starts empty.

        Args:
            horizon_observations: Observations of training after which a weight has fallen to 1/e; None: plain sums.
            level: Confidence of the intervals.
        """
        self._sums, self._level = BlockSums(horizon_observations), level
        self._latest: list[float] | None = None
        self._ratios: dict[str, Ratio] = {}  # of the newest sums, as they are asked for
        self.batches = self.skipped = 0

    def update(
        self,
        products: NDArray[np.float64],
        observations_per_group: int,
        *,
        divisor: float | None,
        observations_since: float,
    ) -> None:
        """Adds a batch; counts and skips one whose gradients are not finite.

        Args:
            products: [2, 2, groups, groups], entry (l, m, j, k) the inner product of group j's gradient of loss l and
                group k's of loss m; groups of whole environments.
            observations_per_group: Observations behind each gradient.
            divisor: Squared size that the whole loss's moments of this batch are divided by (`GradientSize`); None:
                not known, so the batch's moments are reported and not summed.
            observations_since: Observations of training since the last batch that was given here.
        """
        if not np.isfinite(products).all():
            self.skipped += 1
            return
        self.batches += 1
        (policy, cross), (_, value) = cross_moments(products, observations_per_group)
        self._latest = [x for moments in (policy, value, cross) for x in (moments.grad_sq, moments.trace)]
        if divisor is not None:
            self._sums.update(np.array(self._latest) / divisor, observations_since)
            self._ratios = {}

    def restart(self) -> None:
        """Forgets all sums: the sizes of later batches cannot be compared with theirs."""
        self._sums.clear()
        self._ratios = {}

    def ratio(self, name: str) -> Ratio:
        """Returns `policy/scale`, `value/scale`, `value/noise_share` or `value/signal_share` with its interval."""
        if name not in self._ratios:
            self._ratios[name] = self._ratio(name)
        return self._ratios[name]

    def row(self) -> dict[str, Any]:
        """Ends an iteration: returns its raw moments, and the smoothed ratios with their intervals."""
        unknown: list[float | None] = [None] * 6
        latest, self._latest = self._latest or unknown, None
        raw = dict(zip((*LOSSES, "cross"), zip(latest[::2], latest[1::2], strict=True), strict=True))
        row: dict[str, Any] = {}
        for name, (grad_sq, trace) in raw.items():
            row |= {f"{PREFIX}/{name}/grad_sq": grad_sq, f"{PREFIX}/{name}/trace": trace}
        for name in _RATIOS:
            ratio = self.ratio(name)
            row |= {f"{PREFIX}/{name}{end}": x for end, x in (("", ratio.value), ("_low", ratio.low))}
            row[f"{PREFIX}/{name}_high"] = ratio.high
            if name.endswith("/scale"):
                row[f"{PREFIX}/{name.removesuffix('/scale')}/resolved"] = math.isfinite(ratio.high)
        return row | {f"{PREFIX}/batches": self.batches, f"{PREFIX}/skipped": self.skipped}

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums, plain Python numbers and lists."""
        return {"sums": self._sums.state_dict(), "batches": self.batches, "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; what was given at construction stays."""
        self._sums.load_state_dict(state["sums"])
        self._ratios = {}
        self.batches, self.skipped = int(state["batches"]), int(state["skipped"])

    def _ratio(self, name: str) -> Ratio:
        mean = self._sums.mean()
        if mean is None:
            return Ratio(value=math.nan, low=UNKNOWN.low, high=UNKNOWN.high)
        above, below = (np.array(weights) for weights in _RATIOS[name])
        numerator, denominator = float(mean @ above), float(mean @ below)
        observations, weights, means = self._sums.blocks()
        interval = ratio_interval(
            observations,
            weights,
            numerators=means @ above,
            denominators=means @ below,
            numerator=numerator,
            denominator=denominator,
            level=self._level,
        )
        value = numerator / denominator if denominator > 0 else math.nan
        return Ratio(value=value, low=interval.low, high=interval.high)
