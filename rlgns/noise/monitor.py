"""The noise scale for any torch loop: one backward pass per part of the batch instead of one for the whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor

from rlgns.noise.clusters import ClusterIds, cluster_means, split_by_cluster
from rlgns.noise.distributed import Ranks, RankShare
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.group_sums import GroupSums, sum_of_products
from rlgns.noise.moments import Moments, moments_from_sums
from rlgns.noise.monitor_step import MonitorStep
from rlgns.noise.noise_scale import known_entries
from rlgns.noise.sharding import synchronize
from rlgns.noise.step_pace import StepPace
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker


@final
class NoiseScaleMonitor:
    """Measures the noise scale of a model's gradient while it trains.

    The recipe, in place of `optimizer.zero_grad(); loss(batch).backward(); optimizer.step()`:

        monitor = NoiseScaleMonitor(model, groups=8)
        with monitor.step(observations=len(batch)):
            for part in split(batch, monitor.parts): monitor.backward(loss(part))
        optimizer.step(); monitor.estimate()

    The parts must be independent of each other, and each loss the mean over its part. Observations that belong together
    (steps of one environment, windows of one document) belong in one part: `split` and `backward(cluster_ids=...)` see
    to it. For parts of different sizes give `backward(loss, observations=...)`. After the block every `p.grad` is the
    mean over the batch, as one backward pass would have left it; earlier gradients are dropped. Memory: two more
    gradients, whatever the number of groups.

    Where only some steps are measured (`every`, `overhead`), `parts` is 1 on the others: one plain backward pass.
    With gradient accumulation every micro-batch is a part: `step(parts=32)` joins 32 of them into `groups` groups.

    Every step's moments are divided by the gradients' size in the steps before, and the estimate looks back as far as
    the run allows: as short as its drift asks, as long as its scatter asks. So it describes the model as it is now,
    within `now_low` and `now_high`, whatever gradients were before. The first measured step only sets the size.

    Under DistributedDataParallel pass the wrapped model and run the same code on every rank: each contributes its own
    batch's groups and observations, and after the block every rank holds the mean gradient over all ranks and the same
    estimate. Gradients are summed once per step, not during the backward pass (rlgns/noise/distributed.py). Of a model
    sharded by `fully_shard` a group is that of all ranks together (rlgns/noise/sharding.py).
    """

    def __init__(
        self,
        model: torch.nn.Module,
        groups: int = 8,
        horizon_observations: float | None = None,
        level: float = 0.95,
        process_group: dist.ProcessGroup | None = None,
        *,
        backward: Callable[[Tensor], Any] | None = None,
        every: int | None = None,
        overhead: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Attaches to a model without changing it.

        Args:
            model: its trainable parameters are measured; under DistributedDataParallel pass the wrapped model.
            groups: independent groups per step, of this process.
            horizon_observations: longest horizon: observations, of all ranks together, after which a weight has fallen
                to 1/e; None: no limit.
            level: confidence of the intervals.
            process_group: ranks whose gradients the monitor averages, for a model that is not wrapped; nothing else may
                average them.
            backward: called with a loss in place of `loss.backward()`, for libraries that have their own
                (`accelerator.backward`); it must leave this process's own gradient in `p.grad`.
            every: measures every so many steps; None: every step, or as `overhead` says.
            overhead: largest share of the time for measuring, such as 0.01; None: no limit.
            clock: returns the seconds that the share is reckoned in.

        Raises:
            ValueError: fewer than two groups, a horizon that is not positive, a level outside (0, 1), a model wrapped
                with a static graph or sharded otherwise than by `fully_shard` over one dimension, every and overhead
                together or out of range.
        """
        self._ranks = Ranks(model, process_group)
        if groups < 1 or groups * self._ranks.count < 2:
            raise ValueError(f"the noise scale needs at least 2 groups, got {groups}")
        self._model, self._groups, self._run_backward = model, groups, backward
        self._size = GradientSize()
        self._tracker = NoiseScaleTracker(horizon_observations, level, follows_run=True)
        self._pace = StepPace(every, overhead, clock)
        self._step: MonitorStep | None = None
        self.moments: Moments | None = None
        """Moments of the last step; None before the first, or where it was not measured or had too few groups."""

    @property
    def parts(self) -> int:
        """Backward passes that this step needs, or between steps the next one: `groups`, or 1 if it is not measured."""
        return self._groups if self._pace.measures else 1

    def split(self, cluster_ids: ClusterIds) -> list[Tensor]:
        """Returns the observations of each part of this step, whole clusters together.

            with monitor.step():
                for rows in monitor.split(document_ids):
                    monitor.backward(loss(batch[rows]), observations=len(rows))

        Args:
            cluster_ids: [n], one id per observation of the batch: its document, prompt, episode.

        Returns:
            Per part, int64 indices, ascending; one part of all where the step is not measured.

        Raises:
            ValueError: no observations.
        """
        return split_by_cluster(cluster_ids, self.parts)

    @contextmanager
    def step(self, observations: float | None = None, parts: int | None = None) -> Iterator[None]:
        """Returns the context for the backward passes of one optimizer step.

        Args:
            observations: in the whole step of this process, equally many in each part. None: give each `backward` its
                own; with neither, a part counts as one observation, and the noise scale is in parts.
            parts: backward passes in this step, a multiple of `groups`; None: as many as groups. A step that is not
                measured takes any number.

        Yields:
            Nothing.

        Raises:
            ValueError: parts that cannot be joined into groups, or no observations.
            RuntimeError: a step inside a step, or ranks with different models, loss scales or shards.
        """
        if self._step is not None:
            raise RuntimeError("monitor.step() was entered inside another step")
        measured = self._pace.measures
        parts = self._groups if parts is None or not measured else parts
        if parts < self._groups or parts % self._groups:
            raise ValueError(f"parts must be a multiple of the {self._groups} groups, got {parts}")
        if observations is not None and observations <= 0:
            raise ValueError(f"observations must be positive, got {observations}")
        self._step = step = MonitorStep(observations=observations, parts=parts, groups=self._groups, measured=measured)
        for parameter in self._model.parameters():
            parameter.grad = None
        self._wait_for_device()
        self._pace.begin()
        try:
            with self._ranks.apart():
                yield
            self._finish(step)
        finally:
            self._step = None
        self._wait_for_device()
        self._pace.end(self._ranks.largest)

    def backward(
        self,
        loss: Tensor | Sequence[Tensor],
        observations: float | Sequence[float] | None = None,
        scaler: torch.amp.GradScaler | None = None,
        cluster_ids: ClusterIds | None = None,
    ) -> None:
        """Runs the backward pass of one part's mean loss, or of all parts of a step whose clusters are given.

        Args:
            loss: scalar, the mean over the part; with `cluster_ids` the losses of the batch's observations, [n] or a
                list of scalars. Those of one forward pass are then traversed once per group in measured steps.
            observations: in this part; None if `step` was given them. With `cluster_ids`: how many each loss stands
                for, [n]; None: one.
            scaler: of automatic mixed precision. Gradients stay scaled for `scaler.step`; moments are unscaled.
            cluster_ids: [n], which losses belong together; groups are of whole clusters.

        Raises:
            RuntimeError: outside a step, or after its last part.
            ValueError: observations that are not positive or were also given to `step`, a sparse gradient, or ids that
                do not match the losses or are of fewer than two clusters.
        """
        step = self._step
        if step is None:
            raise RuntimeError("monitor.backward() belongs inside `with monitor.step():`")
        if cluster_ids is None:
            if not isinstance(loss, Tensor) or isinstance(observations, Sequence):
                raise ValueError("a list of losses or of observations needs cluster_ids")
            step.check_room()
            self._backward_part(step, loss, step.weight(observations), scaler)
            return
        if step.sums.parts_per_group == 1 or not step.measured:
            means = cluster_means(loss, cluster_ids, observations, self.parts)
        else:
            raise ValueError("cluster_ids make the groups themselves: leave out step(parts=...)")
        if step.measured and len(means) * self._ranks.count < 2:
            raise ValueError("cluster_ids must name at least 2 clusters, got 1: clusters are the independent units")
        for number, (mean, count) in enumerate(means, start=1):
            self._backward_part(step, mean, step.weight(count), scaler, again=number < len(means))

    def _backward_part(
        self, step: MonitorStep, loss: Tensor, weight: float, scaler: torch.amp.GradScaler | None, again: bool = False
    ) -> None:
        """Runs one backward pass and takes its gradients, where the step needs them apart."""
        if step.measured or self._ranks.count > 1:
            self._run(loss, scaler, again=again)
            step.sums.take(self._model, weight * self._ranks.weight)
        else:
            self._run(loss * step.relative(weight) if step.parts else loss, scaler, again=again)
        step.count(weight, scaler)

    def _run(self, loss: Tensor, scaler: torch.amp.GradScaler | None, *, again: bool) -> None:
        """One backward pass; `again`: its graph is needed once more."""
        options = {"retain_graph": True} if again else {}
        if self._run_backward is not None:
            self._run_backward(loss, **options)
        else:
            (loss if scaler is None else scaler.scale(loss)).backward(**options)

    def estimate(self, level: float | None = None) -> NoiseScaleEstimate:
        """Returns the noise scale as of now, its moments scaled to the gradients' present size."""
        return self._tracker.estimate(level).scaled(self._size.value or 1.0)

    def as_dict(self) -> dict[str, Any]:
        """Returns the known numbers for a logger, named as in docs/metrics.md: noise/scale, noise/now_low, ..."""
        return known_entries(self.estimate(), self._pace.overhead_fraction)

    def state_dict(self) -> dict[str, Any]:
        """Returns what was measured, as plain Python numbers and lists."""
        return {**self._tracker.state_dict(), "size": self._size.state_dict(), "pace": self._pace.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned. An older version's holds until the next step, then sums start again."""
        self._tracker.load_state_dict(state)
        self._size = GradientSize()
        if "size" in state:
            self._size.load_state_dict(state["size"])
        if "pace" in state:
            self._pace.load_state_dict(state["pace"])

    def _wait_for_device(self) -> None:
        if self._pace.times_exactly:
            synchronize(self._model)

    def _finish(self, step: MonitorStep) -> None:
        """Leaves the mean gradient in the model and adds the moments to the tracker."""
        self.moments = None
        if not step.measured and self._ranks.count == 1:
            step.leave_mean(self._model)
            return
        complete, sums = step.close(), step.sums
        parameters = list(self._model.parameters())
        squares, crosses = self._ranks.whole(sums)
        share = RankShare(
            observations=sums.observations,
            squares=squares,
            complete=complete,
            scale=step.scale,
            has_gradient=[parameter in sums.total for parameter in parameters],
        )
        shares = self._ranks.gather(share)
        observations = [n for s in shares for n in s.observations]
        used = [p for p, *has in zip(parameters, *(s.has_gradient for s in shares), strict=True) if any(has)]
        self._ranks.add_up(sums.total, used)
        if step.measured and len(observations) >= 2 and all(s.complete for s in shares):
            self._count(sums, observations, shares, crosses)
        for parameter in used:
            parameter.grad = (sums.total[parameter] / sum(observations)).to(parameter.dtype)

    def _count(self, sums: GroupSums, observations: list[float], shares: list[RankShare], crosses: list[float]) -> None:
        """Adds the moments of all ranks' groups to the tracker."""
        squares = [square for s in shares for square in s.squares]
        scale = next(s.scale for s in shares if s.scale is not None)
        cross = sum_of_products(sums.total, squares, crosses if len(shares) == 1 else None)
        self.moments = moments_from_sums(
            observations=observations,
            squared_norms=[square / (n * scale) ** 2 for square, n in zip(squares, observations, strict=True)],
            off_diagonal=cross / scale**2,
        )
        relative = self._size.divide(self.moments)
        if relative is None:
            self._tracker.restart()
        else:
            self._tracker.update(relative)
