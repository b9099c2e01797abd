"""The noise scale of TRL's GRPO, between prompts and between the completions of one: a trainer, or a mixin for one.

from rlgns.adapters.trl import NoiseScaleGRPOTrainer
trainer = NoiseScaleGRPOTrainer(model, reward_funcs=reward, args=args, train_dataset=data)  # in place of GRPOTrainer
"""

from __future__ import annotations

import functools
import math
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from rlgns.adapters.groups import Indices
from rlgns.adapters.micro_batches import largest
from rlgns.adapters.nested_pass import nested_pass
from rlgns.adapters.prompts import PromptNoiseScale
from rlgns.adapters.steps import rows_of
from rlgns.adapters.trainer_settings import TrainerSettings
from rlgns.noise.step_pace import StepPace

try:
    import trl
    from trl import GRPOTrainer

    from rlgns.adapters.transformers import Saver, counters_kept, saved_state
except ImportError as error:
    raise ImportError("rlgns.adapters.trl needs TRL: pip install 'rlgns[trl]'") from error

HOOK = "_generate_and_score_completions"

MEANS = ("grpo", "sapo", "luspo", "dr_grpo")
"""Losses that are means over completions."""
SUMS = ("dapo", "cispo", "vespo")
"""Losses that are sums over tokens, divided by the tokens of the whole generation."""
RATIOS = ("bnpo",)
"""Divided by the tokens of each micro-batch; measured as if by those of the whole generation."""

PICTURES = ("pixel_values", "image_grid_thw", "num_images")


