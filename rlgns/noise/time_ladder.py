r"""More environments or longer rollouts: how the noise of an environment's gradient falls with the steps it averages.

The steps of every environment are cut into S segments in time order, S a power of two, T steps in all. With v(l) the
trace of the covariance of the mean gradient over l consecutive steps of one environment,

    grad_sq = mean over pairs of different environments of <g, g'>                 E = |G|^2
    v(l)    = mean over segments of l steps of |g_segment|^2 - grad_sq             E = v(l), for l = T/S, ..., T/2, T

A batch of N environments has the noise v(T) / N. Twice the environments halve it. Twice the steps make it v(2 T) / N,
and with v(l) = A + C / l through the two longest rungs (A is shared by all steps of an environment, C averages out)

    v(2 T) = (3 v(T) - v(T/2)) / 2.

If v(2 T) / v(T) is 1/2, longer rollouts are as good as more environments; if it is 1, they bring nothing. Where
correlation dies out within the rollout, A is overestimated, so longer rollouts are at least as good as this says.

Splitting the steps against splitting the environments is the trade-off of Mayor et al. 2025, arXiv:2506.03404.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from rlgns.noise.block_sums import BlockSums
from rlgns.noise.interval import ratio_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeRung:
    """Noise of one environment's gradient over so many consecutive steps."""

    steps: int
    """Consecutive steps of one environment that are averaged."""

    variance: float
    """v(steps), trace of the covariance of that average; unbiased, may be negative."""

    @property
    def trace(self) -> float:
        """tr(Sigma) per observation, if segments of this length were the independent unit."""
        return self.steps * self.variance


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeLadder:
    """The rungs, shortest first, measured in one batch or averaged over many."""

    grad_sq: float
    """|G|^2 from pairs of different environments; may be negative."""

    rungs: tuple[TimeRung, ...]
    """v at T/S, ..., T/2, T steps."""

    @property
    def twice_steps_noise(self) -> float:
        """v(2T) / v(T), from 1/2 to 1 where the model holds; NaN where undefined. Twice the environments give 1/2."""
        if len(self.rungs) < 2 or not self.rungs[-1].variance > 0:
            return math.nan
        return (3 - self.rungs[-2].variance / self.rungs[-1].variance) / 2

    def scaled(self, factor: float) -> TimeLadder:
        """Returns the ladder of gradients that are sqrt(factor) times as large."""
        rungs = tuple(TimeRung(steps=rung.steps, variance=rung.variance * factor) for rung in self.rungs)
        return TimeLadder(grad_sq=self.grad_sq * factor, rungs=rungs)

    @property
    def is_finite(self) -> bool:
        """False where a gradient was not finite."""
        return math.isfinite(self.grad_sq) and all(math.isfinite(rung.variance) for rung in self.rungs)


def time_ladder(
    products: NDArray[np.float64], *, groups: int, segments: int, steps: int, envs_per_group: int = 1
) -> TimeLadder:
    """Returns the time ladder of one batch from the inner products of its segments' gradients.

    Args:
        products: [groups * segments, groups * segments], Gram matrix of mean gradients, segments of a group together
            and in time order.
        groups: independent groups of whole environments.
        segments: segments of each group's steps, a power of two.
        steps: steps per environment, T; a multiple of `segments`.
        envs_per_group: environments in each group.

    Returns:
        The ladder; NaN where a gradient was not finite.

    Raises:
        ValueError: fewer than two groups, segments that are not a power of two or do not divide the steps, a wrong
            shape.
    """
    if groups < 2:
        raise ValueError(f"the noise scale needs at least 2 groups, got {groups}")
    if segments < 1 or segments & (segments - 1) or steps % segments:
        raise ValueError(f"segments must be a power of two that divides the {steps} steps, got {segments}")
    if products.shape != (groups * segments, groups * segments):
        raise ValueError(f"expected a Gram matrix of {groups} x {segments} rows, got shape {list(products.shape)}")
    table = products.reshape(groups, segments, groups, segments)
    by_group = table.mean(axis=(1, 3))
    grad_sq = float(by_group[~np.eye(groups, dtype=bool)].mean())
    own = np.einsum("gsgt->gst", table)
    return time_ladder_of_groups(own, grad_sq=grad_sq, steps=steps, envs_per_group=envs_per_group)


