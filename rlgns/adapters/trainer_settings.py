"""What the mixins for trainers of Transformers and TRL share: their settings, and what they need of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any


class TrainerSettings:
    """Settings, as attributes of a trainer class."""

    noise_scale_overhead = 0.01
    """Largest share of the time for measuring; 0: never measure."""
    noise_scale_groups = 8
    """Most groups of an extra pass, of one process: of rows, or under GRPO of prompts."""
    noise_scale_level = 0.95
    """Confidence of the intervals."""
    noise_scale_verbose = True
    """Whether training ends with sentences about the batch."""

    if TYPE_CHECKING:
        args: Any
        accelerator: Any
        state: Any
        model: Any
        model_wrapped: Any
        optimizer: Any
        compute_loss: Callable[..., Any]
        compute_loss_context_manager: Callable[..., Any]
        add_callback: Callable[..., Any]
        is_world_process_zero: Callable[[], bool]
