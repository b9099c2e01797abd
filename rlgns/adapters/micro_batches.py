r"""The moments of a step from the micro-batches that a host accumulates: no pass of their own, no gradient kept.

Of micro-batch k the host adds s_k = c_k g_k to `p.grad`: g_k the gradient of its mean loss, c_k its share. A hook on
each parameter sees s_k before it is added, before clipping, and before DistributedDataParallel averages. At that moment
`p.grad` is the sum of the micro-batches before. So

    |s_k|^2    and    sum_{j < k} <s_j, s_k> = <s_k, p.grad>

need no further memory. Over R processes, `p.grad` after the averaging is the mean of their sums S_r, and

    sum_{j != k} <s_j, s_k> = |R p.grad|^2 - sum_k |s_k|^2        over all micro-batches of all processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rlgns.gram import inner
from rlgns.noise.moments import Moments, moments_from_sums

SPARSE = "sparse gradients cannot be measured: use sparse=False"
TWICE = "a parameter got its gradient in several parts: use checkpointing with use_reentrant=False"


Products = dict[torch.device, tuple[Tensor, Tensor]]
"""Of one micro-batch, per device: |s_k|^2 and <s_k, p.grad>, on the device so that no pass waits for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepShare:
    """What one process knows of a step, sent to the others."""

    squares: tuple[float, ...]
    """Per micro-batch, |s_k|^2."""
    shares: tuple[float, ...]
    """Per micro-batch, c_k up to a factor that all processes share."""
    observations: float
    """In all its micro-batches."""
    problem: str = ""
    """Why the step cannot be measured; empty where it can."""


@final
class MicroBatches:
    """Watches one step's backward passes after another. Gradients are as without it, bit for bit."""

    def __init__(self, model: nn.Module, clock: Callable[[], float] = time.perf_counter) -> None:
        """Attaches to a model without changing it.

        Args:
            model: Its trainable parameters are measured; under DistributedDataParallel the wrapped model.
            clock: Returns seconds.
        """
        self._model, self._clock = model, clock
        self._group, self.processes = processes_of(model)
        self.seconds = 0.0
        """Spent on measuring this step."""
        self.start()

    def start(self) -> None:
        """Begins a step: forgets the last one."""
        self._products: list[Products] = []
        self._shares: list[float] = []
        self._observations, self._problem = 0.0, ""
        self.seconds = 0.0

    @property
    def count(self) -> int:
        """Micro-batches of this step so far, of this process."""
        return len(self._products)

    @contextmanager
    def micro_batch(self) -> Iterator[None]:
        """Watches the backward pass of one micro-batch.

        Yields:
            Nothing.
        """
        first, seen = not self._products, set[int]()
        products: Products = {}

        def watch(parameter: nn.Parameter) -> Callable[[Tensor], None]:
            def hook(gradient: Tensor) -> None:
                began = self._clock()
                with torch.no_grad():
                    self._add(parameter, gradient, products, first=first, again=id(parameter) in seen)
                seen.add(id(parameter))
                self.seconds += self._clock() - began

            return hook

        began = self._clock()
        hooks = [p.register_hook(watch(p)) for p in self._model.parameters() if p.requires_grad]
        self.seconds += self._clock() - began
        try:
            yield
        finally:
            began = self._clock()
            for handle in hooks:
                handle.remove()
            self.seconds += self._clock() - began
        self._products.append(products)

    def close(self, *, share: float, observations: float) -> None:
        """Ends a micro-batch, after `micro_batch`; `share`: c_k up to a factor, `observations`: how many it had."""
        self._shares.append(share)
        self._observations += observations

    def _add(
        self,
        parameter: nn.Parameter,
        gradient: Tensor,
        products: Products,
        *,
        first: bool,
        again: bool,
    ) -> None:
        if gradient.is_sparse or again:
            self._problem = SPARSE if gradient.is_sparse else TWICE
            return
        nothing = torch.zeros((), dtype=torch.float64, device=gradient.device)
        square, cross = products.get(gradient.device, (nothing, nothing))
        before = None if first else parameter.grad
        cross = cross if before is None else cross + inner(gradient, before)
        products[gradient.device] = square + inner(gradient, gradient), cross

    def finish(
        self, *, scale: float = 1.0, averaged_scale: float | None = None, equal: bool
    ) -> tuple[Moments | None, StepShare]:
        """Ends the step, after the host's averaging and before its clipping; every process calls it.

        Args:
            scale: Of the loss, by a GradScaler.
            averaged_scale: That `p.grad` still has; None: the same.
            equal: Whether every micro-batch has the share 1 / micro-batches whatever its size; else shares are
                proportional to observations.

        Returns:
            Moments, None with fewer than two micro-batches; and the share of the whole step.
        """
        squares, crosses = (
            [sum(float(pair[which]) for pair in products.values()) for products in self._products] for which in (0, 1)
        )
        mine = StepShare(
            squares=tuple(square / scale**2 for square in squares),
            shares=tuple(self._shares),
            observations=self._observations,
            problem=self._problem,
        )
        whole = mine if self.processes == 1 else _joined(self._gathered(mine))
        if whole.problem or len(whole.squares) < 2:
            return None, whole
        if self.processes == 1:
            cross = 2 * sum(crosses) / scale**2
        else:
            averaged = scale if averaged_scale is None else averaged_scale
            total = sum(float(inner(p.grad, p.grad)) for p in self._model.parameters() if p.grad is not None)
            cross = total * (self.processes / averaged) ** 2 - sum(whole.squares)
        return _moments(whole, cross, self.processes, equal=equal), whole

    def _gathered(self, mine: StepShare) -> list[StepShare]:
        found: list[Any] = [None] * self.processes
        dist.all_gather_object(found, mine, group=self._group)
        return found


