r"""What a batch twice as large would buy: the paper's trade-off between steps and observations, put in words.

    S(B) = S_min (1 + B_crit / B) optimizer steps,   E(B) = E_min (1 + B / B_crit) = B S(B) observations

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", arXiv:1812.06162, equation 2.11.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rlgns.formatting import duration, times

UNKNOWN = "not known yet"
"""The advice before anything is known of the critical batch."""

LEAST_GAIN = 1.1
"""A bound that promises fewer than so many times fewer steps says nothing."""


def step_ratio(critical_batch: float, batch: float, factor: float = 2.0, *, noise: float | None = None) -> float:
    r"""Returns the optimizer steps to the same result at `factor` times the batch, relative to those at `batch`.

        S(f B) / S(B) = (B + r B_crit) / (B + B_crit)

    r is the share of the noise that the larger batch leaves: 1/f where the added observations are as good as those of
    more environments. The ratio falls from 1 at B_crit = 0 (no noise is left to average out) to r at B_crit = infinity
    (at r = 1/f, twice the batch halves the steps).

    Args:
        critical_batch: B_crit in observations, from 0 to infinity.
        batch: B in observations, positive.
        factor: f, positive.
        noise: r, not negative; None: 1/f.

    Raises:
        ValueError: An argument outside its range.
    """
    if not (critical_batch >= 0 and batch > 0 and factor > 0):
        raise ValueError(f"need critical_batch >= 0, batch > 0, factor > 0; got {critical_batch}, {batch}, {factor}")
    left = 1 / factor if noise is None else noise
    if math.isinf(critical_batch):
        return left
    return (batch + left * critical_batch) / (batch + critical_batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What `factor` times the environments (or rollout steps) would buy, as intervals; None where unknown.

    Both ratios fall as the critical batch grows, so a lower bound on it bounds both from above. With the same number of
    minibatches and the same rollout length, twice the environments is twice the batch.
    """

    factor: ClassVar[float] = 2.0
    what: str = "the environments"
    """What would be doubled."""
    step_ratio: float | None = None
    """S(f B) / S(B) at the best estimate; None where the critical batch is only bounded or unknown."""
    step_ratio_low: float | None = None
    """At the largest critical batch; None where only a lower bound is known."""
    step_ratio_high: float | None = None
    """At the smallest critical batch; None where nothing is known."""

    @property
    def observation_ratio(self) -> float | None:
        """E(f B) / E(B) at the best estimate."""
        return None if self.step_ratio is None else self.factor * self.step_ratio

    @property
    def observation_ratio_low(self) -> float | None:
        """E(f B) / E(B) at the largest critical batch."""
        return None if self.step_ratio_low is None else self.factor * self.step_ratio_low

    @property
    def observation_ratio_high(self) -> float | None:
        """E(f B) / E(B) at the smallest critical batch."""
        return None if self.step_ratio_high is None else self.factor * self.step_ratio_high

    def sentence(self, *, interval: bool = False) -> str:
        """Returns one line for people; with the intervals in brackets if asked."""
        head = f"twice {self.what}:"
        bound_only = self.step_ratio is None or self.step_ratio_low is None
        if self.step_ratio_high is None or (bound_only and 1 / self.step_ratio_high < LEAST_GAIN):
            return f"{head} {UNKNOWN}"
        fewest, most = times(1 / self.step_ratio_high), times(self.factor * self.step_ratio_high)
        if self.step_ratio is None or self.step_ratio_low is None:
            return f"{head} at least {fewest} fewer steps for at most {most} the observations"
        steps, observations = times(1 / self.step_ratio), times(self.factor * self.step_ratio)
        if interval:
            steps += f" ({fewest} to {times(1 / self.step_ratio_low)})"
            observations += f" ({times(self.factor * self.step_ratio_low)} to {most})"
        return f"{head} {steps} fewer steps for {observations} the observations"

    def hours(self, seconds: float) -> str:
        """Returns how long training that takes `seconds` now would take; empty where unknown.

        A machine at its limit plays the same observations/s, so its time grows with the observations. A machine that
        plays twice the environments at twice the observations/s takes less time, by the ratio of steps.
        """
        ratio = self.step_ratio if self.step_ratio is not None else self.step_ratio_high
        if ratio is None or not seconds > 0 or (self.step_ratio is None and 1 / ratio < LEAST_GAIN):
            return ""
        bound = "" if self.step_ratio is not None else "at most "
        same, faster = duration(seconds * self.factor * ratio), duration(seconds * ratio)
        return (
            f"what takes {duration(seconds)} now would take {bound}{same} at the same observations/s, "
            f"{bound}{faster} if {self.factor:g}x the environments play {self.factor:g}x the observations/s"
        )


