"""Several learner processes that take every optimizer step together; by default one, alone.

Each holds all rollouts and the same weights, and computes the gradients of its share of every batch. So batches, groups
and advantages do not depend on the number of learners; results differ by rounding only.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
from collections.abc import Sequence
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor


@final
class DataParallel:
    """This process's rank among the learners, and their collective operations.

    All learners must call every method in the same order. If one dies or does not answer in time, the call raises a
    RuntimeError on all others.
    """

    def __init__(
        self, rank: int = 0, count: int = 1, *, device: torch.device | None = None, timeout_s: float = 300.0
    ) -> None:
        """Joins the learners of torch.distributed's default group; all must join at once.

        Args:
            rank: This learner's number, from 0.
            count: Number of learners.
            device: Where gradients are; the CPU if None. Learners that share an accelerator cannot use NCCL.
            timeout_s: Seconds that a learner waits for another.
        """
        self.rank, self.count = rank, count
        self._device = device or torch.device("cpu")
        self._group: dist.ProcessGroup | None = None
        if count > 1:
            timeout, self._exchange_device = datetime.timedelta(seconds=timeout_s), torch.device("cpu")
            self._group = dist.new_group(backend="gloo", timeout=timeout)
            if self._device.type == "cuda" and _separate_devices(self._device, self._group):
                self._group, self._exchange_device = dist.new_group(backend="nccl", timeout=timeout), self._device

    def share(self, total: int) -> slice:
        """Returns this learner's slice of `total` items; slices differ in length by at most one and may be empty."""
        return slice(*self._bounds(total)[self.rank])

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replaces a contiguous tensor by its sum over all learners, equal on each to the last bit. Returns it."""
        if self.count > 1:
            exchanged = tensor.to(self._exchange_device)
            dist.all_reduce(exchanged, group=self._group)
            if exchanged is not tensor:
                tensor.copy_(exchanged)
        return tensor

    def columns(self, rows: Tensor, total: int) -> Tensor:
        """Exchanges whole rows for some columns of all rows: together the learners then hold all columns, in order.

        Inner products of rows are sums over the learners' columns, and the mean of the rows is the columns' means in
        order. So no learner needs to hold all rows.

        Args:
            rows: [share, parameters], this learner's `share` of the rows.
            total: Rows of all learners together.

        Returns:
            [total, parameters / learners, rounded up], with zeros after the last parameter. Alone: the rows themselves.
        """
        if self.count == 1:
            return rows
        width = -(-rows.shape[1] // self.count)
        packed = torch.nn.functional.pad(rows.to(self._exchange_device), (0, width * self.count - rows.shape[1]))
        packed = packed.view(len(rows), self.count, width).transpose(0, 1).reshape(-1, width)
        received = packed.new_empty(total, width)
        dist.all_to_all_single(
            received,
            packed,
            output_split_sizes=[end - start for start, end in self._bounds(total)],
            input_split_sizes=[len(rows)] * self.count,
            group=self._group,
        )
        return received.to(rows.device)

    def joined(self, part: Tensor, length: int) -> Tensor:
        """Joins the learners' parts [parameters / learners, rounded up] of a vector. Returns [length] on each."""
        if self.count == 1:
            return part[:length]
        exchanged = part.to(self._exchange_device)
        whole = exchanged.new_empty(self.count * len(part))
        dist.all_gather_single(whole, exchanged, group=self._group)
        return whole[:length].to(part.device)

    def own_columns(self, parameters: int) -> slice:
        """Returns which of the parameters `columns` gives to this learner."""
        width = -(-parameters // self.count)
        return slice(min(parameters, self.rank * width), min(parameters, (self.rank + 1) * width))

    def first(self, flag: bool) -> bool:
        """Returns the first learner's flag."""
        return bool(self.add_up(torch.tensor(int(flag and self.rank == 0))))

    def take_first(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by those of the first learner."""
        for tensor in tensors if self.count > 1 else ():
            self.add_up(tensor.mul_(self.rank == 0))

    def _bounds(self, total: int) -> list[tuple[int, int]]:
        edges = [total * rank // self.count for rank in range(self.count + 1)]
        return list(itertools.pairwise(edges))


def checksum(network: torch.nn.Module) -> str:
    """Returns a digest of all parameters' bits, to compare networks bit by bit."""
    digest = hashlib.blake2b(digest_size=8)
    for parameter in network.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _separate_devices(device: torch.device, group: dist.ProcessGroup | None) -> bool:
    """Says whether no two learners share an accelerator; a collective operation."""
    mine = f"{torch.cuda.get_device_properties(device).uuid}"
    everyone: list[str | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, mine, group=group)
    return len(set(everyone)) == len(everyone)
