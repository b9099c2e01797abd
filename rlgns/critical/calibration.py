r"""From a measured noise scale to the critical batch: what games whose critical batch was measured say of the ratio.

    ln(critical batch) = ln(noise scale) + mu + game + goal + run
    game ~ N(0, tau^2),  goal ~ N(0, sigma^2),  run ~ N(0, rho^2)

A new run's critical batch has two errors. The proxy's, with the variance tau^2 + sigma^2 + rho^2 + Var(mu) and
Student's t, is there however well the noise scale is measured. The measurement's is the interval of the noise scale.
Both are in logarithms and independent, so their half-widths add as squares, on each side by itself (Zou and Donner
2008, "Construction of confidence limits about effect measures", doi:10.1002/sim.3095).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit

from rlgns.formatting import measured, plural

AT_GOAL = "smoothed, at the goal"
"""What the paper plots: the noise scale when the goal was reached."""

PATH_AVERAGE = "path average along the steps"
"""What sweeps write: the average over all steps up to the goal, with the weights of the paper's appendix D."""

SMOOTHED = "smoothed, along the steps"
"""A run's noise scale now. With one optimizer step an iteration it is AT_GOAL."""

KIND_SD = 0.562
"""Standard deviation of ln(critical batch / noise scale) between tasks of one kind: images of four data sets and the
two autoencoders in the paper's Table 1, "average" columns, each kind around its own mean."""

KIND_DF = 4
"""Degrees of freedom of KIND_SD: 4 + 2 tasks, two means."""

FEWEST_GAMES = 3
"""Of a fit by moments, and of a calibration that says how far apart calibrations are."""

SHIPPED = {"a2c": ("a2c", 1, AT_GOAL), "ppo4": ("ppo", 4, PATH_AVERAGE)}
"""The calibrations that come with rlgns: name to algorithm, epochs and definition."""

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
    level: float = 0.95
    """Probability that the interval holds the critical batch."""

    def __str__(self) -> str:
        return measured("critical batch", self.value, self.low, self.high, self.level)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The ratio critical batch / noise scale on the games of one algorithm, in natural logarithms."""

    name: str
    """Name of its file, as `a2c`."""
    algorithm: str
    """Whose sweeps it comes from: `a2c` or `ppo`."""
    epochs: int
    """Passes over a rollout in these sweeps."""
    definition: str
    """Which noise scale of a run it takes: AT_GOAL, PATH_AVERAGE or other words."""
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
    run_sd: float
    """rho: standard deviation of ln(noise scale) between well-tuned runs to one goal, beyond their own intervals."""
    degrees_of_freedom: float
    """Of the variance of a new run's critical batch."""
    widening_sd: float = 0.0
    """Standard deviation of mu between calibrations, where this one serves for another algorithm or definition."""
    exact: bool = True
    """Whether algorithm, epochs and definition are those of the run."""

    def __post_init__(self) -> None:
        for name in ("log_ratio_sd", "game_sd", "goal_sd", "run_sd", "widening_sd"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be zero or positive, got {getattr(self, name)}")
        for name in ("epochs", "games", "goals", "degrees_of_freedom"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not math.isfinite(self.log_ratio):
            raise ValueError(f"log_ratio must be finite, got {self.log_ratio}")

    @property
    def key(self) -> tuple[str, int, str]:
        """What it is for: algorithm, epochs and definition."""
        return self.algorithm, self.epochs, self.definition

    @property
    def label(self) -> str:
        """What it was calibrated on, in a few words for people."""
        on = f"calibrated on {self.algorithm.upper()}"
        if self.exact:
            own = "" if self.name in SHIPPED else f" ({self.name})"
            return f"{on}: {plural(self.games, 'game')}{own}"
        return on if self.epochs == 1 else f"{on} with {self.epochs} epochs"

    @property
    def proxy_sd(self) -> float:
        """Standard deviation of ln(critical batch) of a new game's run whose noise scale is known exactly."""
        return math.hypot(self.log_ratio_sd, self.game_sd, self.goal_sd, self.run_sd, self.widening_sd)

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
            return CriticalBatchPrediction(low=_exp(bound), level=level)
        centre = math.log(scale) + self.log_ratio
        below = max(0.0, math.log(scale) - math.log(low)) if _usable(low) else math.inf
        above = max(0.0, math.log(high) - math.log(scale))
        return CriticalBatchPrediction(
            value=_exp(centre),
            low=_exp(centre - math.hypot(proxy, below)),
            high=_exp(centre + math.hypot(proxy, above)),
            level=level,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioFit:
    """What `Calibration` needs; its docstrings explain the fields."""

    games: int
    goals: int
    log_ratio: float
    log_ratio_sd: float
    game_sd: float
    goal_sd: float
    run_sd: float
    degrees_of_freedom: float


def _usable(value: float) -> bool:
    return 1 / LARGEST < value < LARGEST


def _exp(value: float) -> float:
    return math.inf if value > math.log(LARGEST) else math.exp(value)
