"""The noise scale for any torch loop: one backward pass per part of the batch instead of one for the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
import torch.distributed as dist

from rlgns.noise.distributed import Ranks, RankShare
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.moments import Moments, moments_from_sums
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker

ELEMENTS_PER_CHUNK = 1 << 20
"""Elements widened to float64 at a time."""


@dataclass(kw_only=True, slots=True)
class _Step:
    """The state of one step. Gradients in `group` and `total` are sums weighted by observations."""

    parts_per_group: int
    observations_per_part: float | None
    group: dict[torch.nn.Parameter, torch.Tensor] = field(default_factory=dict)
    total: dict[torch.nn.Parameter, torch.Tensor] = field(default_factory=dict)
    parts: int = 0
    scaler: torch.amp.GradScaler | None = None
    group_observations: float = 0.0
    observations: list[float] = field(default_factory=list)
    # Per group, on the parameters' device so that no step waits for it: |sum|^2, and <sum, sums of the groups before>.
    squares: list[torch.Tensor] = field(default_factory=list)
    crosses: list[torch.Tensor] = field(default_factory=list)


@final
class NoiseScaleMonitor:
    """Measures the noise scale of a model's gradient while it trains.

    The recipe, in place of `optimizer.zero_grad(); loss(batch).backward(); optimizer.step()`:

        monitor = NoiseScaleMonitor(model, groups=8)
        with monitor.step(observations=len(batch)):
            for part in split(batch, 8): monitor.backward(loss(part))
        optimizer.step(); monitor.estimate()

    The parts must be independent of each other, and each loss the mean over its part. Observations that belong together
    (steps of one environment, windows of one document) belong in one part. For parts of different sizes give
    `backward(loss, observations=...)`. After the block every `p.grad` is the mean over the batch, as one backward pass
    would have left it; earlier gradients are dropped. Memory: two more gradients, whatever the number of groups.

    With gradient accumulation every micro-batch is a part: `step(parts=32)` joins 32 of them into `groups` groups.

    Every step's moments are divided by the gradients' size in the steps before, and the estimate looks back as far as
    the run allows: as short as its drift asks, as long as its scatter asks. So it describes the model as it is now,
    within `now_low` and `now_high`, whatever gradients were before. The first step only sets the size.

    Under DistributedDataParallel pass the wrapped model and run the same code on every rank: each contributes its own
    batch's groups and observations, and after the block every rank holds the mean gradient over all ranks and the same
    estimate. Gradients are summed once per step, not during the backward pass (rlgns/noise/distributed.py).
    """

    def __init__(
        self,
        model: torch.nn.Module,
        groups: int = 8,
        horizon_observations: float | None = None,
        level: float = 0.95,
        process_group: dist.ProcessGroup | None = None,
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

        Raises:
            ValueError: fewer than two groups, a horizon that is not positive, a level outside (0, 1), a model wrapped
                with a static graph.
        """
        self._ranks = Ranks(model, process_group)
        if groups < 1 or groups * self._ranks.count < 2:
            raise ValueError(f"the noise scale needs at least 2 groups, got {groups}")
        self._model = model
        self._groups = groups
        self._size = GradientSize()
        self._tracker = NoiseScaleTracker(horizon_observations, level, follows_run=True)
        self._step: _Step | None = None
        self.moments: Moments | None = None
        """Moments of the last step; None before the first, or where it had fewer than two whole groups."""

    @contextmanager
    def step(self, observations: float | None = None, parts: int | None = None) -> Iterator[None]:
        """Returns the context for the backward passes of one optimizer step.

        Args:
            observations: in the whole step of this process, equally many in each part. None: give each `backward` its
                own; with neither, a part counts as one observation, and the noise scale is in parts.
            parts: backward passes in this step, a multiple of `groups`; None: as many as groups.

        Yields:
            Nothing.

        Raises:
            ValueError: parts that cannot be joined into groups, or no observations.
            RuntimeError: a step inside a step, or ranks with different models or loss scales.
        """
        if self._step is not None:
            raise RuntimeError("monitor.step() was entered inside another step")
        parts = self._groups if parts is None else parts
        if parts < self._groups or parts % self._groups:
            raise ValueError(f"parts must be a multiple of the {self._groups} groups, got {parts}")
        if observations is not None and observations <= 0:
            raise ValueError(f"observations must be positive, got {observations}")
        share = None if observations is None else observations / parts
        self._step = step = _Step(parts_per_group=parts // self._groups, observations_per_part=share)
        for parameter in self._model.parameters():
            parameter.grad = None
        try:
            with self._ranks.apart():
                yield
            self._finish(step)
        finally:
            self._step = None

    def backward(
        self, loss: torch.Tensor, observations: float | None = None, scaler: torch.amp.GradScaler | None = None
    ) -> None:
        """Runs the backward pass of one part's mean loss.

        Args:
            loss: scalar, the mean over the part.
            observations: in this part; None if `step` was given them.
            scaler: of automatic mixed precision. Gradients stay scaled for `scaler.step`; moments are unscaled.

        Raises:
            RuntimeError: outside a step, or after its last part.
            ValueError: observations that are not positive or were also given to `step`, or a sparse gradient.
        """
        step = self._step
        if step is None:
            raise RuntimeError("monitor.backward() belongs inside `with monitor.step():`")
        if step.parts == self._groups * step.parts_per_group:
            raise RuntimeError(f"this step has had all its {step.parts} parts: for more, set step(parts=...)")
        if observations is not None and (observations <= 0 or step.observations_per_part is not None):
            raise ValueError(
                f"observations must be positive and given once, to step or to backward, got {observations}"
            )
        weight = float(observations or step.observations_per_part or 1.0)
        (loss if scaler is None else scaler.scale(loss)).backward()
        step.scaler = scaler
        step.parts += 1
        step.group_observations += weight
        for parameter in self._model.parameters():
            gradient, parameter.grad = parameter.grad, None
            if gradient is not None:
                if gradient.is_sparse:
                    raise ValueError("sparse gradients cannot be measured: use sparse=False")
                # Half precision would overflow in the sum.
                wide = torch.promote_types(gradient.dtype, torch.float32)
                weighted = gradient.detach().to(wide) * weight
                before = step.group.get(parameter)
                step.group[parameter] = weighted if before is None else before.add_(weighted)
        if step.parts % step.parts_per_group == 0:
            _close_group(step)

    def estimate(self, level: float | None = None) -> NoiseScaleEstimate:
        """Returns the noise scale as of now, its moments scaled to the gradients' present size."""
        return self._tracker.estimate(level).scaled(self._size.value or 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Returns what was measured, as plain Python numbers and lists."""
        return {**self._tracker.state_dict(), "size": self._size.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned. An older version's holds until the next step, then sums start anew."""
        self._tracker.load_state_dict(state)
        self._size = GradientSize()
        if "size" in state:
            self._size.load_state_dict(state["size"])

    def _finish(self, step: _Step) -> None:
        """Leaves the mean gradient in the model and adds the moments to the tracker."""
        complete = step.group_observations == 0
        if not complete:
            _close_group(step)
        parameters = list(self._model.parameters())
        share = RankShare(
            observations=step.observations,
            squares=[float(square) for square in step.squares],
            complete=complete,
            scale=_scale(step),
            has_gradient=[parameter in step.total for parameter in parameters],
        )
        shares = self._ranks.gather(share)
        observations = [n for s in shares for n in s.observations]
        squares = [square for s in shares for square in s.squares]
        used = [p for p, *has in zip(parameters, *(s.has_gradient for s in shares), strict=True) if any(has)]
        self._ranks.add_up(step.total, used)
        self.moments = None
        if len(observations) >= 2 and all(s.complete for s in shares):
            scale = next(s.scale for s in shares if s.scale is not None)
            cross = _cross(step, squares, alone=len(shares) == 1)
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
        for parameter in used:
            parameter.grad = (step.total[parameter] / sum(observations)).to(parameter.dtype)


def _scale(step: _Step) -> float | None:
    """The loss scale of this process's backward passes; None where there were none."""
    if not step.parts:
        return None
    return 1.0 if step.scaler is None else float(step.scaler.get_scale())


def _cross(step: _Step, squares: list[float], *, alone: bool) -> float:
    """Sum over pairs of different groups of their sums' inner product; NaN where a gradient was not finite."""
    if alone:  # group by group: no difference of two large numbers
        terms = [2 * float(cross) for cross in step.crosses]
    else:
        terms = [float(_inner(total, total)) for total in step.total.values()] + [-square for square in squares]
    return math.fsum(terms) if all(map(math.isfinite, terms)) else math.nan


def _close_group(step: _Step) -> None:
    """Adds the complete group to the step's total, after its squared norm and its inner product with the total."""
    device = next(iter(step.group.values())).device if step.group else torch.device("cpu")
    square = torch.zeros((), dtype=torch.float64, device=device)
    cross = torch.zeros((), dtype=torch.float64, device=device)
    for parameter, gradient in step.group.items():
        square += _inner(gradient, gradient).to(device)
        total = step.total.get(parameter)
        if total is None:
            step.total[parameter] = gradient
        else:
            cross += _inner(gradient, total).to(device)
            total.add_(gradient)
    step.squares.append(square)
    step.crosses.append(cross)
    step.observations.append(step.group_observations)
    step.group = {}
    step.group_observations = 0.0


def _inner(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Inner product in float64 without a float64 copy of the whole."""
    total = torch.zeros((), dtype=torch.float64, device=left.device)
    pairs = zip(left.flatten().split(ELEMENTS_PER_CHUNK), right.flatten().split(ELEMENTS_PER_CHUNK), strict=True)
    for a, b in pairs:
        total += torch.dot(a.to(torch.float64), b.to(torch.float64))
    return total
