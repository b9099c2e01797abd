"""The gradient noise scale: unbiased moments, their ratio over time, an interval that holds.

In any torch loop:

    monitor = NoiseScaleMonitor(model, groups=8)
    with monitor.step(observations=len(batch)):                       # before: optimizer.zero_grad(); loss.backward()
        for part in split(batch, 8): monitor.backward(loss(part))     # p.grad ends up the mean, as before
    optimizer.step(); print(monitor.estimate())

Nothing here knows of Ray, files or environments.
"""

from rlgns.noise.design_effect import DesignEffectTracker, design_effect, shuffled_noise_scale
from rlgns.noise.gradient_size import GradientSize, scaled
from rlgns.noise.interval import RatioInterval, fieller
from rlgns.noise.ladder import LadderFit, Rung, fit_ladder
from rlgns.noise.moments import Moments, gram, group_moments, mean_moments, moments_from_gram, moments_from_sums
from rlgns.noise.monitor import NoiseScaleMonitor
from rlgns.noise.noise_dimension import covariance_traces, noise_dimension, updates_to_resolve
from rlgns.noise.time_ladder import TimeLadder, TimeLadderTracker, TimeRung, time_ladder
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker

__all__ = [
    "DesignEffectTracker",
    "GradientSize",
    "LadderFit",
    "Moments",
    "NoiseScaleEstimate",
    "NoiseScaleMonitor",
    "NoiseScaleTracker",
    "RatioInterval",
    "Rung",
    "TimeLadder",
    "TimeLadderTracker",
    "TimeRung",
    "covariance_traces",
    "design_effect",
    "fieller",
    "fit_ladder",
    "gram",
    "group_moments",
    "mean_moments",
    "moments_from_gram",
    "moments_from_sums",
    "noise_dimension",
    "scaled",
    "shuffled_noise_scale",
    "time_ladder",
    "updates_to_resolve",
]
