"""Which process goes where: CPUs, threads, memory and object store of a trial, from what a cluster has. No Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agents.precision import choose_device
from rlgns.config.schema import Config

GIB = 2**30

BASE_GIB = {"driver": 0.7, "learner": 0.6, "runner": 0.55, "ray": 0.5}
"""Resident memory of a process before its arrays, measured; `ray`: the daemons of one node."""

MOST_ACTIONS = 18
"""Of any game."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One machine of a cluster, as Ray counts it."""

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0
    """Bytes; 0: not known."""
    object_store: float = 0.0
    """Bytes; 0: not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What each of the trials that run at once may use."""

    most: int
    """Trials at once."""
    cpus: float
    """Of one trial."""
    gpus: float
    """Of one trial."""
    nodes: tuple[Node, ...]
    """All machines, which the trials share."""

    @classmethod
    def of(cls, nodes: Sequence[Node], most: int) -> Share:
        """Divides a cluster's CPUs and GPUs by `most`; 0: a GPU for each trial, or else a CPU. CPUs stay whole."""
        cpus, gpus = max(1.0, sum(node.cpus for node in nodes)), sum(node.gpus for node in nodes)
        most = max(1, min(most or int(gpus or cpus), int(cpus)))
        return cls(most=most, cpus=float(int(cpus / most)), gpus=gpus / most, nodes=tuple(nodes) or (Node(cpus=1.0),))


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The processes of one trial and what each is given."""

    runners: int
    runner_cpus: float
    learners: int
    """Remote ones; 0: the driver learns."""
    learner_cpus: float
    """Of each remote learner; 0 without any."""
    learner_gpus: float
    """Of each remote learner, or of the driver where that learns."""
    driver_cpus: float
    learner_threads: int
    """torch threads of each process that learns."""
    driver_threads: int
    """torch threads of the driver, which learns, plays, or waits."""

    @classmethod
    def of(cls, run: Config, share: Share, *, gpu: bool = False) -> Placement:
        """Gives every runner one CPU, and those that learn the rest, as much as a machine has room for.

        With fewer CPUs than processes all get equal fractions, for Ray to count: nothing keeps them apart.

        Args:
            run: The resolved configuration.
            share: What the trial may use.
            gpu: Whether learners are to have GPUs.
        """
        runners, learners = run.engine.runners, run.engine.learners
        plays = bool(learners) and not runners  # the driver, while the learners wait
        large = (learners or 1) + plays
        each = _fraction(share, runners + large)
        rest = max(each, float(int((share.cpus - runners * each) / large)))
        while rest > each and not _fits(share, [rest] * large + [each] * runners):
            rest = max(each, rest - 1)
        threads = run.engine.threads or max(1, int(rest))
        return cls(
            runners=runners,
            runner_cpus=each if runners else 0.0,
            learners=learners,
            learner_cpus=rest if learners else 0.0,
            learner_gpus=_gpus(share, learners or 1) if gpu else 0.0,
            driver_cpus=rest if plays or not learners else 0.0,
            learner_threads=threads,
            driver_threads=threads if not learners else max(1, int(rest)) if plays else 1,
        )


def wants_gpu(run: Config, share: Share) -> bool:
    """Whether learners are to have GPUs: those of this machine, or of the nodes where remote learners run."""
    if run.engine.learners:
        return run.engine.device == "cuda" or (run.engine.device == "auto" and share.gpus > 0)
    return choose_device(run.engine.device).type == "cuda"


def rollout_bytes(run: Config) -> int:
    """Bytes of one iteration's rollouts: newest frames, and 27 bytes beside them per observation."""
    steps, envs = run.agent.rollout_steps, run.env.num_envs
    frames = (steps + run.env.frame_stack - 1) * envs * run.env.image_size**2
    return frames + 27 * steps * envs


