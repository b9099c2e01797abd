"""A step of several processes together: they exchange the summed gradient and a few numbers per group.

With s_k = n_k g_k the sum over group k's observations and S the sum of the s_k of all ranks, every rank forms

    sum_{j != k} <s_j, s_k> = |S|^2 - sum_k |s_k|^2

from the S that the step needs anyway and the squared norms of each rank's own groups. No group's gradient leaves its
rank. The difference has the rounding of the sum S: float64's for float64 gradients; about 1e-7 of the mean squared norm
of a group's gradient for float32 and shorter ones, which are summed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from rlgns.noise.group_sums import GroupSums
from rlgns.noise.sharding import processes_of_shards, sum_over_shards

ELEMENTS_PER_BUCKET = 1 << 22
"""Elements that are summed over ranks in one message; a larger tensor is a message alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankShare:
    """What one rank sends to the others about its part of a step."""

    observations: list[float]
    """Per group, n_k."""

    squares: list[float]
    """Per group, |n_k g_k|^2, in units of the loss scale squared."""

    complete: bool
    """Whether the last group had all its parts."""

    scale: float | None
    """Loss scale of automatic mixed precision; None where there was no backward pass."""

    has_gradient: list[bool]
    """Per parameter, whether any part gave it a gradient."""


@final
class Ranks:
    """The processes whose groups are joined; by default only this one."""

    def __init__(self, model: torch.nn.Module, process_group: dist.ProcessGroup | None = None) -> None:
        """Joins the ranks of a DistributedDataParallel in the model, else those of `process_group`.

        Raises:
            ValueError: a static graph, which torch 2.13 cannot run without averaging; parameters sharded otherwise than
                by FSDP2 over one dimension; a process group for a sharded model.
        """
        found = (module for module in model.modules() if isinstance(module, DistributedDataParallel))
        self._ddp = next(found, None)
        if self._ddp is not None and self._ddp.static_graph:
            raise ValueError("DistributedDataParallel must be built with static_graph=False to be measured, got True")
        self._shards = processes_of_shards(model)
        self.weight = 1 if self._shards is None else dist.get_world_size(self._shards)
        """Processes that run each part together: those of a sharded model, which count as one rank."""
        self._group = process_group if self._ddp is None else self._ddp.process_group
        if self._shards is not None and self._group is not None:
            raise ValueError("a sharded model averages its gradients itself: give no process_group")
        self.count = 1 if self._group is None else dist.get_world_size(self._group)
        """Number of ranks."""

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Keeps DistributedDataParallel from averaging: inside this context every gradient is this rank's own.

        Yields:
            Nothing.
        """
        if self._ddp is None:
            yield
            return
        if self._ddp.broadcast_buffers and self.count > 1:  # its forward pass does this only when it averages
            buffers = [b for name, b in self._ddp.module.named_buffers() if name not in self._ddp.parameters_to_ignore]
            for work in [dist.broadcast(b, group=self._group, group_src=0, async_op=True) for b in buffers]:
                work.wait()
        # Not in forward: the others would wait for a rank that has no part in this step.
        self._ddp.require_forward_param_sync = False
        with self._ddp.no_sync():
            yield

    def whole(self, sums: GroupSums) -> tuple[list[float], list[float]]:
        """Returns per group |sum|^2 and <sum, sums of the groups before>, shards added up.

        Raises:
            RuntimeError: processes of a sharded model have different observations.
        """
        if self._shards is None:
            return [float(square) for square in sums.squares], [float(cross) for cross in sums.crosses]
        return sum_over_shards(sums.squares, sums.crosses, sums.observations, self._shards)

    def largest(self, number: int) -> int:
        """Returns the largest of the numbers that all processes give; all must call it."""
        group = self._group if self._shards is None else self._shards
        if group is None or dist.get_world_size(group) == 1:
            return number
        gathered: list[int | None] = [None] * dist.get_world_size(group)
        dist.all_gather_object(gathered, number, group=group)
        return max(n for n in gathered if n is not None)

    def gather(self, share: RankShare) -> list[RankShare]:
        """Returns every rank's share, in the order of ranks.

        Raises:
            RuntimeError: ranks differ in their parameters or loss scale.
        """
        if self.count == 1:
            return [share]
        gathered: list[RankShare | None] = [None] * self.count
        dist.all_gather_object(gathered, share, group=self._group)
        shares = [s for s in gathered if s is not None]
        sizes = {len(s.has_gradient) for s in shares}
        if len(sizes) > 1:
            raise RuntimeError(f"ranks hold different models: {sorted(sizes)} parameters")
        scales = {s.scale for s in shares if s.scale is not None}
        if len(scales) > 1:
            raise RuntimeError(f"ranks use different loss scales: {sorted(scales)}")
        return shares

    def add_up(self, sums: dict[torch.nn.Parameter, torch.Tensor], used: Sequence[torch.nn.Parameter]) -> None:
        """Replaces this rank's sums by the sums over all ranks, for the parameters that any rank used.

        Args:
            sums: gradient sums of this rank, float32 or float64.
            used: parameters in the same order on every rank; those not in `sums` count as zero.
        """
        if self.count == 1:
            return
        for parameter in used:
            if parameter not in sums:
                wide = torch.promote_types(parameter.dtype, torch.float32)
                sums[parameter] = torch.zeros_like(parameter, dtype=wide, requires_grad=False)
        for bucket in _buckets([sums[parameter] for parameter in used]):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            dist.all_reduce(flat, group=self._group)
            parts = flat.split([tensor.numel() for tensor in bucket])
            for tensor, part in zip(bucket, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Groups neighbours of one type and device, up to ELEMENTS_PER_BUCKET together."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        alike = bucket and (bucket[0].dtype, bucket[0].device) == (tensor.dtype, tensor.device)
        if bucket and not (alike and sum(t.numel() for t in bucket) + tensor.numel() <= ELEMENTS_PER_BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
