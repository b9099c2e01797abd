"""What a sweep's goals say of the ratio critical batch / noise scale, and how far single runs scatter around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, ndtri

from rlgns.critical.pareto import fit_pareto
from rlgns.critical.points import GoalFit

HALF = 0.5
"""Second level of an interval with an open end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """Critical batch and noise scale of one goal."""

    game: str
    goal_score: float
    critical_batch: float
    """Observations; of a bound the point c of `ratio_of`."""
    noise_scale: float
    """Observations."""
    variance: float = 0.0
    """Of ln(critical batch / noise scale), from the error bars of both; 0: it has none."""
    bound: int = 0
    """1: the critical batch is at least this, -1: at most; 0: it is known from both sides."""

    @property
    def log_ratio(self) -> float:
        """ln(critical batch / noise scale)."""
        return math.log(self.critical_batch / self.noise_scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """A standard deviation that is itself an estimate."""

    sd: float = 0.0
    freedom: float = math.inf
    """Degrees of freedom; infinite: known."""

    def draws(self, count: int = 16) -> npt.NDArray[np.float64]:
        """Returns equally likely values of its square, sd^2 freedom / chi^2."""
        if not math.isfinite(self.freedom):
            return np.array([self.sd**2])
        share = (np.arange(count) + 0.5) / count
        return np.asarray(self.sd**2 * self.freedom / chdtri(self.freedom, share), dtype=np.float64)


NO_SCATTER = Scatter()


def ratio_of(goal: GoalFit) -> Ratio | None:
    """Returns a sweep's goal with the variance that its intervals stand for; None where it tells nothing.

    An interval's half-width in ln is taken as so many standard deviations as a normal distribution has at its level.
    With Student's t of few degrees of freedom in the interval that is about the standard deviation of Student's t.

    Where the interval of the critical batch has an open end, the likelihood is flat beyond a point c and falls off with
    a standard deviation s on the other side. The closed ends at two levels give c and s. Where the noise scale has only
    a lower bound, the ratio is at most that of the bound.
    """
    fit, noise = goal.fit, goal.noise_scale
    ends, noise_ends = (fit.critical_batch_low, fit.critical_batch_high), (goal.noise_scale_low, goal.noise_scale_high)
    known, noise_known = ([0 < end < math.inf for end in pair] for pair in (ends, noise_ends))
    bound, critical, sd, noise_sd = 0, fit.critical_batch, math.nan, 0.0
    if fit.identified and all(known):
        sd = math.log(ends[1] / ends[0]) / (2 * _quantile(fit.level))
    elif any(known) and not all(known):
        bound = 1 if known[0] else -1
        critical, sd = _censored(goal, bound)
    if noise > 0 and all(noise_known):
        noise_sd = math.log(noise_ends[1] / noise_ends[0]) / (2 * _quantile(fit.level))
    elif noise_known[0] and bound < 1:
        bound, noise = -1, goal.noise_scale_low
    else:
        return None
    if not (0 <= sd < math.inf and 0 < critical < math.inf):
        return None
    return Ratio(
        game=goal.game,
        goal_score=goal.goal_score,
        critical_batch=critical,
        noise_scale=noise,
        variance=sd**2 + noise_sd**2,
        bound=bound,
    )


def _censored(goal: GoalFit, bound: int) -> tuple[float, float]:
    """The point c, observations, and the standard deviation of its logarithm, from the closed ends at two levels."""
    batches, steps = ([getattr(p, name) for p in goal.points] for name in ("batch_observations", "optimizer_steps"))
    inner = fit_pareto(batches, steps, level=HALF)
    far, near = (one.critical_batch_low if bound > 0 else one.critical_batch_high for one in (goal.fit, inner))
    if not (0 < far < math.inf and 0 < near < math.inf):
        return math.nan, math.nan
    quantile = _quantile(HALF)
    sd = abs(math.log(near / far)) / (_quantile(goal.fit.level) - quantile)
    return near * math.exp(bound * quantile * sd), sd


def _quantile(level: float) -> float:
    return float(ndtri(0.5 + level / 2))


def run_scatter(goals: Sequence[GoalFit]) -> Scatter:
    """Returns the scatter of ln(noise scale) between the best runs to a goal, beyond their own intervals.

    The runs differ in batch, learning rate and seed. Pooled over the goals by degrees of freedom: the variance between
    the runs that resolve their noise scale, less the mean variance that their intervals (95 %) stand for. A run that
    reached several goals counts once in the degrees of freedom, which are Satterthwaite's (1946) for the difference.
    """
    between = own = freedom = 0.0
    names: list[str] = []
    for number, goal in enumerate(goals):
        runs = [
            (p, p.noise_scale, p.noise_scale_low, p.noise_scale_high)
            for p in goal.points
            if p.reached and p.noise_scale and p.noise_scale_low and p.noise_scale_high
        ]
        if len(runs) < 2:
            continue
        logs = np.log([scale for _, scale, _, _ in runs])
        sds = [math.log((high or 1.0) / (low or 1.0)) / (2 * _quantile(0.95)) for _, _, low, high in runs]
        names += [p.run or f"{number} {place}" for place, (p, *_) in enumerate(runs)]
        count = len(runs) - 1
        between, own = between + count * float(logs.var(ddof=1)), own + count * float(np.mean(np.square(sds)))
        freedom += count
    if between <= own:
        return NO_SCATTER
    independent = freedom * len(set(names)) / len(names)
    return Scatter(sd=math.sqrt((between - own) / freedom), freedom=max(1.0, independent * (1 - own / between) ** 2))
