"""All gradients of a network in one vector, so that norms, clipping and group moments are single operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from rlgns.agents.compute.team import PARTS, Team
from rlgns.agents.network import ActorCritic


@final
class FlatGradients:
    """Rows of flat gradients of one network; the first row is the network's own gradient."""

    def __init__(self, network: ActorCritic, *, rows: int) -> None:
        """Allocates float32 [rows, parameters], and makes views of row 0 the parameters' gradients."""
        parameters = list(network.parameters())
        self.rows = torch.zeros(rows, network.parameter_count, dtype=parameters[0].dtype, device=parameters[0].device)
        self.views = [by_parameter(row, parameters) for row in self.rows]
        """For each row, its part for every parameter."""
        for parameter, view in zip(parameters, self.views[0], strict=True):
            parameter.grad = view

    def put(self, gradient: Tensor) -> Tensor:
        """Copies a gradient [parameters] to row 0, the network's own, unless it is there already. Returns the row."""
        first = self.rows[0]
        if gradient.data_ptr() != first.data_ptr():
            first.copy_(gradient)
        return first


def by_parameter(row: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Returns views of a flat gradient, one for each parameter."""
    parts = row.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


def mean_rows_(rows: Tensor, team: Team) -> Tensor:
    """Replaces the first row by the mean of all, [rows, parameters], summed in order. Returns it."""
    if len(rows) > 1:
        team.map_parts(lambda parts: mean_in_place(rows[:, elements(rows.shape[1], parts)]))
    return rows[0]


def mean_in_place(rows: Tensor) -> None:
    """Replaces the first of rows [count, columns] by the mean of all, summed in order."""
    for row in rows[1:]:
        rows[0].add_(row)
    rows[0].mul_(1 / len(rows))


def clip_(gradient: Tensor, max_norm: float, team: Team, *, waits: bool | None = None) -> Tensor:
    """Scales a flat gradient in place to at most `max_norm`.

    Args:
        gradient: [parameters].
        max_norm: Largest norm.
        team: Threads that share the work.
        waits: Whether to ask if it is longer than that, and otherwise skip the product, which is by 1 then. On an
            accelerator the question waits for the device. None: on a CPU alone. The result is the same.

    Returns:
        The old norm.
    """
    total = len(gradient)
    waits = gradient.device.type == "cpu" if waits is None else waits

    def norms(parts: range) -> Sequence[Tensor]:  # part by part, so that no bit depends on the number of threads
        return torch._foreach_norm([gradient[elements(total, range(part, part + 1))] for part in parts])

    norm = torch.linalg.vector_norm(torch.stack([norm for done in team.map_parts(norms) for norm in done]))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    if not waits or scale < 1:
        team.map_parts(lambda parts: gradient[elements(total, parts)].mul_(scale))
    return norm


def elements(total: int, parts: range) -> slice:
    """Returns which of `total` elements belong to those of the PARTS parts (`Team.map_parts`)."""
    return slice(total * parts.start // PARTS, total * parts.stop // PARTS)


def equal_parts(total: int, most: int) -> int:
    """Returns the largest number of equal parts, at most `most`, that `total` items can be split into."""
    return max(parts for parts in range(1, max(1, min(total, most)) + 1) if total % parts == 0)