def processes_of(model: nn.Module) -> tuple[Any, int]:
    """Returns the process group of a DistributedDataParallel in the model, and its size; None and 1 without one."""
    ddp = next((module for module in model.modules() if isinstance(module, DistributedDataParallel)), None)
    return (None, 1) if ddp is None else (ddp.process_group, dist.get_world_size(ddp.process_group))


def largest(model: nn.Module, number: int) -> int:
    """Returns the largest of the numbers that the processes of `processes_of` give; all must call it."""
    group, processes = processes_of(model)
    if processes == 1:
        return number
    found: list[Any] = [None] * processes
    dist.all_gather_object(found, number, group=group)
    return max(found)


def _joined(processes: Sequence[StepShare]) -> StepShare:
    return StepShare(
        squares=tuple(square for process in processes for square in process.squares),
        shares=tuple(share for process in processes for share in process.shares),
        observations=sum(process.observations for process in processes),
        problem=next((process.problem for process in processes if process.problem), ""),
    )


def _moments(step: StepShare, cross: float, processes: int, *, equal: bool) -> Moments:
    """Moments from |s_k|^2 and the sum over pairs j != k of <s_j, s_k>; the mean gradient is sum s_k / processes.

    Where micro-batches of n_k observations have equal shares, E|g_k|^2 = |G|^2 + tr(Sigma) / n_k, so that the mean over
    k is that of groups as large as the harmonic mean of n_k. `shares` are then n_k.
    """
    count = len(step.squares)
    if equal:
        size = count / sum(1 / share for share in step.shares)
        sizes = [size] * count
    else:
        sizes = [share * step.observations / sum(step.shares) for share in step.shares]
    factor = sum(sizes) / processes  # n_k g_k = factor s_k
    return moments_from_sums(
        observations=sizes,
        squared_norms=[square * (factor / n) ** 2 for square, n in zip(step.squares, sizes, strict=True)],
        off_diagonal=cross * factor**2,
    )
