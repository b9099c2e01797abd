"""Four processes that take steps together over gloo; what each of them saw goes to one file per rank.

    python -m tests.rlgns.noise.distributed_worker FOLDER

torch is imported once and the processes are forked: four imports would take longer than all the steps.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from rlgns.noise import NoiseScaleMonitor

RANKS = 4
Group = tuple[Tensor, Tensor, bool]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Steps taken together by the first len(groups) ranks."""

    groups: tuple[tuple[int, ...], ...]
    """Observations in each group, by rank."""
    dtype: torch.dtype = torch.float64
    wrapped: bool = True
    every: int | None = None
    options: dict[str, bool] = field(default_factory=lambda: {"find_unused_parameters": True})


CASES = {
    "two ranks": Case(groups=((3,) * 4,) * 2),
    "four ranks": Case(groups=((4, 4),) * 4),
    "one group on each rank": Case(groups=((4,),) * 4),
    "not wrapped": Case(groups=((3, 3),) * 2, wrapped=False),
    "unequal, one rank empty": Case(groups=((2, 5), (), (3,), (1, 4, 6))),
    "float32": Case(groups=((4, 4),) * 4, dtype=torch.float32),
    "every second step": Case(groups=((2, 5), (), (3,), (1, 4, 6)), every=2),
    "views of buckets": Case(
        groups=((4, 4),) * 2, options={"gradient_as_bucket_view": True, "find_unused_parameters": True}
    ),
}


class Net(torch.nn.Module):
    """A frozen parameter, one that is never used, and a layer that only some groups use."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)
        self.rare, self.never = torch.nn.Linear(6, 3), torch.nn.Linear(2, 2)
        self.first.bias.requires_grad_(False)
        self.norm = torch.nn.BatchNorm1d(6, affine=False)

    def forward(self, inputs: Tensor, rare: bool) -> Tensor:
        """Logits; the running statistics of `norm` change but are not used."""
        if len(inputs) > 1:
            self.norm(inputs)
        out: Tensor = self.last(torch.tanh(self.first(inputs)))
        return out + self.rare(inputs) if rare else out


def groups_of(case: Case, rank: int, step: int) -> list[Group]:
    """This rank's groups; those of the last rank use the rare layer."""
    generator = torch.Generator().manual_seed(100 * step + rank)
    return [
        (
            torch.randn(n, 6, generator=generator).to(case.dtype),
            torch.randint(0, 3, (n,), generator=generator),
            rank == len(case.groups) - 1,
        )
        for n in case.groups[rank]
    ]


def loss_of(model: torch.nn.Module, group: Group) -> Tensor:
    """Mean over the group."""
    return torch.nn.functional.cross_entropy(model(group[0], group[2]), group[1])


