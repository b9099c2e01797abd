"""Losses whose gradient and covariance are known at every parameter vector, for `benchmarks.two_noise_scales`."""

from __future__ import annotations

from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GROUPS, B_GROUP = 4, 8
"""Groups of a batch, observations of each."""


class Task(Protocol):
    """A loss of known gradient and covariance. Parameters are [paths, dimension]."""

    def gradient(self, theta: Array) -> Array:
        """Returns the true gradient, as theta."""

    def trace(self, theta: Array) -> Array:
        """Returns the trace of one observation's covariance, [paths]."""

    def groups(self, theta: Array, rng: np.random.Generator) -> Array:
        """Draws group gradients [paths, GROUPS, dimension], each the mean of B_GROUP fresh observations."""

    def at(self, grad_sq: float) -> Array:
        """Returns parameters [dimension] where |G|^2 is about this much; smaller moves them towards the optimum."""


@final
class Quadratic:
    """Loss 1/2 theta^T H theta, normal noise of covariance Sigma; both diagonal."""

    H = np.linspace(0.7, 1.6, 32)
    SIGMA = np.linspace(0.5, 1.5, 32)

    def gradient(self, theta: Array) -> Array:
        """See Task."""
        return self.H * theta

    def trace(self, theta: Array) -> Array:
        """See Task."""
        return np.full(len(theta), self.SIGMA.sum())

    def groups(self, theta: Array, rng: np.random.Generator) -> Array:
        """See Task."""
        noise = rng.standard_normal((len(theta), GROUPS, len(self.H))) * np.sqrt(self.SIGMA / B_GROUP)
        return self.gradient(theta)[:, None] + noise

    def at(self, grad_sq: float) -> Array:
        """See Task."""
        start: Array = np.sqrt(grad_sq / len(self.H)) / self.H
        return start


@final
class Logistic:
    """Logistic regression on a finite population from which observations are drawn with replacement."""

    def __init__(self, points: int = 256, dimension: int = 32) -> None:
        """Draws the population and finds the optimum by Newton's method."""
        rng = np.random.default_rng(0)
        self._x = rng.standard_normal((points, dimension)) * np.linspace(0.8, 1.2, dimension)
        self._y = (rng.random(points) < 1 / (1 + np.exp(-self._x[:, 0]))).astype(np.float64)
        self._optimum = np.zeros((1, dimension))
        for _ in range(20):
            self._optimum = self._optimum - self.gradient(self._optimum) @ np.linalg.inv(self._hessian(self._optimum))

    def _hessian(self, theta: Array) -> Array:
        p = 1 / (1 + np.exp(-theta[0] @ self._x.T))
        hessian: Array = (self._x.T * (p * (1 - p))) @ self._x / len(self._x)
        return hessian

    def _residuals(self, theta: Array) -> Array:
        found: Array = 1 / (1 + np.exp(-theta @ self._x.T)) - self._y
        return found

    def gradient(self, theta: Array) -> Array:
        """See Task."""
        found: Array = self._residuals(theta) @ self._x / len(self._x)
        return found

    def trace(self, theta: Array) -> Array:
        """See Task."""
        own = self._residuals(theta) ** 2 @ (self._x**2).sum(1) / len(self._x)
        found: Array = own - (self.gradient(theta) ** 2).sum(1)
        return found

    def groups(self, theta: Array, rng: np.random.Generator) -> Array:
        """See Task."""
        paths, points = len(theta), len(self._x)
        drawn = rng.integers(points, size=(paths, GROUPS * B_GROUP))
        residuals = np.take_along_axis(self._residuals(theta), drawn, axis=1)
        group = np.arange(paths * GROUPS).repeat(B_GROUP)
        weights = np.bincount(group * points + drawn.ravel(), residuals.ravel(), paths * GROUPS * points)
        return (weights.reshape(-1, points) @ self._x).reshape(paths, GROUPS, -1) / B_GROUP

    def at(self, grad_sq: float) -> Array:
        """See Task."""
        away = np.ones(self._x.shape[1])
        slope = self._hessian(self._optimum) @ away
        found: Array = self._optimum[0] + away * np.sqrt(grad_sq / (slope @ slope))
        return found


TASKS: dict[str, Task] = {"quadratic": Quadratic(), "logistic": Logistic()}
