"""Two processes that accumulate micro-batches over gloo as a host does, watched or not; one file per rank.

python -m tests.rlgns.adapters.micro_batches_worker FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rlgns.adapters.micro_batches import MicroBatches, largest

RANKS = 2
SIZES = ((4, 3), (5, 2))
"""Observations in each micro-batch, by rank."""
SCALE = 8.0


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)).double()


def data(rank: int, micro_batch: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(100 * step + 10 * rank + micro_batch)
    return torch.randn(SIZES[rank][micro_batch], 5, generator=generator, dtype=torch.float64)


def losses(model: nn.Module, rows: Tensor) -> Tensor:
    """One loss per observation."""
    return (model(rows)[:, 0] - rows.sum(1)) ** 2 + 0.3 * rows[:, 0]


def train(rank: int, *, watched: bool, counted: bool, views: bool) -> dict[str, Any]:
    """Three steps. `counted`: loss over the number of observations of all ranks, else over each micro-batch's own."""
    module = network()
    model = DistributedDataParallel(module, gradient_as_bucket_view=views)
    optimizer, batches = torch.optim.SGD(model.parameters(), lr=0.1), MicroBatches(model)
    total, found = sum(map(sum, SIZES)), []
    for step in range(3):
        optimizer.zero_grad()
        batches.start()
        for k, size in enumerate(SIZES[rank]):
            share = RANKS * size / total if counted else 1 / len(SIZES[rank])

            def backward(k: int = k, step: int = step, share: float = share) -> None:
                (SCALE * share * losses(model, data(rank, k, step)).mean()).backward()

            last = k == len(SIZES[rank]) - 1
            if watched:
                with batches.micro_batch():
                    backward() if last else _unsynced(model, backward)
                batches.close(share=size, observations=size)
            else:
                backward() if last else _unsynced(model, backward)
        for parameter in model.parameters():
            parameter.grad /= SCALE  # as a scaler's unscale_
        if watched:
            moments, share = batches.finish(scale=SCALE, averaged_scale=1.0, equal=not counted)
            found.append((moments, share, largest(model, 5 + rank)))
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    return {"moments": found, "state": module.state_dict()}


def _unsynced(model: DistributedDataParallel, backward: Any) -> None:
    with model.no_sync():
        backward()


def work(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    results = {
        (counted, views): [train(rank, watched=watched, counted=counted, views=views) for watched in (False, True)]
        for counted in (False, True)
        for views in (False, True)
    }
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


def main() -> None:
    folder = Path(sys.argv[1])
    children = []
    for rank in range(RANKS):
        child = os.fork()
        if child == 0:
            work(rank, folder)
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))


if __name__ == "__main__":
    main()
