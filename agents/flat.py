"""All gradients of a network in one vector, so that norms, clipping and group moments are single operations."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class FlatGradients:
    """Rows of flat gradients of the same parameters; one row at a time is what `backward` accumulates into."""

    def __init__(self, parameters: Iterable[nn.Parameter], rows: int) -> None:
        """Allocates float32 [rows, parameters]."""
        self._parameters = list(parameters)
        sizes = [parameter.numel() for parameter in self._parameters]
        first = self._parameters[0]
        self.rows = torch.zeros(rows, sum(sizes), dtype=first.dtype, device=first.device)
        self._views = [
            [part.view_as(parameter) for part, parameter in zip(row.split(sizes), self._parameters, strict=True)]
            for row in self.rows
        ]

    def select(self, row: int) -> Tensor:
        """Zeroes a row and lets `backward` accumulate into it. Returns the row, [parameters]."""
        self.rows[row].zero_()
        for parameter, view in zip(self._parameters, self._views[row], strict=True):
            parameter.grad = view
        return self.rows[row]

    def select_mean(self, count: int) -> Tensor:
        """Replaces row 0 by the mean of the first `count` rows and makes it the parameters' gradient."""
        torch.mean(self.rows[:count], dim=0, out=self.rows[0])
        for parameter, view in zip(self._parameters, self._views[0], strict=True):
            parameter.grad = view
        return self.rows[0]


def clip_(gradient: Tensor, max_norm: float) -> Tensor:
    """Scales a flat gradient in place to at most `max_norm`, without waiting for the device. Returns the norm before."""
    norm = torch.linalg.vector_norm(gradient)
    gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