def time_ladder_of_groups(
    own: NDArray[np.float64], *, grad_sq: float, steps: int, envs_per_group: int = 1
) -> TimeLadder:
    """Returns the time ladder from products within groups alone, where |G|^2 is known from the groups' own gradients.

    Args:
        own: [groups, segments, segments], per group the inner products of its segments' gradients, in time order.
        grad_sq: unbiased |G|^2 of the same batch, from pairs of different groups.
        steps: steps per environment, T.
        envs_per_group: environments in each group.
    """
    groups, segments, _ = own.shape
    rungs = []
    for merged in [2**k for k in range(segments.bit_length())]:
        count = segments // merged
        cells = own.reshape(groups, count, merged, count, merged).mean(axis=(2, 4))
        squared_norm = float(np.einsum("gcc->gc", cells).mean())
        variance = envs_per_group * (squared_norm - grad_sq)
        rungs.append(TimeRung(steps=steps // count, variance=variance))
    return TimeLadder(grad_sq=grad_sq, rungs=tuple(rungs))


@final
class TimeLadderTracker:
    """Decayed mean of time ladders of one shape; the ratio is formed on read."""

    def __init__(self, horizon_observations: float | None = None) -> None:
        """Starts empty; the horizon as in NoiseScaleTracker."""
        self._sums = BlockSums(horizon_observations)
        self._steps: list[int] = []

    def update(self, ladder: TimeLadder, observations: float) -> None:
        """Adds one batch of so many observations; skips a ladder that is not finite.

        Raises:
            ValueError: rungs at other steps than before.
        """
        if not ladder.is_finite:
            return
        steps = [rung.steps for rung in ladder.rungs]
        if self._steps and steps != self._steps:
            raise ValueError(f"a time ladder with rungs at {steps} steps cannot join one at {self._steps}")
        self._steps = steps
        self._sums.update(np.array([ladder.grad_sq, *(rung.variance for rung in ladder.rungs)]), observations)

    def restart(self) -> None:
        """Forgets all ladders."""
        self._sums.clear()

    def estimate(self) -> TimeLadder | None:
        """Returns the mean ladder as of now; None before the first."""
        mean = self._sums.mean()
        if mean is None:
            return None
        variances = zip(self._steps, mean[1:], strict=True)
        return TimeLadder(
            grad_sq=float(mean[0]), rungs=tuple(TimeRung(steps=s, variance=float(v)) for s, v in variances)
        )

    def twice_steps_interval(self, level: float) -> tuple[float, float]:
        """Returns the confidence interval of `twice_steps_noise`, from Fieller's set for v(T/2) / v(T); NaN if unknown.

        It may reach beyond the model's range, 1/2 to 1.
        """
        mean = self._sums.mean()
        if mean is None or len(self._steps) < 2:
            return math.nan, math.nan
        observations, weights, means = self._sums.blocks()
        half, whole = mean[-2], mean[-1]
        ratio = ratio_interval(
            observations,
            weights,
            numerators=means[:, -2],
            denominators=means[:, -1],
            numerator=float(half),
            denominator=float(whole),
            level=level,
        )
        return (3 - ratio.high) / 2, (3 - ratio.low) / 2

    def state_dict(self) -> dict[str, Any]:
        """Returns everything, as plain Python numbers and lists."""
        return {"sums": self._sums.state_dict(), "steps": list(self._steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._sums.load_state_dict(state["sums"])
        self._steps = [int(s) for s in state["steps"]]
