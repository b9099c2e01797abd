"""The noise scale of a model that another library trains step by step: from its micro-batches, else an extra pass."""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rlgns.adapters.advice import sentence
from rlgns.adapters.groups import Indices, split, undisturbed
from rlgns.adapters.micro_batches import MicroBatches, largest
from rlgns.adapters.record import NoiseScaleRecord
from rlgns.noise.moments import Moments
from rlgns.noise.monitor import NoiseScaleMonitor
from rlgns.noise.step_pace import StepPace
from rlgns.noise.tracker import NoiseScaleEstimate

LossOfRows = Callable[[Indices], tuple[Tensor, float]]
"""Mean loss of some rows of a micro-batch, and how many observations they are."""

ONE_ROW = "a step has one micro-batch of {} row(s), which cannot be split: the noise scale is not measured"


@final
class StepNoiseScale:
    """Measured steps of one run. Training is bit for bit the same with it.

    Where a step has several micro-batches, over all processes, these are the groups and nothing is computed twice.
    Where it has one, its rows are split into groups, each with a forward and backward pass of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        overhead: float = 0.01,
        groups: int = 8,
        level: float = 0.95,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Starts with nothing measured.

        Args:
            model: Its trainable parameters are measured; under DistributedDataParallel the wrapped model.
            overhead: Largest share of the time for measuring; 0: never measure.
            groups: Of an extra pass, at most.
            level: Confidence of the intervals.
            clock: Returns the seconds that the budget is reckoned in.

        Raises:
            ValueError: A value that is not allowed, or parameters that are sharded.
        """
        if groups < 2:
            raise ValueError(f"groups must be at least 2, got {groups}")
        sharded = next((name for name, p in model.named_parameters() if type(p.data).__name__ == "DTensor"), None)
        if sharded:
            raise ValueError(f"parameter {sharded} is sharded (FSDP2, tensor parallel), which cannot be measured")
        self._model, self._groups, self._clock = model, groups, clock
        self._batches = MicroBatches(model, clock)
        self._pace = StepPace(overhead=overhead, clock=clock, timed=True)
        self._record = NoiseScaleRecord(prefix="noise", level=level)
        self._unit, self._observations, self._rows = "observations", 0.0, 0
        self._seen, self._per_step = 0, 0  # micro-batches of this step, and of the last
        self._warned = False
        self._pace.start()

    def watching(self) -> AbstractContextManager[None]:
        """Returns the context for the backward pass of one micro-batch."""
        watched = self._pace.measures and (self._per_step > 1 or self._batches.processes > 1)
        return self._batches.micro_batch() if watched else contextlib.nullcontext()

    def add(self, *, observations: float, rows: int, share: float) -> None:
        """Ends a micro-batch; arguments as in `MicroBatches.close`, and how many rows of data it had."""
        self._seen += 1
        self._rows += rows
        self._observations += observations * self._batches.processes
        if self._batches.count:
            self._batches.close(share=share, observations=observations)

    def finish(
        self,
        *,
        equal: bool,
        unit: str,
        learning_rate: float,
        scale: float = 1.0,
        averaged_scale: float | None = None,
        loss: LossOfRows | None = None,
    ) -> None:
        """Ends an optimizer step, after its last backward pass and before its gradients are clipped.

        Args:
            equal: As are `scale` and `averaged_scale`: as in `MicroBatches.finish`.
            unit: Name of an observation, in the plural.
            learning_rate: Of this step.
            scale: Of the loss.
            averaged_scale: That `p.grad` still has.
            loss: For an extra pass over the step's only micro-batch.
        """
        self._unit = unit
        if self._pace.measures and self._batches.count:
            began, in_hooks_s = self._clock(), self._batches.seconds
            moments, whole = self._batches.finish(scale=scale, averaged_scale=averaged_scale, equal=equal)
            self._update(moments, whole.observations, self._rows * self._batches.processes, learning_rate)
            if whole.problem:
                self._warn(whole.problem)
            self._pace.spent(in_hooks_s + self._clock() - began)
        elif self._pace.measures and loss is not None and self._seen == 1 and self._batches.processes == 1:
            began = self._clock()
            units = np.array_split(np.arange(self._rows), max(1, self._rows // _least_rows(self._model)))
            groups = split(units, self._groups)
            if len(groups) < 2:
                self._warn(ONE_ROW.format(self._rows))
            else:
                moments, observations = extra_pass(self._model, groups, loss)
                self._update(moments, observations, self._rows, learning_rate)
            self._pace.spent(self._clock() - began)
        self._pace.end(functools.partial(largest, self._model))
        self._batches.start()
        self._per_step, self._seen, self._rows = self._seen, 0, 0

    def _update(self, moments: Moments | None, observations: float, rows: int, learning_rate: float) -> None:
        self._record.update(
            moments,
            batch_observations=observations,
            learning_rate=learning_rate,
            observations=self._observations,
            batch_rows=rows,
        )
        if moments is not None and not moments.is_finite:
            self._warn("the gradient of a step is NaN or infinite and is not counted; look at data and learning rate")

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(text, RuntimeWarning, stacklevel=3)

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the noise scale as of now."""
        return self._record.estimate()

    def row(self) -> dict[str, Any]:
        """Returns the entries and their conditions; empty before the first measurement."""
        return self._record.row()

    def entries(self) -> dict[str, Any]:
        """Returns what a logger gets: the known numbers of `row` under noise/; empty before the first measurement.

        `noise/observations` and `noise/batch_observations` are there for `rlgns schedule`.
        """
        found, row = self._record.entries(), self.row()
        conditions = {f"noise/{name}": row[name] for name in ("observations", "batch_observations") if row}
        return found | conditions | {"noise/overhead_fraction": self._pace.overhead_fraction} if found else {}

    def sentence(self) -> str:
        """Returns what is known of the batch, for people."""
        return sentence(self.row(), self._unit)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, as plain Python numbers and lists."""
        return {
            "pace": self._pace.state_dict(),
            "record": self._record.state_dict(),
            "observations": self._observations,
            "unit": self._unit,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._pace.load_state_dict(state["pace"])
        self._record.load_state_dict(state["record"])
        self._observations, self._unit = float(state["observations"]), str(state["unit"])


def _least_rows(model: nn.Module) -> int:
    """Rows that the model needs at once: batch norm normalises by those there are."""
    return 2 if any(isinstance(module, _BatchNorm) for module in model.modules()) else 1


def extra_pass(model: nn.Module, groups: Sequence[Indices], loss: LossOfRows) -> tuple[Moments | None, float]:
    """Returns the moments of groups of rows, each by a forward and backward pass, and the observations in all.

    Parameters, their gradients, buffers and random numbers are afterwards as before.
    """
    monitor, observations = NoiseScaleMonitor(model, groups=len(groups)), 0.0
    with undisturbed(model), monitor.step():
        for group in groups:
            mean_loss, size = loss(group)
            monitor.backward(mean_loss, observations=size)
            observations += size
    return monitor.moments, observations


def rows_of(data: Any, indices: Indices | None, rows: int) -> Any:
    """Returns some rows of a batch: tensors and lists of `rows` entries, in mappings, tuples and lists.

    Args:
        data: A batch.
        indices: Which rows; None: all.
        rows: In the batch.
    """
    if indices is None:
        return data
    if isinstance(data, Tensor):
        return data[indices.tolist()] if data.ndim and len(data) == rows else data
    if isinstance(data, Mapping):
        found = {name: rows_of(part, indices, rows) for name, part in data.items()}
        return found if type(data) is dict else type(data)(found)  # type: ignore[call-arg]
    if isinstance(data, tuple | list):
        if any(isinstance(part, Tensor | Mapping | tuple | list) for part in data):
            parts = [rows_of(part, indices, rows) for part in data]
            return type(data)(*parts) if hasattr(data, "_fields") else type(data)(parts)
        return type(data)(data[index] for index in indices) if len(data) == rows else data
    return data


def row_count(data: Any) -> int:
    """Returns the rows of a batch: the first length of its first tensor; 0 where it has none."""
    return next((len(tensor) for tensor in tensors_in(data) if tensor.ndim), 0)


def tensors_in(data: Any) -> Iterator[Tensor]:
    """Yields the tensors of a batch, in order."""
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, Mapping):
        for part in data.values():
            yield from tensors_in(part)
    elif isinstance(data, tuple | list):
        for part in data:
            yield from tensors_in(part)