def parameters(run: Config) -> int:
    """Parameters of the network, with as many actions as any game has."""
    channels, size, total = run.env.frame_stack, run.env.image_size, 0
    layers = zip(run.network.channels, run.network.kernels, run.network.strides, strict=True)
    for width, kernel, stride in layers:
        total += width * (channels * kernel**2 + 1)
        channels, size = width, (size - kernel) // stride + 1
    return total + run.network.hidden * (channels * size**2 + 1) + (MOST_ACTIONS + 1) * (run.network.hidden + 1)


def learner_bytes(run: Config, placement: Placement) -> float:
    """Memory of a process that learns: its rollouts joined, gradients by group, optimizer, activations of one part."""
    rows = max(math.ceil(run.groups_per_batch / max(1, run.engine.learners)), placement.learner_threads)
    part = run.batch_observations / max(run.groups_per_batch, 1) * placement.learner_threads
    return (
        BASE_GIB["learner"] * GIB
        + rollout_bytes(run)
        + 4 * parameters(run) * (rows + 4)  # beside the rows: weights, the optimizer's two, and what travels
        + 12 * part * _activations(run)  # float32: forward, backward, and what the kernels need
    )


def object_store_bytes(run: Config) -> int:
    """Bytes that one iteration puts into the object store of each node that learns; 0: all is in one process."""
    if not run.engine.runners and not run.engine.learners:
        return 0
    return rollout_bytes(run) * (1 + run.engine.async_lag) + 4 * parameters(run)


def memory_bytes(run: Config, placement: Placement) -> float:
    """Estimate of one trial's resident memory in all, without Ray's daemons and object store."""
    learning = learner_bytes(run, placement)
    driver = BASE_GIB["driver"] * GIB
    if not placement.learners:
        return max(driver, learning) + placement.runners * BASE_GIB["runner"] * GIB
    return driver + placement.learners * learning + placement.runners * BASE_GIB["runner"] * GIB


def warnings(run: Config, share: Share, placement: Placement) -> Iterator[str]:
    """Says, a line each, what cannot fit or is of no use."""
    cpus = sum(node.cpus for node in share.nodes)
    processes = placement.runners + (placement.learners or 1) + (placement.learners > 0 and not placement.runners)
    if processes * share.most > cpus:
        yield f"{processes * share.most} processes that compute share {cpus:g} CPUs"
    if run.engine.threads and run.engine.threads > (placement.learner_cpus or placement.driver_cpus):
        given = placement.learner_cpus or placement.driver_cpus
        yield f"engine.threads {run.engine.threads} are more than the {given:.2g} CPUs of a learner"
    if run.noise.enabled and placement.learners > run.groups_per_batch:
        yield (
            f"engine.learners {placement.learners} are more than the {run.groups_per_batch} groups of a batch: "
            f"{placement.learners - run.groups_per_batch} have nothing to do in the first epoch (noise.groups, "
            "env.num_envs)"
        )
    if 0 < placement.learner_gpus < 1 and placement.learners > 1:
        yield f"{placement.learners * share.most} learners share GPUs: their gradients travel through host memory"
    memory = sum(node.memory for node in share.nodes)
    needed = memory_bytes(run, placement) * share.most + BASE_GIB["ray"] * GIB * len(share.nodes)
    if memory and needed > memory:
        yield f"about {needed / GIB:.1f} GiB of memory are needed, {memory / GIB:.1f} GiB are there"
    stores = [node.object_store for node in share.nodes if node.object_store]
    objects = object_store_bytes(run) * share.most
    if stores and objects > 0.8 * min(stores):
        yield (
            f"an iteration needs {objects / GIB:.2f} GiB of object store, the smallest node has "
            f"{min(stores) / GIB:.2f} GiB: Ray will spill to disk"
        )


