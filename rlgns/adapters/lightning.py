"""The noise scale of what Lightning trains: a callback.

from rlgns.adapters.lightning import NoiseScaleCallback
trainer = Trainer(callbacks=[NoiseScaleCallback()])
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from rlgns.adapters.groups import Indices
from rlgns.adapters.steps import LossOfRows, StepNoiseScale, row_count, rows_of
from rlgns.noise.tracker import NoiseScaleEstimate

try:
    import lightning
    from lightning.pytorch.callbacks import Callback
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError("rlgns.adapters.lightning needs Lightning: pip install 'rlgns[lightning]'") from error

WHOLE = ("SingleDevice", "DDP", "SingleTPU", "SingleHPU")
"""Beginnings of the names of strategies under which a process holds the whole model."""


@final
class NoiseScaleCallback(Callback):
    """Measures the noise scale of a LightningModule's steps, and logs it by `self.log`.

    With `accumulate_grad_batches`, or on several devices, micro-batches are the groups and nothing is computed twice;
    else each measured step has one extra pass over its batch. Training is bit for bit the same. Entries: `noise/*`
    (docs/hosts/lightning.md).
    """

    def __init__(
        self,
        *,
        overhead: float = 0.01,
        groups: int = 8,
        level: float = 0.95,
        verbose: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Sets what is measured.

        Args:
            overhead: Largest share of the time for measuring, from 0 (never) to below 1.
            groups: Most groups of an extra pass, at least 2.
            level: Confidence of the intervals, between 0 and 1.
            verbose: Whether training ends with a sentence about the batch.
            clock: Returns the seconds that the budget is reckoned in.

        Raises:
            ValueError: A value that is not allowed.
        """
        super().__init__()
        self._settings: dict[str, Any] = {"overhead": overhead, "groups": groups, "level": level, "clock": clock}
        StepNoiseScale(nn.Linear(1, 1), **self._settings)  # raises where a value is not allowed
        self._verbose = verbose
        self._noise: StepNoiseScale | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._watching = contextlib.ExitStack()
        self._batch: Any = None
        self._batch_idx = 0

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the noise scale as of now, in rows of data. Raises RuntimeError before training."""
        return self._started().estimate()

    def row(self) -> dict[str, Any]:
        """Returns all entries and their conditions. Raises RuntimeError before training."""
        return self._started().row()

    def sentence(self) -> str:
        """Returns what is known of the batch, for people. Raises RuntimeError before training."""
        return self._started().sentence()

    def _started(self) -> StepNoiseScale:
        if self._noise is None:
            raise RuntimeError("NoiseScaleCallback has measured nothing yet: give it to Trainer(callbacks=[...])")
        return self._noise

    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, for Lightning's checkpoints."""
        return {} if self._noise is None else self._noise.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._loaded = state_dict or None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Checks what is to be trained. Raises ValueError where it cannot be measured."""
        strategy = type(trainer.strategy).__name__
        if not strategy.startswith(WHOLE) or trainer.strategy.handles_gradient_accumulation:
            raise ValueError(
                "NoiseScaleCallback measures models that every process holds whole, and this one is run by "
                f"{strategy}: remove the callback"
            )
        if not pl_module.automatic_optimization:
            raise ValueError(
                "NoiseScaleCallback measures automatic optimization, and this module steps by itself: remove the "
                "callback, or use rlgns.noise.NoiseScaleMonitor"
            )
        if any(isinstance(optimizer, torch.optim.LBFGS) for optimizer in trainer.optimizers):
            raise ValueError("NoiseScaleCallback cannot measure LBFGS, which has several gradients a step")
        if not hasattr(trainer, "precision_plugin"):
            raise ValueError(f"Lightning {lightning.__version__} has no precision_plugin: install 'lightning>=2.6,<3'")
        self._noise = StepNoiseScale(trainer.strategy.model, **self._settings)
        if self._loaded is not None:
            self._noise.load_state_dict(self._loaded)
            self._loaded = None

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Notes the micro-batch."""
        self._batch, self._batch_idx = batch, batch_idx

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Watches the gradients of a micro-batch."""
        self._watching.enter_context(self._started().watching())

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        """Ends a micro-batch."""
        self._watching.close()
        rows = row_count(self._batch)
        self._started().add(observations=rows, rows=rows, share=float(rows))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Ends a step, before its gradients are clipped."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._started().finish(
            equal=True,
            unit="rows",
            learning_rate=optimizer.param_groups[0]["lr"],
            scale=1.0 if scaler is None else float(scaler.get_scale()),
            averaged_scale=1.0,  # unscaled by now
            loss=self._loss_of_rows(trainer, pl_module),
        )

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Logs what is known."""
        self._batch = None
        entries = self._started().entries()
        if entries:
            pl_module.log_dict({name: float(value) for name, value in entries.items()}, batch_size=1)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Prints the sentence."""
        if self._verbose and trainer.is_global_zero:
            print(self.sentence())  # noqa: T201

    def _loss_of_rows(self, trainer: Any, module: Any) -> LossOfRows:
        batch, batch_idx, rows = self._batch, self._batch_idx, row_count(self._batch)
        takes_index = len(inspect.signature(module.training_step).parameters) > 1

        def loss(indices: Indices) -> tuple[Tensor, float]:
            part = rows_of(batch, indices, rows)
            with trainer.precision_plugin.train_step_context(), _silent(module):
                found = module.training_step(part, batch_idx) if takes_index else module.training_step(part)
            return found["loss"] if isinstance(found, Mapping) else found, len(indices)

        return loss


@contextlib.contextmanager
def _silent(module: Any) -> Iterator[None]:
    """Keeps a module from logging, and puts the states of its metrics back.

    Yields:
        Nothing.
    """
    metrics = [part for part in module.modules() if isinstance(part, Metric)]
    kept = [
        {name: _copied(metric.__dict__[name]) for name in (*metric._defaults, "_update_count", "_computed")}
        for metric in metrics
    ]
    for name in ("log", "log_dict"):
        module.__dict__[name] = lambda *args, **kwargs: None
    try:
        yield
    finally:
        for name in ("log", "log_dict"):
            del module.__dict__[name]
        for metric, states in zip(metrics, kept, strict=True):
            metric.__dict__.update(states)


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.clone()
    return list(state) if isinstance(state, list) else state
