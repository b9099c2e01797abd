"""Divides the CPUs, threads and GPUs of a cluster among the processes of a trial. No Ray."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlgns.agents.compute.precision import choose_device
from rlgns.config.schema import Config

CORES_PER_TRIAL = 4
"""CPUs that play for a trial on a GPU, at least, before another trial shares that GPU."""

MOST_PER_GPU = 4
"""Trials that share a GPU by default."""


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
class TrialShare:
    """What each of several trials that run at once may use."""

    most: int
    """Trials at once."""
    cpus: float
    """Of one trial."""
    gpus: float
    """Of one trial."""
    nodes: tuple[Node, ...]
    """All machines, which the trials share."""

    @classmethod
    def of(cls, nodes: Sequence[Node], most: int) -> TrialShare:
        """Divides a cluster by `most` trials; 0: one per CPU, or `trials_per_gpu` per GPU. CPUs stay whole."""
        cpus, gpus = max(1.0, sum(node.cpus for node in nodes)), sum(node.gpus for node in nodes)
        most = max(1, min(most or int(gpus * trials_per_gpu(cpus, gpus) if gpus else cpus), int(cpus)))
        return cls(most=most, cpus=float(int(cpus / most)), gpus=gpus / most, nodes=tuple(nodes) or (Node(cpus=1.0),))


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The processes of one trial and the resources of each."""

    runners: int
    runner_cpus: float
    learners: int
    """Remote ones; 0: the driver learns."""
    learner_cpus: float
    """Of each remote learner; 0 without any."""
    learner_gpus: float
    """Of each remote learner, or of the driver where it learns."""
    driver_cpus: float
    learner_threads: int
    """torch threads of each process that learns."""
    driver_threads: int
    """torch threads of the driver, which learns, plays, or waits."""

    @classmethod
    def of(cls, run: Config, share: TrialShare, *, gpu: bool = False) -> Placement:
        """Gives every runner one CPU and divides the rest among the processes that learn, as far as a machine has room.

        With fewer CPUs than processes all get equal fractions. Ray counts them but does not enforce them.

        Args:
            run: The resolved configuration.
            share: What the trial may use.
            gpu: Whether learners get GPUs.
        """
        runners, learners = run.engine.runners, run.engine.learners
        plays = bool(learners) and not runners  # the driver, while the learners wait
        large = (learners or 1) + plays
        each = _fraction(share, runners + large)
        rest = max(each, float(int((share.cpus - runners * each) / large)))
        while rest > each and not _fits(share, [rest] * large + [each] * runners):
            rest = max(each, rest - 1)
        threads = run.engine.threads or max(1, int(rest))
        if runners and not learners and not run.engine.async_lag and not run.engine.threads:
            # Runners are idle while the driver learns, so its threads may use their CPUs too.
            threads = max(1, int(min(share.cpus, max(node.cpus for node in share.nodes) / share.most)))
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


def trials_per_gpu(cpus: float, gpus: float) -> int:
    """Returns how many trials share a GPU by default: one for every CORES_PER_TRIAL CPUs, at most MOST_PER_GPU.

    While one trial plays, which takes most of its time, the GPU would be idle. A trial needs about 2 GiB of a GPU's
    memory under `gpu` (its rows of gradients and the libraries), so that memory is no limit on GPUs of 16 GiB and more.
    How much it helps was not measured; the stage `trials` of `benchmarks.gpu` does.
    """
    return max(1, min(MOST_PER_GPU, int(cpus / gpus / CORES_PER_TRIAL)))


def wants_gpu(run: Config, share: TrialShare) -> bool:
    """Returns whether learners get GPUs: of this machine, or of the nodes where remote learners run."""
    if run.engine.learners:
        return run.engine.device == "cuda" or (run.engine.device == "auto" and share.gpus > 0)
    return choose_device(run.engine.device).type == "cuda"


def _fraction(share: TrialShare, processes: int) -> float:
    """Returns the largest number of CPUs, at most 1, that every process can have with none split over two machines."""
    wanted = processes * share.most
    capacities = {node.cpus for node in share.nodes if node.cpus > 0} or {1.0}
    candidates = {1.0} | {cpus / parts for cpus in capacities for parts in range(1, wanted + 1)}
    for each in sorted((value for value in candidates if value <= 1), reverse=True):
        if sum(math.floor(node.cpus / each + 1e-9) for node in share.nodes) >= wanted:
            return math.floor(each * 10_000) / 10_000  # Ray counts in ten-thousandths
    return 1.0 / wanted


def _fits(share: TrialShare, demands: list[float]) -> bool:
    """Returns whether the processes of all trials fit on the machines, placing the largest first."""
    left = [node.cpus for node in share.nodes]
    for demand in sorted(demands * share.most, reverse=True):
        place = max(range(len(left)), key=left.__getitem__)
        if left[place] < demand - 1e-9:
            return False
        left[place] -= demand
    return True


def _gpus(share: TrialShare, learners: int) -> float:
    """Returns the GPUs of each learner: one, or an equal part of one where there are too few."""
    total = sum(math.floor(node.gpus) for node in share.nodes)
    return 1.0 / math.ceil(learners * share.most / total) if total else 0.0
