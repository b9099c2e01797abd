r"""From a measured noise scale to the critical batch: what games whose critical batch was measured say of the ratio.

    ln(critical batch) = ln(noise scale) + mu + game + goal,   game ~ N(0, tau^2),  goal ~ N(0, sigma^2)

A new game's critical batch has two errors. The proxy's, with the variance tau^2 + sigma^2 + Var(mu) and Student's t, is
there however well the noise scale is measured. The measurement's is the interval of the noise scale. Both are in
logarithms and independent, so their half-widths add as squares, on each side by itself (Zou and Donner 2008,
"Construction of confidence limits about effect measures", doi:10.1002/sim.3095).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit

LARGEST = 1e300
"""Numbers beyond it count as infinite, below its inverse as zero: their logarithms are safe to add."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticalBatchPrediction:
    """The critical batch that a noise scale predicts, in observations."""

    value: float = math.nan
    """NaN where only a bound or nothing is known."""
    low: float = math.nan
    """NaN where nothing is known; 0 where only the upper bound is."""
    high: float = math.inf
    """Infinite where only the lower bound is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The ratio critical batch / noise scale on the games of one algorithm, in natural logarithms."""

    name: str
    """Name of its file, as `a2c`."""
    algorithm: str
    """`a2c` or `ppo`, whose sweeps it comes from."""
    epochs: int
    """Passes over a rollout in these sweeps."""
    definition: str
    """What noise scale was compared, in words."""
    games: int
    goals: int
    log_ratio: float
    """mu: mean over games of ln(critical batch / noise scale)."""
    log_ratio_sd: float
    """Standard error of mu."""
    game_sd: float
    """tau: standard deviation between games."""
    goal_sd: float
    """sigma: standard deviation between the goals of a game."""
    degrees_of_freedom: float
    """Of the variance of a new game's goal."""
    widening_sd: float = 0.0
    """Standard deviation of mu between algorithms, where the run's is another than the calibration's."""
    exact: bool = True
    """Whether algorithm and epochs are those of the run."""

    def __post_init__(self) -> None:
        for name in ("log_ratio_sd", "game_sd", "goal_sd", "widening_sd"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or positive, got {getattr(self, name)}")
        if not self.degrees_of_freedom >= 1:
            raise ValueError(f"degrees_of_freedom must be at least 1, got {self.degrees_of_freedom}")

    @property
    def label(self) -> str:
        """What it was calibrated on, in a few words for people."""
        algorithm = self.algorithm.upper()
        return f"calibrated on {algorithm}: {self.games} games" if self.exact else f"calibrated on {algorithm}"

    @property
    def proxy_sd(self) -> float:
        """Standard deviation of ln(critical batch) of a new game whose noise scale is known exactly."""
        return math.hypot(self.log_ratio_sd, self.game_sd, self.goal_sd, self.widening_sd)

    def predict(self, scale: float, low: float, high: float, level: float = 0.95) -> CriticalBatchPrediction:
        """Returns the critical batch of a new game, with the interval that holds it with probability `level`.

        Args:
            scale: Measured noise scale, observations; NaN: not resolved.
            low: Lower end of its interval at the same level; NaN: nothing is known; 0: only the upper end is known.
            high: Upper end; infinite or NaN: only the lower end is known, and `scale` is not used.
            level: Of the prediction's interval, between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        proxy = float(stdtrit(self.degrees_of_freedom, 0.5 + level / 2)) * self.proxy_sd
        if not _usable(scale) or not _usable(high):
            bound = math.log(low) + self.log_ratio - proxy if _usable(low) else math.nan
            return CriticalBatchPrediction(low=_exp(bound))
        centre = math.log(scale) + self.log_ratio
        below = max(0.0, math.log(scale / low)) if _usable(low) else math.inf
        above = max(0.0, math.log(high / scale))
        return CriticalBatchPrediction(
            value=_exp(centre),
            low=_exp(centre - math.hypot(proxy, below)),
            high=_exp(centre + math.hypot(proxy, above)),
        )


def _usable(value: float) -> bool:
    return 1 / LARGEST < value < LARGEST


def _exp(value: float) -> float:
    return math.inf if value > math.log(LARGEST) else math.exp(value)