def advice_of(row: Mapping[str, Any]) -> Advice:
    """Returns what twice the environments would buy at a metrics row's critical batch and batch.

    Args:
        row: Of metrics.jsonl; `Advice()`, which knows nothing, for an empty one.
    """
    batch = row.get("batch_observations")
    return twice_envs(*_critical_batch(row), batch) if batch else Advice()


def steps_advice_of(row: Mapping[str, Any]) -> Advice:
    """Returns what twice the rollout steps would buy; unknown until the time ladder's interval is known."""
    batch = row.get("batch_observations")
    known = row.get("noise/twice_steps_noise_low") is not None
    noise = row.get("noise/twice_steps_noise") if known else None
    return twice_steps(*_critical_batch(row), batch, noise=noise) if batch else Advice(what="the rollout steps")


def twice_envs(low: float | None, mid: float | None, high: float | None, batch: float) -> Advice:
    """Returns what twice the environments would buy at a critical batch between `low` and `high`.

    Args:
        low: Lower end of the critical batch's interval, observations; None or NaN: unknown. Below 0 counts as 0.
        mid: Best estimate; None, NaN, infinite or negative: none.
        high: Upper end; None, NaN or infinite: only the lower end is known, and then `mid` is not used.
        batch: Observations per optimizer step now.
    """
    return _advice(low, mid, high, batch, Advice(), 1 / Advice.factor)


def twice_steps(
    low: float | None, mid: float | None, high: float | None, batch: float, *, noise: float | None
) -> Advice:
    """Returns what twice the steps of every rollout would buy, with the same number of minibatches.

    Args:
        low: As in `twice_envs`, as are mid, high and batch.
        mid: Best estimate of the critical batch.
        high: Upper end.
        batch: Observations per optimizer step now.
        noise: Share of a batch's noise that twice the steps leave (`TimeLadder.twice_steps_noise`), clipped to the
            model's range, 1/2 to 1; None or NaN: unknown.
    """
    nothing = Advice(what="the rollout steps")
    if noise is None or math.isnan(noise):
        return nothing
    return _advice(low, mid, high, batch, nothing, min(max(noise, 0.5), 1.0))


def _critical_batch(row: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Low, best and high of a row's critical batch."""
    return row.get("critical_batch/low"), row.get("critical_batch/predicted"), row.get("critical_batch/high")


def _advice(
    low: float | None, mid: float | None, high: float | None, batch: float, nothing: Advice, noise: float
) -> Advice:
    lower = None if low is None or math.isnan(low) else max(0.0, low)
    upper = high if high is not None and math.isfinite(high) else None
    middle = mid if mid is not None and math.isfinite(mid) and mid >= 0 else None
    if lower is None or (upper is None and lower == 0) or (upper is not None and upper < lower):
        return nothing

    def ratio(critical_batch: float) -> float:
        return step_ratio(critical_batch, batch, nothing.factor, noise=noise)

    if upper is None or middle is None:
        return dataclasses.replace(nothing, step_ratio_high=ratio(lower))
    return dataclasses.replace(
        nothing,
        step_ratio=ratio(min(max(middle, lower), upper)),
        step_ratio_low=ratio(upper),
        step_ratio_high=ratio(lower),
    )
