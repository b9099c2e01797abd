r"""How an estimator's measurements of a frozen policy compare with the truth, and with each other.

Bias is the ratio of means over everything. Its interval comes from leaving out one independent set of environments at a
time (jackknife, Student's t), from the truth as well, since both use the same observations. Spread is the standard
deviation of the log of the noise scale from a fixed number of observations, by the delta method

    log(S/G) - log(E S / E G) ~ S / E S - G / E G

over independent measurements. It is defined however noisy one measurement is, and accurate while it is small against 1;
above that so few observations do not resolve the noise scale. The expected values are the truth's where the estimator
is unbiased, and the means of its measurements where it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rlgns.noise.interval import Ratio
from rlgns.noise.offline.truth import Truth, jackknife_error

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """An estimator beside the truth."""

    grad_sq: Ratio
    """Mean grad_sq relative to the truth's."""
    trace: Ratio
    noise_scale: Ratio
    """Of the ratio of sums."""
    log_sd: float
    """Standard deviation of the log noise scale from a given number of observations."""
    grad_sq_sd: float
    """Standard deviation of grad_sq from as many, relative to its expected value."""
    measurements: int


@final
class Series:
    """Measurements of one estimator, by set of environments."""

    def __init__(self, sets: int) -> None:
        """Starts empty."""
        self._values: list[list[tuple[float, float]]] = [[] for _ in range(sets)]
        self._rounds: list[list[int]] = [[] for _ in range(sets)]
        self._observations = 0

    def add(self, set_index: int, *, grad_sq: float, trace: float, observations: int, round_index: int = 0) -> None:
        """Adds one measurement; each is of equally many observations."""
        self._values[set_index].append((grad_sq, trace))
        self._rounds[set_index].append(round_index)
        self._observations = observations

    def since(self, first: int) -> Series:
        """Returns the measurements of round `first` and later ones."""
        kept = Series(len(self._values))
        for set_index, values in enumerate(self._values):
            for (grad_sq, trace), index in zip(values, self._rounds[set_index], strict=True):
                if index >= first:
                    kept.add(
                        set_index,
                        grad_sq=grad_sq,
                        trace=trace,
                        observations=self._observations,
                        round_index=index,
                    )
        return kept

    @property
    def measurements(self) -> int:
        """Number of measurements."""
        return sum(len(values) for values in self._values)

    def means(self, without: int | None = None) -> Array:
        """Returns the mean grad_sq and trace [2], one set left out if given."""
        kept = [value for index, values in enumerate(self._values) if index != without for value in values]
        return np.array(kept).mean(0) if kept else np.full(2, math.nan)

    def log_sd(self, observations: float, expected: Array | None = None, without: int | None = None) -> float:
        """Returns the standard deviation of log noise scale from so many observations, if measurements are independent.

        Args:
            observations: Behind one noise scale.
            expected: [2], grad_sq and trace; None: the means of the measurements.
            without: A set to leave out.

        Returns:
            NaN with fewer than three measurements or where |G|^2 is not expected to be positive.
        """
        kept = np.array([v for index, values in enumerate(self._values) if index != without for v in values])
        if len(kept) < 3:
            return math.nan
        expected = kept.mean(0) if expected is None else expected
        if not expected[0] > 0:
            return math.nan
        relative = kept / expected
        return float((relative[:, 1] - relative[:, 0]).std(ddof=1)) * math.sqrt(self._observations / observations)

    def grad_sq_sd(self, observations: float, grad_sq: float) -> float:
        """Returns the standard deviation of grad_sq from so many observations over `grad_sq`; NaN as for `log_sd`."""
        kept = np.array([value[0] for values in self._values for value in values])
        if len(kept) < 3 or not grad_sq > 0:
            return math.nan
        return float(kept.std(ddof=1) / grad_sq) * math.sqrt(self._observations / observations)

    def quality(self, truth: Truth, observations: float, *, unbiased: bool = False) -> Quality:
        """Compares with the truth; spreads are for so many observations, about the truth if `unbiased`."""
        sets = len(self._values)
        mine, left = self.means(), np.array([self.means(without=index) for index in range(sets)])
        true, left_true = np.array([truth.grad_sq, truth.trace]), truth.without_set
        pairs = np.append(mine / true, mine[1] / mine[0] * true[0] / true[1])
        left_pairs = np.column_stack([left / left_true, left[:, 1] / left[:, 0] * left_true[:, 0] / left_true[:, 1]])
        expected = true if unbiased else mine
        signs = np.concatenate([mine, true, left.ravel(), left_true.ravel()])
        return Quality(
            grad_sq=_plain(pairs[0], left_pairs[:, 0]),
            trace=_plain(pairs[1], left_pairs[:, 1]),
            noise_scale=_in_logs(pairs[2], left_pairs[:, 2])
            if np.all(signs > 0)
            else Ratio(value=math.nan, low=math.nan, high=math.nan),
            log_sd=self.log_sd(observations, expected),
            grad_sq_sd=self.grad_sq_sd(observations, expected[0]),
            measurements=self.measurements,
        )


def spread_ratio(ours: Series, theirs: Series, truth: Truth, *, theirs_unbiased: bool) -> Ratio:
    """Returns our standard deviation of the log noise scale over theirs, from equally many observations."""
    expected = np.array([truth.grad_sq, truth.trace])
    for_theirs = expected if theirs_unbiased else None

    def ratio(without: int | None = None) -> float:
        return ours.log_sd(1, expected, without) / theirs.log_sd(1, for_theirs, without)

    return _in_logs(ratio(), np.array([ratio(without=index) for index in range(len(ours._values))]))


def _plain(value: float, left: Array) -> Ratio:
    margin = _margin(left, lambda x: x)
    return Ratio(value=float(value), low=float(value) - margin, high=float(value) + margin)


def _in_logs(value: float, left: Array) -> Ratio:
    if not (value > 0 and np.all(left > 0)):
        return Ratio(value=float(value), low=math.nan, high=math.nan)
    margin = math.exp(_margin(left, np.log))
    return Ratio(value=float(value), low=float(value) / margin, high=float(value) * margin)


def _margin(left: Array, scale: Callable[[Array], Array]) -> float:
    return float(stdtrit(len(left) - 1, 0.975)) * float(jackknife_error(scale(left)))
