"""One extra pass over clusters in halves: the noise at both levels, at one parameter vector, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from rlgns.adapters.groups import Indices, split, undisturbed
from rlgns.adapters.micro_batches import processes_of
from rlgns.gram import inner
from rlgns.noise.distributed import Ranks
from rlgns.noise.nested import HalvedGroup, NestedMoments, nested_moments

Gradient = dict[nn.Parameter, Tensor]


def nested_pass(
    model: nn.Module,
    loss: Callable[[Indices], Tensor],
    *,
    clusters: int,
    per_cluster: int,
    groups: int,
    most_rows: int,
) -> NestedMoments | None:
    """Measures clusters whose observations are neighbours: cluster p has rows p C to p C + C - 1.

    Parameters, their gradients, buffers and random numbers are afterwards as before. Memory: three more gradients.

    Args:
        model: Under DistributedDataParallel the wrapped one; every process has clusters of its own.
        loss: Mean loss of some rows, a scalar with a gradient.
        clusters: Of this process.
        per_cluster: C, at least 2.
        groups: Of whole clusters, of this process, at most.
        most_rows: Rows in a pass, at most.

    Returns:
        The moments, the same on every process; None with fewer than two groups in all.
    """
    parameters, ranks = [p for p in model.parameters() if p.requires_grad], Ranks(model)
    first = per_cluster // 2
    found: list[HalvedGroup] = []
    total: Gradient = {}
    crosses = norms = 0.0
    with undisturbed(model), ranks.apart():
        for members in split([np.array([cluster]) for cluster in range(clusters)], groups):
            rows = members[:, None] * per_cluster + np.arange(per_cluster)
            halves = [_gradient(parameters, loss, part, most_rows) for part in (rows[:, :first], rows[:, first:])]
            found.append(
                HalvedGroup(
                    clusters=len(members),
                    first_sq=_inner(halves[0], halves[0]),
                    second_sq=_inner(halves[1], halves[1]),
                    halves=_inner(halves[0], halves[1]),
                )
            )
            whole = _mean(halves, first / per_cluster)
            crosses += 2 * _inner(whole, total)
            norms += _inner(whole, whole)
            for parameter, gradient in whole.items():
                total[parameter] = total[parameter] + gradient if parameter in total else gradient
    shares: list[Any] = [(found, norms)]
    if ranks.count > 1:
        ranks.add_up(total, parameters)
        shares = [None] * ranks.count
        dist.all_gather_object(shares, (found, norms), group=processes_of(model)[0])
        crosses = _inner(total, total) - sum(share[1] for share in shares)
    joined = [group for share in shares for group in share[0]]
    return nested_moments(joined, crosses, first=first, per_cluster=per_cluster) if len(joined) > 1 else None


def _gradient(
    parameters: Sequence[nn.Parameter], loss: Callable[[Indices], Tensor], rows: Indices, most_rows: int
) -> Gradient:
    """Gradient of the mean loss over rows, in passes; float32 or longer."""
    for parameter in parameters:
        parameter.grad = None
    flat = rows.reshape(-1)
    for part in np.array_split(flat, -(-len(flat) // most_rows)):
        (loss(part) * (len(part) / len(flat))).backward()
    return {
        p: p.grad.detach().to(torch.promote_types(p.grad.dtype, torch.float32))
        for p in parameters
        if p.grad is not None
    }


def _mean(halves: Sequence[Gradient], weight: float) -> Gradient:
    """Mean of two gradients, the first with this weight."""
    first, second = halves
    both: Gradient = {parameter: gradient * weight for parameter, gradient in first.items()}
    for parameter, gradient in second.items():
        rest = gradient * (1 - weight)
        both[parameter] = both[parameter] + rest if parameter in both else rest
    return both


def _inner(left: Gradient, right: Gradient) -> float:
    return sum(float(inner(left[parameter], right[parameter])) for parameter in left if parameter in right)
