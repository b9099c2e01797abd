"""The noise scale under the Trainer of Transformers, and Accelerate below it: a trainer, or a mixin for one.

from rlgns.adapters.transformers import NoiseScaleTrainer
trainer = NoiseScaleTrainer(model, args, train_dataset=data)  # in place of Trainer
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgns.adapters.groups import Indices
from rlgns.adapters.steps import LossOfRows, StepNoiseScale, row_count, rows_of
from rlgns.adapters.trainer_settings import TrainerSettings

try:
    import transformers
    from transformers import Trainer, TrainerCallback
    from transformers.trainer_utils import get_last_checkpoint
except ImportError as error:
    raise ImportError(
        "rlgns.adapters.transformers needs Transformers with Accelerate: pip install 'rlgns[transformers]'"
    ) from error

STATE_FILE = "noise_scale.json"
"""In each checkpoint."""

IGNORED_LABEL = -100

HOST_COUNTERS = ("_metrics", "_total_train_tokens")
"""What trainers of TRL count in `compute_loss`."""


class NoiseScaleMixin(TrainerSettings):
    """Measures the noise scale of a Trainer's steps, and logs it with the loss.

    For any subclass of Trainer whose `training_step` is Trainer's or calls it: `class Mine(NoiseScaleMixin,
    SFTTrainer): pass`. Training is bit for bit the same. Entries: `noise/*` (docs/hosts/transformers.md).
    """

    if TYPE_CHECKING:
        _prepare_inputs: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Checks the order of base classes. Raises TypeError where Trainer comes first, which hides the mixin."""
        super().__init_subclass__(**kwargs)
        order: list[type] = list(cls.__mro__)
        if Trainer in order and order.index(Trainer) < order.index(NoiseScaleMixin):
            raise TypeError(f"write `class {cls.__name__}(NoiseScaleMixin, Trainer)`: the mixin must come first")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Builds the trainer as without the mixin. Raises ValueError where its Transformers has no hook."""
        found = inspect.signature(super().training_step).parameters  # type: ignore[misc]
        if "num_items_in_batch" not in found:
            raise ValueError(
                f"Transformers {transformers.__version__} calls training_step({', '.join(found)}), and NoiseScaleMixin "
                "needs num_items_in_batch: install 'transformers>=5'"
            )
        super().__init__(*args, **kwargs)
        self._noise_scale: StepNoiseScale | None = None
        self._noise_scale_state: Mapping[str, Any] | None = None
        self.add_callback(Saver(self))

    @property
    def noise_scale(self) -> StepNoiseScale:
        """What was measured. Raises RuntimeError before training."""
        if self._noise_scale is None:
            raise RuntimeError("nothing is measured before train()")
        return self._noise_scale

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as the host does, from a checkpoint with its measurements if there are any.

        Raises:
            ValueError: Settings that are not allowed, or a model that is sharded over processes.
        """
        self._noise_scale = None
        self._noise_scale_state = saved_state(resume_from_checkpoint, self.args.output_dir)
        done = super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]
        self._conclude()
        return done

    def _conclude(self) -> None:
        if self.noise_scale_verbose and self._noise_scale is not None and self.is_world_process_zero():
            print(self._noise_scale.sentence())  # noqa: T201

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Runs a micro-batch as the host does, and measures it where that is due."""
        noise = self._noise_scale or self._begin(model)
        with noise.watching():
            loss = super().training_step(model, inputs, num_items_in_batch, *args, **kwargs)  # type: ignore[misc]
        counted = num_items_in_batch is not None and self._loss_is_scaled()
        rows = row_count(inputs)
        size = self._labels(inputs) if counted else rows
        share = float(size)
        if counted and not self.args.average_tokens_across_devices:
            share /= float(num_items_in_batch)
        noise.add(observations=size, rows=rows, share=share)
        if self.accelerator.sync_gradients:
            scaler = self.accelerator.scaler
            noise.finish(
                equal=not counted,
                unit="labels" if counted else "rows",
                learning_rate=self.optimizer.param_groups[0]["lr"],
                scale=1.0 if scaler is None else float(scaler.get_scale()),
                loss=self._loss_of_rows(model, inputs, rows, counted=counted),
            )
        return loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Logs as the host does; the loss of training with the noise scale."""
        if "loss" in logs and self._noise_scale is not None:
            logs |= self._noise_scale.entries()
        super().log(logs, *args, **kwargs)  # type: ignore[misc]

    def _begin(self, model: Any) -> StepNoiseScale:
        kind = self.accelerator.distributed_type.value
        if kind in ("DEEPSPEED", "FSDP", "MEGATRON_LM", "XLA"):
            raise ValueError(
                f"NoiseScaleMixin measures models that every process holds whole, and this one is run by {kind}: "
                "use the trainer without the mixin"
            )
        noise = self._noise_scale = StepNoiseScale(
            model,
            overhead=self.noise_scale_overhead,
            groups=self.noise_scale_groups,
            level=self.noise_scale_level,
        )
        if self._noise_scale_state is not None:
            noise.load_state_dict(self._noise_scale_state)
        return noise

    def _loss_is_scaled(self) -> bool:
        """Whether the host divides the loss by `num_items_in_batch` alone; else by the number of micro-batches."""
        decided = getattr(self, "loss_is_scaled_for_ga", None)
        if decided is not None:
            return bool(decided)
        return bool(getattr(self, "model_accepts_loss_kwargs", False) or getattr(self, "compute_loss_func", None))

    def _labels(self, inputs: Any) -> int:
        """Labels that count, as `Trainer._get_num_items_in_batch` counts them."""
        labels = inputs.get("shift_labels")
        if labels is None:
            labels = inputs["labels"][..., 1:] if getattr(self, "_loss_shifts_labels", False) else inputs["labels"]
        return int((labels != IGNORED_LABEL).sum())

    def _loss_of_rows(self, model: Any, inputs: Any, rows: int, *, counted: bool) -> LossOfRows:
        def loss(indices: Indices) -> tuple[Any, float]:
            part = self._prepare_inputs(rows_of(inputs, indices, rows))
            size = self._labels(part) if counted else len(indices)
            with counters_kept(self), self.compute_loss_context_manager():
                found = self.compute_loss(model, part, num_items_in_batch=size if counted else None)
            return found, size

        return loss


class NoiseScaleTrainer(NoiseScaleMixin, Trainer):
    """Trainer with its noise scale measured."""


class Saver(TrainerCallback):
    """Writes what was measured into each checkpoint."""

    def __init__(self, trainer: Any) -> None:
        """`trainer`: whose `_noise_scale` has a `state_dict`, or is None."""
        self._trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Writes the file of the newest checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        noise = self._trainer._noise_scale
        if state.is_world_process_zero and noise is not None and folder.is_dir():
            (folder / STATE_FILE).write_text(json.dumps(noise.state_dict()))


@contextmanager
def counters_kept(trainer: Any) -> Iterator[None]:
    """Puts back what a trainer counts in `compute_loss`.

    Yields:
        Nothing.
    """
    kept = {name: copy.deepcopy(getattr(trainer, name)) for name in HOST_COUNTERS if hasattr(trainer, name)}
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(trainer, name, value)


def saved_state(folder: Any, output_dir: str) -> Mapping[str, Any] | None:
    """Returns what a checkpoint says of the noise scale; `folder` as in `Trainer.train`. None where nothing."""
    found = get_last_checkpoint(output_dir) if folder is True else folder
    path = Path(found) / STATE_FILE if isinstance(found, str | Path) else None
    return json.loads(path.read_text()) if path is not None and path.exists() else None
