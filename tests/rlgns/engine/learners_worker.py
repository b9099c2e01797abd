"""Learners that run two iterations together over gloo, and write what each of them saw to one file.

    python -m tests.rlgns.engine.learners_worker FOLDER

torch is imported once and the processes are forked: an import each would take longer than all the steps.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

import torch
import torch.distributed as dist

from rlgns.agents.compute.data_parallel import DataParallel, checksum
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.update import Updater
from rlgns.config.schema import Config
from rlgns.engine.loss_splits import LossSplits
from rlgns.engine.probe import Probe
from rlgns.engine.ride_along import RideAlong
from rlgns.envs.config import EnvConfig
from rlgns.noise.config import NoiseConfig
from tests.agents.synthetic import NETWORK, near_policy, random_rollouts, small_network

COUNTS = (2, 3, 5)
"""Learners: equal shares of the 4 groups, unequal ones, and a learner without a group."""

RUN = Config(
    env=EnvConfig(num_envs=8),
    agent=AgentConfig(rollout_steps=8, epochs=2, minibatches=2, learning_rate=1e-3, entropy_coefficient=0.1),
    network=NETWORK,
    noise=NoiseConfig(groups=4, shuffled_every=2),
)


def learn(learners: DataParallel, *, threads: int = 1) -> dict[str, Any]:
    """Two iterations from made-up rollouts, each with a probe and a batch that is also split by loss.

    The second has a batch that is split by shuffling.
    """
    network, ticks, workers = small_network(), itertools.count(), Team(threads)
    measure = RideAlong(RUN.noise, minibatches=2, add_up=learners.add_up)
    losses = LossSplits(RUN.noise, minibatches=2, epochs=2, add_up=learners.add_up)
    probe = Probe(RUN, network, clock=lambda: float(next(ticks)))
    updater = Updater(
        network,
        RUN.agent,
        groups=RUN.groups_per_batch,
        precision="float32",
        on_products=measure.on_products,
        on_losses=losses.on_losses,
        team=workers,
        data_parallel=learners,
    )
    seen: dict[str, Any] = {"weights": [], "checksums": [], "stats": [], "rows": []}
    for iteration in range(2):
        rollouts, observations = zip(
            *(random_rollouts(10 * iteration + part, steps=8, envs=4) for part in range(2)), strict=True
        )
        played = [several[0] for several in rollouts]
        near_policy(played, [several[0] for several in observations], network, seed=iteration)
        stats = updater.update(
            played,
            learning_rate=1e-3,
            seed=(3, iteration),
            split_shuffled=iteration == 1,
            step_by_loss=1,
            before_steps=lambda fresh, seed=(3, iteration): probe.measure(fresh, seed),  # type: ignore[misc]
        )
        seen["weights"].append(torch.cat([p.detach().double().flatten() for p in network.parameters()]))
        seen["checksums"].append(checksum(network))
        seen["stats"].append(stats)
        measure.settle()
        losses.settle(measure.divisors, 128 * (iteration + 1))
        seen["rows"].append(report(measure) | losses.report() | probe.report(RUN.batch_observations))
    workers.close()
    return seen | {"noise": measure.state_dict(), "probe": probe.state_dict()["views"]}


def report(measure: RideAlong) -> dict[str, Any]:
    return measure.report(optimizer_steps=4, batch_observations=RUN.batch_observations)


def error_of(learners: DataParallel) -> str:
    """Returns the error of a learner that waits for another."""
    try:
        learners.add_up(torch.zeros(10))
    except RuntimeError as error:
        return str(error)
    return "nothing"


def work(rank: int, count: int, folder: str) -> None:
    name = f"{folder}/rendezvous-{count}"
    dist.init_process_group("gloo", init_method=f"file://{name}", rank=rank, world_size=count)
    learners = DataParallel(rank, count, timeout_s=60)
    seen = learn(learners, threads=1 + rank % 2)  # threads do not matter either
    seen["first"] = (learners.first(rank == 0), learners.first(rank == 1))
    if count == 2:
        impatient = DataParallel(rank, count, timeout_s=0.5)
        if rank == 0:  # the other one is silent
            seen["late"] = error_of(impatient)
        dist.barrier()
        if rank == 1:
            torch.save(seen, f"{folder}/{count}-{rank}.pt")
            os.kill(os.getpid(), signal.SIGKILL)
        seen["dead"] = error_of(learners)
    torch.save(seen, f"{folder}/{count}-{rank}.pt")
    if count > 2:
        dist.destroy_process_group()
    os._exit(0)  # groups with a dead member cannot be left


if __name__ == "__main__":
    torch.set_num_threads(1)
    for learners_in_all in COUNTS:
        context = torch.multiprocessing.start_processes(
            work, args=(learners_in_all, sys.argv[1]), nprocs=learners_in_all, start_method="fork", join=False
        )
        for process in context.processes:
            process.join()
