"""What every host's adapter does with a rollout: groups' gradients, the noise scale over time, its entries.

A rollout is measured as a whole, before training's first step on it, at the parameters that played. Its environments or
episodes are split into groups; the gradient of each group's mean loss comes from passes beyond training's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch.distributed as dist
from torch import Tensor, nn

from rlgns.adapters.groups import Indices, undisturbed
from rlgns.adapters.record import NoiseScaleRecord
from rlgns.config.calibrations import calibration_for
from rlgns.critical.verdict import Verdict, verdict_of
from rlgns.noise.monitor import NoiseScaleMonitor
from rlgns.noise.tracker import NoiseScaleEstimate

AT_ROLLOUT = "at the parameters that played"
"""Which noise scale adapters measure. No calibration is of it, so each is widened as for another kind of task."""

PREFIX = "noise/at_rollout"
"""Of its entries, which mean what they mean in metrics.jsonl (docs/metrics.md)."""

Loss = Callable[[Indices], Tensor]
"""The mean loss of some observations of a rollout."""


@final
class RolloutNoiseScale:
    """The noise scale of one model at the parameters that played, from the rollouts that were measured."""

    def __init__(
        self,
        model: nn.Module,
        *,
        groups: int,
        algorithm: str,
        epochs: int,
        level: float = 0.95,
        process_group: dist.ProcessGroup | None = None,
        restores_random: bool = True,
    ) -> None:
        """Starts with nothing measured.

        Args:
            model: Its trainable parameters are measured.
            groups: Most groups of a rollout, of this process.
            algorithm: `ppo` or `a2c`: whose calibration is the nearest.
            epochs: Passes of training over a rollout.
            level: Confidence of the intervals.
            process_group: Processes that hold the same model and other parts of the same rollout.
            restores_random: Whether `measure` puts random numbers back; not where other threads draw meanwhile.

        Raises:
            ValueError: Fewer than two groups, or a level outside (0, 1).
        """
        self._model, self._groups, self._restores_random = model, groups, restores_random
        self._monitor = NoiseScaleMonitor(model, groups=groups, process_group=process_group)
        calibration = calibration_for(algorithm=algorithm, epochs=epochs, definition=AT_ROLLOUT)
        self._record = NoiseScaleRecord(prefix=PREFIX, level=level, calibration=calibration)

    def measure(
        self,
        groups: Sequence[Indices],
        loss: Loss,
        *,
        chunk_observations: int,
        batch_observations: float,
        learning_rate: float,
        observations: int,
        num_envs: int = 0,
    ) -> None:
        """Measures a rollout. Parameters, their gradients, buffers and random numbers are afterwards as before.

        Args:
            groups: Per group, which observations are in it, at least one; independent of each other.
            loss: Mean loss of observations, a scalar with a gradient.
            chunk_observations: Most observations per pass; a group is at least one pass.
            batch_observations: Of one optimizer step of training.
            learning_rate: Of training.
            observations: Of the run so far.
            num_envs: Environments that make a batch, where it grows with them; 0: it is chosen for itself.
        """
        longest, shortest = max(map(len, groups), default=1), min(map(len, groups), default=1)
        passes = min(-(-longest // chunk_observations), shortest)
        kept = undisturbed(self._model, restores_random=self._restores_random)
        with kept, self._monitor.step(parts=self._groups * passes):
            for group in groups:
                for part in np.array_split(group, passes):
                    self._monitor.backward(loss(part), observations=len(part))
        self._record.update(
            self._monitor.moments,
            batch_observations=batch_observations,
            learning_rate=learning_rate,
            observations=observations,
            num_envs=num_envs,
        )

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the noise scale at the parameters that played, as of now."""
        return self._record.estimate()

    def row(self) -> dict[str, Any]:
        """Returns the entries and their conditions; empty before the first measurement."""
        return self._record.row()

    def entries(self) -> dict[str, Any]:
        """Returns what a logger gets: the known numbers of `row` under noise/ and critical_batch/."""
        return self._record.entries()

    def verdict(self) -> Verdict:
        """Returns what follows for the batch."""
        return verdict_of(self.row())

    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, as plain Python numbers and lists."""
        return self._record.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._record.load_state_dict(state)
