"""The noise scale as training logs it: an iteration's raw moments, the smoothed scale with its interval, the ladder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

from rlgns.metric_key import OLDER_RUNS, Key
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.moments import Moments, mean_moments
from rlgns.noise.statistic import MeasuredBatch, Statistic
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker


def now_keys(prefix: str, of: str = "") -> tuple[Key, ...]:
    """Returns the keys of how far back a noise scale looks, and of its interval now; `of`: which observations count."""
    scale = f"`{prefix}/scale`"
    return (
        Key(
            name=f"{prefix}/horizon_observations",
            kind=float,
            unit="observations",
            meaning=f"How far back {scale} looks now{of}: age at which a measurement's weight has fallen to 1/e. As "
            "short as drift asks, as long as scatter asks. Where all weigh alike, those measured so far",
            formula="smallest noise + 2 drift ([notes/horizon.md](notes/horizon.md))",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name=f"{prefix}/now",
            kind=float,
            unit="observations",
            meaning=f"Noise scale now; the number is {scale}, the interval is wider",
            formula=f"as {scale}",
            null_when="nothing was measured yet or |G|^2 is not positive",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name=f"{prefix}/now_low",
            kind=float,
            unit="observations",
            meaning="Lower end of the confidence interval of the noise scale now: it allows for drift over the horizon",
            formula="Fieller's interval of the ratio, with the drift's variance added to that of |G|^2",
            null_when="there are not enough measurements",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name=f"{prefix}/now_high",
            kind=float,
            unit="observations",
            meaning="Upper end of the confidence interval of the noise scale now",
            formula="as the lower end",
            null_when=f"only a lower bound is known, there are not enough measurements or `{prefix}/outlier_share` is "
            "above 0.5",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name=f"{prefix}/outlier_share",
            kind=float,
            unit="fraction",
            meaning=f"Share of |G|^2 in {scale} from batches whose squared gradient is more than 4 times the mean "
            "before. Above 0.5 the noise scale now may be several times larger, and only its lower end is given "
            "([notes/outliers.md](notes/outliers.md))",
            null_when="nothing was measured yet or |G|^2 is not positive",
            absent_from=OLDER_RUNS,
        ),
    )


def scale_entries(prefix: str, estimate: NoiseScaleEstimate) -> dict[str, Any]:
    """Returns the entries of a row about a smoothed noise scale; `prefix` as in `noise/scale`."""
    return {
        f"{prefix}/scale": estimate.noise_scale,
        f"{prefix}/scale_low": estimate.low,
        f"{prefix}/scale_high": estimate.high,
        f"{prefix}/resolved": estimate.resolved,
        f"{prefix}/horizon_observations": estimate.horizon_observations,
        f"{prefix}/now": estimate.noise_scale,
        f"{prefix}/now_low": estimate.now_low,
        f"{prefix}/now_high": estimate.now_high,
        f"{prefix}/outlier_share": estimate.outlier_share,
    }


def known_entries(estimate: NoiseScaleEstimate, overhead_fraction: float) -> dict[str, Any]:
    """Returns what is known of a noise scale for a logger; `overhead_fraction` is NaN without a budget."""
    entries = {
        **scale_entries("noise", estimate),
        "noise/updates": estimate.updates,
        "noise/skipped": estimate.skipped,
        "noise/overhead_fraction": overhead_fraction,
    }
    return {name: value for name, value in entries.items() if not isinstance(value, float) or math.isfinite(value)}


class SmoothedScale(Statistic):
    """A noise scale, smoothed, beside the iteration's raw moments; a subclass chooses the batches that count."""

    prefix: ClassVar[str]
    """Of the entries of a row."""

    def __init__(self, horizon_observations: float | None, level: float, *, follows_run: bool) -> None:
        """Starts empty; arguments as in NoiseScaleTracker."""
        self.tracker = NoiseScaleTracker(horizon_observations, level, follows_run=follows_run)
        self._latest: list[Moments] = []  # of this iteration
        self._smoothed: NoiseScaleEstimate | None = None

    def add(self, batch: MeasuredBatch) -> None:
        """Adds a batch that counts."""
        self._latest.append(batch.moments)
        if batch.relative is not None:
            self.tracker.update(batch.relative)

    def restart(self) -> None:
        """Forgets all sums; the iteration's raw moments stay."""
        self.tracker.restart()
        self._smoothed = None

    def smoothed(self, *, refresh: bool) -> NoiseScaleEstimate:
        """Returns the smoothed noise scale; without `refresh`, and unless sums started again, that of the last call."""
        if refresh or self._smoothed is None:
            self._smoothed = self.tracker.estimate()
        return self._smoothed

    def entries(self, estimate: NoiseScaleEstimate) -> dict[str, Any]:
        """Ends an iteration: returns the raw moments of its batches and the smoothed noise scale."""
        latest = mean_moments(self._latest) if self._latest else None
        self._latest = []
        return {
            f"{self.prefix}/grad_sq": latest.grad_sq if latest else None,
            f"{self.prefix}/trace": latest.trace if latest else None,
            **scale_entries(self.prefix, estimate),
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns the tracker's state."""
        return self.tracker.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.tracker.load_state_dict(state)
        self._smoothed = None


@final
class NoiseScaleStatistic(SmoothedScale):
    """The noise scale and its ladder, smoothed, beside the iteration's raw moments; batches split by environment."""

    prefix = "noise"
    keys: ClassVar = (
        Key(
            name="noise/grad_sq",
            kind=float,
            unit="squared norm",
            meaning="This iteration's unbiased estimate of |G|^2, the squared norm of the true gradient; may be "
            "negative",
            formula="(M |g_mean|^2 - mean_k |g_k|^2) / (M - 1) over M groups, mean over batches",
            source="[M] A.1",
            null_when="nothing was measured",
        ),
        Key(
            name="noise/trace",
            kind=float,
            unit="squared norm",
            meaning="This iteration's unbiased estimate of tr(Sigma) per observation, with whole environments as the "
            "independent units; may be negative",
            formula="b M (mean_k |g_k|^2 - |g_mean|^2) / (M - 1), b observations per group",
            source="[M] A.1",
            null_when="nothing was measured",
        ),
        Key(
            name="noise/scale",
            kind=float,
            unit="observations",
            meaning="Noise scale B_simple, mean of the last `noise/horizon_observations`, along the optimizer steps of "
            "the first epoch. With rollouts below 1,024 observations computed once in 4,096. At the parameters that "
            "played it is `noise/at_rollout/scale`",
            formula="`noise/trace` / `noise/grad_sq`, both divided by the gradients' recent size and smoothed alike "
            "([measurement.md](measurement.md))",
            source="[M] eq. 2.9",
            null_when="nothing was measured yet or |G|^2 is not positive",
        ),
        Key(
            name="noise/scale_low",
            kind=float,
            unit="observations",
            meaning="Lower end of that mean's confidence interval, at the level `noise.level`",
            formula="Fieller's interval of the ratio",
            null_when="there are not enough measurements",
        ),
        Key(
            name="noise/scale_high",
            kind=float,
            unit="observations",
            meaning="Upper end of that mean's confidence interval",
            formula="Fieller's interval of the ratio",
            null_when="only a lower bound is known or there are not enough measurements",
        ),
        Key(
            name="noise/resolved",
            kind=bool,
            unit="yes or no",
            meaning="Whether |G|^2 is distinguishable from 0, so that the interval has two ends",
        ),
        *now_keys("noise"),
        Key(
            name="noise/updates",
            kind=int,
            unit="measurements",
            meaning="Measurements so far, one per batch of a first epoch",
        ),
        Key(
            name="noise/skipped",
            kind=int,
            unit="measurements",
            meaning="Measurements left out so far because a gradient was NaN or infinite. Anything but 0 means that "
            "training is in trouble",
        ),
        Key(
            name="noise/ladder",
            kind=list,
            unit="observations, squared norm",
            meaning="Squared norm of the mean gradient of so many observations, smoothed as `noise/scale` is and "
            "scaled to the gradients' present size. Empty where nothing was measured",
            formula="groups merged pairwise; E|g_B|^2 = |G|^2 + tr(Sigma) / B",
            source="[M] A.1",
            entry_fields=("batch_observations", "grad_sq_norm"),
        ),
    )

    def __init__(
        self, size: GradientSize, horizon_observations: float | None, level: float, *, follows_run: bool
    ) -> None:
        """Starts empty; `size` is what batches are divided by, the rest as in NoiseScaleTracker."""
        super().__init__(horizon_observations, level, follows_run=follows_run)
        self._size = size
        self._rungs: set[int] = set()  # batch sizes of the newest batch's ladder

    def update(self, batch: MeasuredBatch) -> None:
        """Adds one batch split by environment; of a shuffled one only its batch sizes are noted."""
        self._rungs = {rung.batch_observations for rung in batch.moments.ladder}
        if not batch.shuffled:
            self.add(batch)

    def row(self, *, refresh: bool = True) -> dict[str, Any]:
        """Ends an iteration: returns the raw moments of its batches, and the smoothed noise scale and ladder."""
        estimate = self.smoothed(refresh=refresh).scaled(self._size.value or 0.0)
        return self.entries(estimate) | {
            "noise/updates": estimate.updates,
            "noise/skipped": estimate.skipped,
            "noise/ladder": [
                {"batch_observations": rung.batch_observations, "grad_sq_norm": rung.grad_sq_norm}
                for rung in estimate.ladder
                if rung.batch_observations in self._rungs or not self._rungs  # an adaptive batch leaves sizes behind
            ],
        }
