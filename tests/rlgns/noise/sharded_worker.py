"""Two processes that shard a model with `fully_shard` over gloo; what each of them saw goes to one file per rank.

python -m tests.rlgns.noise.sharded_worker FOLDER
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from rlgns.noise import NoiseScaleMonitor
from tests.rlgns.noise.classifier import Batch, loss_of, make_batch

RANKS, GROUPS, STEPS = 2, 4, 4


def make_model() -> torch.nn.Module:
    """Sizes that two processes cannot share evenly."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)]
    return torch.nn.Sequential(*layers).double()


def shards_of(batch: Batch, rank: int) -> Batch:
    """A rank's half of a part."""
    half = len(batch[1]) // RANKS
    return batch[0][rank * half :][:half], batch[1][rank * half :][:half]


def train(model: torch.nn.Module, rank: int | None, every: int | None = None) -> dict[str, Any]:
    """Steps of SGD on batches of 32; `rank` None: one process has all of each part."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    monitor = NoiseScaleMonitor(model, groups=GROUPS, every=every)
    moments = []
    for step in range(STEPS):
        batch = make_batch(32, seed=step)
        with monitor.step(observations=32 if rank is None else 32 // RANKS):
            for inputs, labels in zip(batch[0].chunk(monitor.parts), batch[1].chunk(monitor.parts), strict=True):
                part = (inputs, labels)
                monitor.backward(loss_of(model, part if rank is None else shards_of(part, rank)))
        moments.append(monitor.moments)
        optimizer.step()
    parameters = [whole(parameter).detach().clone() for parameter in model.parameters()]
    return {"moments": moments, "parameters": parameters, "state": monitor.state_dict()}


def whole(parameter: Tensor) -> Tensor:
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter


def sharded(mesh: Any) -> torch.nn.Module:
    model = make_model()
    fully_shard(model[0], mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def mistakes(mesh: Any, rank: int) -> list[str]:
    """One rank has another number of observations; some parameters are not sharded."""
    found = []
    model = sharded(mesh)
    monitor = NoiseScaleMonitor(model, groups=2)
    partly = make_model()
    fully_shard(partly[0], mesh=mesh)

    def unequal() -> None:
        with monitor.step():
            for _ in range(2):
                monitor.backward(loss_of(model, make_batch(4 + rank)), observations=4 + rank)

    for make in (unequal, lambda: NoiseScaleMonitor(partly)):
        try:
            make()
        except (RuntimeError, ValueError) as error:
            found.append(str(error))
    return found


def work(rank: int, folder: str) -> None:
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=RANKS, timeout=timedelta(minutes=5))
    mesh = init_device_mesh("cpu", (RANKS,))
    results = {
        "always": train(sharded(mesh), rank),
        "sometimes": train(sharded(mesh), rank, every=2),
        "mistakes": mistakes(mesh, rank),
    }
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).mkdir(exist_ok=True)
    torch.multiprocessing.start_processes(work, args=(sys.argv[1],), nprocs=RANKS, start_method="fork")
