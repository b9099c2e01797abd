"""The state of one step of `NoiseScaleMonitor`: what its backward passes counted, measured or plain."""

from __future__ import annotations

import sys

import torch

from rlgns.noise.group_sums import GroupSums


class MonitorStep:
    """A step under way. A plain one is the same for the user, but its gradients stay where they are."""

    def __init__(self, *, observations: float | None, parts: int, groups: int, measured: bool) -> None:
        """Starts a step without parts; `parts` are planned for it, `observations` those given for all of them."""
        self.measured, self.planned, self.groups = measured, parts, groups
        self.observations = observations
        self.parts = 0
        self.scaler: torch.amp.GradScaler | None = None
        self.sums = GroupSums(parts_per_group=parts // groups if measured else sys.maxsize)
        self._first = self._all = 0.0  # weights

    def check_room(self) -> None:
        """Raises RuntimeError where a measured step has had all its parts."""
        if self.measured and self.parts == self.planned:
            raise RuntimeError(f"this step has had all its {self.parts} parts: for more, set step(parts=...)")

    def weight(self, observations: float | None) -> float:
        """Returns what a part counts.

        Raises:
            ValueError: Observations that are not positive, or that were also given to `step`.
        """
        if observations is not None and (observations <= 0 or self.observations is not None):
            raise ValueError(
                f"observations must be positive and given once, to step or to backward, got {observations}"
            )
        if observations is None and self.observations is not None and self.measured:
            return self.observations / self.planned
        return 1.0 if observations is None else float(observations)

    def relative(self, weight: float) -> float:
        """Returns a part's weight in units of the first one's, whose own backward pass a plain step leaves as it is."""
        return weight / self._first if self.parts else 1.0

    def count(self, weight: float, scaler: torch.amp.GradScaler | None) -> None:
        """Notes that a part's backward pass is over."""
        if not self.parts:
            self._first = weight
        self.parts += 1
        self._all += weight
        self.scaler = scaler

    @property
    def scale(self) -> float | None:
        """The loss scale of this process's backward passes; None where there were none."""
        if not self.parts:
            return None
        return 1.0 if self.scaler is None else float(self.scaler.get_scale())

    def close(self) -> bool:
        """Ends the last group. Returns whether it had all its parts."""
        if self.sums.group_observations == 0:
            return True
        self.sums.close()
        if not self.measured and self.observations is not None:  # how many parts they are of is known only now
            factor = self.observations / self._all
            for total in self.sums.total.values():
                total.mul_(factor)
            self.sums.observations = [self.observations]
        return False

    def leave_mean(self, model: torch.nn.Module) -> None:
        """Divides the gradients that plain passes added up, so that they are the mean over the batch."""
        if self.parts > 1:
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self._all / self._first)
