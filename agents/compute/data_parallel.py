"""Several processes that take every optimizer step together; alone by default.

All of them hold all rollouts and the same weights, and each computes the gradients of its share of every batch. So the
batches, their groups and the advantages are those of one learner, whatever the number of learners: what differs is
rounding.
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
    """This process's place among the learners, and what they tell each other.

    Every method must be called by all learners in the same order. One that died, or one that does not answer in time,
    ends the call with a RuntimeError everywhere.
    """

    def __init__(
        self, rank: int = 0, count: int = 1, *, device: torch.device | None = None, timeout_s: float = 300.0
    ) -> None:
        """Joins the learners of torch.distributed's default group, which all must do at once.

        Args:
            rank: This learner's number, from 0.
            count: Learners in all.
            device: Where gradients are; the CPU if None. Learners that share an accelerator cannot use NCCL.
            timeout_s: Seconds that a learner waits for another.
        """
        self.rank, self.count = rank, count
        self._device = device or torch.device("cpu")
        self._group: dist.ProcessGroup | None = None
        if count > 1:
            timeout, self._meeting = datetime.timedelta(seconds=timeout_s), torch.device("cpu")
            self._group = dist.new_group(backend="gloo", timeout=timeout)
            if self._device.type == "cuda" and _own_device(self._device, self._group):
                self._group, self._meeting = dist.new_group(backend="nccl", timeout=timeout), self._device

    def share(self, total: int) -> slice:
        """Returns this learner's share of so many things: neighbours, as equally many each as can be; perhaps none."""
        return slice(*self._bounds(total)[self.rank])

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replaces a contiguous tensor by its sum over all learners, to the last bit the same on each. Returns it."""
        if self.count > 1:
            there = tensor.to(self._meeting)
            dist.all_reduce(there, group=self._group)
            if there is not tensor:
                tensor.copy_(there)
        return tensor

    def columns(self, rows: Tensor, total: int) -> Tensor:
        """Exchanges whole rows for parts of all rows: the learners' columns together are all columns, in order.

        Inner products of the rows are sums over the learners' columns, and the mean of the rows is made of the means
        of columns. So no learner needs to hold all rows, and nothing is lost.

        Args:
            rows: [share, parameters], this learner's `share` of the rows.
            total: Rows of all learners together.

        Returns:
            [total, parameters / learners, rounded up]; behind the last parameter zeros. Alone: the rows themselves.
        """
        if self.count == 1:
            return rows
        width = -(-rows.shape[1] // self.count)
        packed = torch.nn.functional.pad(rows.to(self._meeting), (0, width * self.count - rows.shape[1]))
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
        """Joins the learners' parts [parameters / learners, rounded up] of a vector. Returns [length], on all."""
        if self.count == 1:
            return part[:length]
        there = part.to(self._meeting)
        whole = there.new_empty(self.count * len(part))
        dist.all_gather_single(whole, there, group=self._group)
        return whole[:length].to(part.device)

    def own_columns(self, parameters: int) -> slice:
        """Returns which of so many columns `columns` gives to this learner."""
        width = -(-parameters // self.count)
        return slice(min(parameters, self.rank * width), min(parameters, (self.rank + 1) * width))

    def first(self, flag: bool) -> bool:
        """Returns what the first learner says."""
        return bool(self.add_up(torch.tensor(int(flag and self.rank == 0))))

    def take_first(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by those of the first learner."""
        for tensor in tensors if self.count > 1 else ():
            self.add_up(tensor.mul_(self.rank == 0))

    def _bounds(self, total: int) -> list[tuple[int, int]]:
        edges = [total * rank // self.count for rank in range(self.count + 1)]
        return list(itertools.pairwise(edges))


def checksum(network: torch.nn.Module) -> str:
    """Digest of all parameters' bits: equal if and, but for chance, only if they are equal to the last bit."""
    digest = hashlib.blake2b(digest_size=8)
    for parameter in network.parameters():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _own_device(device: torch.device, group: dist.ProcessGroup | None) -> bool:
    """Whether every learner has an accelerator of its own; a call of all learners."""
    mine = f"{torch.cuda.get_device_properties(device).uuid}"
    everyone: list[str | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, mine, group=group)
    return len(set(everyone)) == len(everyone)