class GRPONoiseScaleMixin(TrainerSettings):
    """Measures the noise of GRPO's gradient between prompts and within, and logs it with the loss.

    Before the first step on a generation, its prompts are split into groups and the completions of each prompt in two
    halves; each half has a forward and backward pass of its own. Training is bit for bit the same. Entries: `noise/*`
    (docs/hosts/trl.md).
    """

    if TYPE_CHECKING:
        loss_type: str
        num_generations: int
        current_gradient_accumulation_steps: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Builds the trainer as without the mixin.

        Raises:
            ValueError: A setting that is not allowed, or a trainer, loss or model that cannot be measured.
        """
        if not hasattr(super(), HOOK):
            raise ValueError(
                f"{type(self).__name__} of TRL {trl.__version__} has no {HOOK}: write `class Mine(GRPONoiseScaleMixin, "
                "GRPOTrainer)` and install 'trl>=1.15,<2'"
            )
        super().__init__(*args, **kwargs)
        self._noise_scale: PromptNoiseScale | None = PromptNoiseScale(
            per_prompt=self.num_generations, level=self.noise_scale_level
        )
        self._noise_pace = StepPace(overhead=self.noise_scale_overhead, timed=True)
        self._noise_warned = False
        self._noise_completions = 0
        self._check()
        self.add_callback(Saver(_State(self)))

    @property
    def noise_scale(self) -> PromptNoiseScale:
        """What was measured."""
        assert self._noise_scale is not None
        return self._noise_scale

    def _check(self) -> None:
        if self.noise_scale_groups < 2:
            raise ValueError(f"noise_scale_groups must be at least 2, got {self.noise_scale_groups}")
        if self.loss_type not in (*MEANS, *SUMS, *RATIOS):
            raise ValueError(
                f"GRPONoiseScaleMixin does not know loss_type={self.loss_type!r}: "
                f"choose one of {', '.join((*MEANS, *SUMS, *RATIOS))}, or use the trainer without the mixin"
            )
        if getattr(self, "_entropy_bonus_enabled", False) or getattr(self, "aux_loss_enabled", False):
            raise ValueError(
                "GRPONoiseScaleMixin measures the policy's loss alone, and this one has an entropy bonus or a router's "
                "loss: set entropy_coef=0 and router_aux_loss_coef=0, or use the trainer without the mixin"
            )
        kind = self.accelerator.distributed_type.value
        if kind in ("DEEPSPEED", "FSDP", "MEGATRON_LM", "XLA"):
            raise ValueError(
                f"GRPONoiseScaleMixin measures models that every process holds whole, and this one is run by {kind}: "
                "use the trainer without the mixin"
            )
        rows = self.args.per_device_train_batch_size * self.args.steps_per_generation
        if rows % self.num_generations:
            raise ValueError(
                f"a process has {rows} completions of a generation, no multiple of num_generations="
                f"{self.num_generations}, so that prompts are cut: change per_device_train_batch_size or "
                "gradient_accumulation_steps"
            )
        if rows * self.accelerator.num_processes < 2 * self.num_generations:
            raise ValueError(
                f"a generation of {rows} completions has one prompt, and the noise scale needs 2: "
                f"have at least {2 * self.num_generations} completions a generation"
            )

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as the host does, from a checkpoint with its measurements if there are any."""
        state = saved_state(resume_from_checkpoint, self.args.output_dir)
        if state is not None:
            self.noise_scale.load_state_dict(state["noise"])
            self._noise_pace.load_state_dict(state["pace"])
            self._noise_completions = int(state["completions"])
        self._noise_pace.start()
        done = super().train(resume_from_checkpoint, *args, **kwargs)  # type: ignore[misc]
        if self.noise_scale_verbose and self.is_world_process_zero():
            print(self.noise_scale.sentence())  # noqa: T201
        return done

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Logs as the host does; the loss of training with the noise scale."""
        entries = self.noise_scale.entries()
        if "loss" in logs and entries:
            logs |= entries | {"noise/overhead_fraction": self._noise_pace.overhead_fraction}
        super().log(logs, *args, **kwargs)  # type: ignore[misc]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """Returns what the host does, after measuring it where that is due."""
        training = self.model.training
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if training:
            self._noise_completions += len(output["completion_ids"]) * self.accelerator.num_processes
            if self._noise_pace.measures and self._can_measure(output):
                began = time.perf_counter()
                self._measure(output)
                self._noise_pace.spent(time.perf_counter() - began)
            self._noise_pace.end(functools.partial(largest, self.model_wrapped))
        return output

    def _can_measure(self, output: Mapping[str, Any]) -> bool:
        """Whether it is text, with the completions of a prompt side by side; the same on every process."""
        prompts = output["prompt_ids"].unflatten(0, (-1, self.num_generations))
        if any(name in output for name in PICTURES):
            self._warn("prompts with pictures are not measured")
        elif not torch.equal(prompts, prompts[:, :1].expand_as(prompts)):
            self._warn(
                f"the completions of a prompt are not side by side in TRL {trl.__version__}: nothing is measured"
            )
        else:
            return True
        return False

    def _measure(self, output: Mapping[str, Any]) -> None:
        rows = len(output["completion_ids"])
        tokens = float(output["completion_mask"].sum())
        accumulated = self.current_gradient_accumulation_steps

        def loss(indices: Indices) -> torch.Tensor:
            part = rows_of(output, indices, rows)
            with counters_kept(self), self.compute_loss_context_manager():
                found: torch.Tensor = self.compute_loss(self.model_wrapped, part)
            return found * self._per_completion(part, rows, tokens, accumulated)

        moments = nested_pass(
            self.model_wrapped,
            loss,
            clusters=rows // self.num_generations,
            per_cluster=self.num_generations,
            groups=self.noise_scale_groups,
            most_rows=self.args.per_device_train_batch_size,
        )
        step = self.args.per_device_train_batch_size * accumulated * self.accelerator.num_processes
        self.noise_scale.update(
            moments,
            batch_observations=step,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            observations=self._noise_completions,
        )
        if moments is not None and not math.isfinite(moments.trace):
            self._warn("the gradient of a generation is NaN or infinite and is not counted; look at rewards")

    def _per_completion(self, part: Mapping[str, Any], rows: int, tokens: float, accumulated: int) -> float:
        """Factor that makes the host's loss of a part the mean over its completions, as it is in a whole generation."""
        size = len(part["completion_ids"])
        if self.loss_type in SUMS:
            return accumulated / self.args.steps_per_generation * rows / size
        if self.loss_type in RATIOS:
            return accumulated * float(part["completion_mask"].sum()) * rows / (tokens * size)
        return float(accumulated)

    def _warn(self, text: str) -> None:
        if not self._noise_warned:
            self._noise_warned = True
            warnings.warn(text, RuntimeWarning, stacklevel=4)


class _State:
    """A trainer's measurements as `Saver` takes them."""

    def __init__(self, trainer: GRPONoiseScaleMixin) -> None:
        self._trainer = trainer
        self._noise_scale = self

    def state_dict(self) -> dict[str, Any]:
        return {
            "noise": self._trainer.noise_scale.state_dict(),
            "pace": self._trainer._noise_pace.state_dict(),
            "completions": self._trainer._noise_completions,
        }


class NoiseScaleGRPOTrainer(GRPONoiseScaleMixin, GRPOTrainer):
    """GRPOTrainer with its noise measured at both levels."""