def describe(run: Config, share: Share, placement: Placement) -> Iterator[tuple[str, str]]:
    """Says what goes where, for people: name and text of each line."""
    cpus, gpus = sum(node.cpus for node in share.nodes), sum(node.gpus for node in share.nodes)
    where = f"{len(share.nodes)} nodes with" if len(share.nodes) > 1 else "one machine with"
    at_once = f"{share.most} games at once on " if share.most > 1 else ""
    yield "placement", f"{at_once}{where} {cpus:g} CPUs, {f'{gpus:g} GPUs' if gpus else 'no GPU'}"
    envs, learning = run.env.num_envs, _gib(learner_bytes(run, placement))
    gpu = f", {placement.learner_gpus:.2g} GPU" if placement.learner_gpus else ""
    does = f"learns{'' if placement.runners else f' and plays {envs} environments'}"
    if placement.learners:
        does = "waits" if placement.runners else f"plays {envs} environments"
    size = _gib(BASE_GIB["driver"] * GIB) if placement.learners else learning
    mine = "" if placement.learners else gpu
    yield "driver", f"{does}: {_cpus(placement.driver_cpus, placement.driver_threads)}{mine}, {size}"
    if placement.learners:
        each = _cpus(placement.learner_cpus, placement.learner_threads)
        yield "learners", f"{placement.learners}, each {each}{gpu}, {learning}"
    if placement.runners:
        each, size = _cpus(placement.runner_cpus, 1), _gib(BASE_GIB["runner"] * GIB)
        yield "runners", f"{placement.runners}, each {each}, {size}, {envs // placement.runners} environments"
    memory = sum(node.memory for node in share.nodes)
    total = memory_bytes(run, placement) * share.most + BASE_GIB["ray"] * GIB * len(share.nodes)
    yield "memory", f"about {_gib(total)} in all{f' of {_gib(memory)}' if memory else ''}"
    objects = object_store_bytes(run)
    if objects:
        stores = [node.object_store for node in share.nodes if node.object_store]
        there = f" of {_gib(min(stores))}" if stores else ""
        yield "objects", f"{objects / 2**20:,.1f} MiB{there} of object store per iteration, on each node that learns"
    for warning in warnings(run, share, placement):
        yield "warning", warning


def _fraction(share: Share, processes: int) -> float:
    """The largest CPUs, at most 1, that every process of every trial can have, each whole on one machine."""
    wanted = processes * share.most
    capacities = {node.cpus for node in share.nodes if node.cpus > 0} or {1.0}
    candidates = {1.0} | {cpus / parts for cpus in capacities for parts in range(1, wanted + 1)}
    for each in sorted((value for value in candidates if value <= 1), reverse=True):
        if sum(math.floor(node.cpus / each + 1e-9) for node in share.nodes) >= wanted:
            return math.floor(each * 10_000) / 10_000  # Ray counts in ten-thousandths
    return 1.0 / wanted


def _fits(share: Share, demands: list[float]) -> bool:
    """Whether the CPUs of all trials' processes fit on the machines, the largest first."""
    left = [node.cpus for node in share.nodes]
    for demand in sorted(demands * share.most, reverse=True):
        place = max(range(len(left)), key=left.__getitem__)
        if left[place] < demand - 1e-9:
            return False
        left[place] -= demand
    return True


def _gpus(share: Share, learners: int) -> float:
    """GPUs of each learner: one, or an equal part of one where there are fewer."""
    total = sum(math.floor(node.gpus) for node in share.nodes)
    return 1.0 / math.ceil(learners * share.most / total) if total else 0.0


def _activations(run: Config) -> int:
    """Units of the network per observation, the stacked input among them."""
    channels, size = run.env.frame_stack, run.env.image_size
    total = channels * size**2
    for width, kernel, stride in zip(run.network.channels, run.network.kernels, run.network.strides, strict=True):
        size = (size - kernel) // stride + 1
        total += width * size**2
    return total + run.network.hidden


def _cpus(cpus: float, threads: int) -> str:
    number = f"{cpus:.2g}"
    return f"{number} {'CPU' if number == '1' else 'CPUs'}, {threads} thread{'' if threads == 1 else 's'}"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