def take_steps(model: torch.nn.Module, monitor: NoiseScaleMonitor, steps: list[list[Group]]) -> dict[str, Any]:
    """A few steps of SGD, one entry of `steps` each; what they left."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    moments, gradients = [], []
    for groups in steps:
        with monitor.step():
            for group in groups:
                monitor.backward(loss_of(model, group), observations=len(group[1]))
        moments.append(monitor.moments)
        gradients.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
        optimizer.step()
    parameters_after = [p.detach().clone() for p in model.parameters()]
    return {"moments": moments, "gradients": gradients, "parameters": parameters_after, "state": monitor.state_dict()}


def run_case(case: Case, rank: int, process_group: Any) -> dict[str, Any]:
    model: torch.nn.Module = Net().to(case.dtype)
    if case.wrapped:
        model = DistributedDataParallel(model, process_group=process_group, **case.options)
    monitor = NoiseScaleMonitor(
        model,
        groups=max(1, len(case.groups[rank])),
        process_group=None if case.wrapped else process_group,
        every=case.every,
    )
    return take_steps(model, monitor, [groups_of(case, rank, step) for step in range(3)])


def plain_ddp(case: Case, rank: int, process_group: Any) -> list[Tensor | None]:
    """The gradient of the first step as DistributedDataParallel itself leaves it."""
    model = DistributedDataParallel(Net().to(case.dtype), process_group=process_group, **case.options)
    groups = groups_of(case, rank, 0)
    whole = (torch.cat([g[0] for g in groups]), torch.cat([g[1] for g in groups]), groups[0][2])
    loss_of(model, whole).backward()
    return [p.grad for p in model.parameters()]


def overflow(rank: int) -> dict[str, Any]:
    """One rank's loss overflows under a scaler, then one rank's loss is NaN without one."""
    model = DistributedDataParallel(Net(), find_unused_parameters=True)
    monitor = NoiseScaleMonitor(model, groups=2)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    seen = []
    for factor in (1e38 if rank == 2 else 1.0, math.nan if rank == 3 else 1.0, 1.0, 1.0):
        with monitor.step(observations=8):
            for group in groups_of(Case(groups=((4, 4),) * 4, dtype=torch.float32), rank, 0):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    loss = loss_of(model, group)
                monitor.backward(factor * loss, scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
        moved = any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
        estimate = monitor.estimate()
        seen.append((estimate.updates, estimate.skipped, scaler.get_scale(), moved))
    return {"seen": seen, "state": monitor.state_dict()}


def paced(rank: int) -> list[bool]:
    """Which of 40 steps were measured; each rank's clock has its own speed."""
    model = torch.nn.Linear(2, 1)
    now = [0.0]
    options: dict[str, Any] = {"overhead": 0.2, "clock": lambda: now[0]}
    monitor = NoiseScaleMonitor(model, groups=2, process_group=dist.group.WORLD, **options)
    seen = []
    for _ in range(40):
        with monitor.step():
            for _ in range(monitor.parts):
                monitor.backward(model(torch.randn(2)).sum())
                now[0] += 1.0 + rank
        now[0] += 1.0
        seen.append(monitor.moments is not None)
    return seen


def buffers(rank: int) -> list[Tensor]:
    """Running means as each of three steps begins."""
    model = DistributedDataParallel(Net(), find_unused_parameters=True)
    monitor = NoiseScaleMonitor(model, groups=2)
    seen = []
    for step in range(3):
        with monitor.step():
            seen.append(model.module.norm.running_mean.clone())
            for group in groups_of(Case(groups=((4, 4),) * 4, dtype=torch.float32), rank, step):
                monitor.backward(loss_of(model, group))
    return seen


def mistake(rank: int, what: str) -> str:
    """The errors that every rank gets where they do not fit together."""
    model = torch.nn.Linear(2, 1, bias=what != "models" or rank == 0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**rank if what == "scales" else 1.0)
    try:
        if what == "static graph":
            NoiseScaleMonitor(DistributedDataParallel(model, static_graph=True), groups=2)
        monitor = NoiseScaleMonitor(model, groups=2, process_group=dist.group.WORLD)
        with monitor.step():
            for _ in range(2):
                monitor.backward(model(torch.ones(2)).sum(), scaler=scaler)
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "nothing"


def work(rank: int, folder: str) -> None:
    rendezvous = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=RANKS, timeout=timedelta(minutes=5))
    two = dist.new_group([0, 1])
    results: dict[str, Any] = {}
    for name, case in CASES.items():
        if rank < len(case.groups):
            process_group = two if len(case.groups) == 2 else dist.group.WORLD
            results[name] = run_case(case, rank, process_group)
            if len(set(case.groups)) == 1 and case.wrapped:
                results[name]["plain"] = plain_ddp(case, rank, process_group)
    results["overflow"], results["buffers"], results["paced"] = overflow(rank), buffers(rank), paced(rank)
    results["mistakes"] = [mistake(rank, what) for what in ("scales", "models", "static graph")]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).mkdir(exist_ok=True)
    torch.multiprocessing.start_processes(work, args=(sys.argv[1],), nprocs=RANKS, start_method="fork")
