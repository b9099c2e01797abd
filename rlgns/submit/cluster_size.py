"""How large a cluster a run or a sweep fills: the head, and worker nodes of up to eight CPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlgns.config.schema import Config
from rlgns.formatting import plural
from rlgns.machine.footprint import GIB, learner_bytes
from rlgns.sweep.config import Sweep
from rlgns.sweep.plan import make_plan

MOST_CPUS_PER_WORKER = 8
"""CPUs of one worker node at most: eight runners, or eight trials of a sweep, of one core each."""

GIB_PER_HEAD = 8
"""Driver 0.7 GiB, learner 1, Ray's daemons 0.5, W&B 0.2, and the object store."""

GIB_PER_RUNNER = 0.75
GIB_PER_TRIAL = 1.5
GIB_PER_ENVIRONMENT = 1 / 1024
"""Measured: 0.92 MiB each at 512 environments of Breakout."""
GIB_PER_NODE = 2
"""Of Ray itself, beside what runs there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterSize:
    """Size of the head and of the worker nodes."""

    games: tuple[str, ...]
    """The run's folder is named after them."""
    reason: str
    """What fills the cluster, in one line."""
    head_cpus: int
    head_ray_cpus: int
    """How many of the head's CPUs Ray may give to actors: none where the head only runs the driver."""
    head_gib: int
    head_gpus: int = 0
    workers: int = 0
    """Worker nodes, all of one size."""
    worker_cpus: int = 1
    worker_gib: int = GIB_PER_NODE
    worker_gpus: int = 0

    @property
    def worker_shm_gib(self) -> int:
        """Shared memory of a worker, for Ray's object store."""
        return max(1, self.worker_gib // 3)


def cluster_size(work: Config | Sweep) -> ClusterSize:
    """Returns the size of the cluster that a run or a sweep fills.

    A run's runners and remote learners are on the workers; without remote learners it learns on the head. Each trial of
    a sweep takes a core (with `engine.device cuda` also a GPU) of the workers, and the head only runs the driver.
    """
    return _of_sweep(work) if isinstance(work, Sweep) else _of_run(work)


def _of_run(config: Config) -> ClusterSize:
    games, gpu = config.run.games, config.engine.device == "cuda"
    runners, learners = (count * len(games) for count in (config.engine.runners, config.engine.learners))
    cpus = runners + learners * (config.engine.threads or 1)
    workers = math.ceil(cpus / MOST_CPUS_PER_WORKER)
    worker_cpus = math.ceil(cpus / workers) if workers else 1
    # All learners may be placed on one node, and each holds all rollouts.
    learner_gib = math.ceil(learners * learner_bytes(config, config.engine.threads or 1) / GIB)
    head_cpus = (config.engine.threads or 4) * len(games)
    return ClusterSize(
        games=games,
        reason=f"{plural(len(games), 'game')}, {plural(runners, 'runner')}"
        + (f", {plural(learners, 'remote learner')}" if learners else ""),
        head_cpus=head_cpus,
        head_ray_cpus=head_cpus,
        head_gib=GIB_PER_HEAD * len(games),
        head_gpus=len(games) if gpu else 0,
        workers=workers,
        worker_cpus=worker_cpus,
        worker_gib=math.ceil(GIB_PER_NODE + GIB_PER_RUNNER * worker_cpus) + learner_gib,
    )


def _of_sweep(sweep: Sweep) -> ClusterSize:
    planned = len(make_plan(sweep).initial_trials())
    trials = min(sweep.settings.parallel or planned, planned)
    workers = math.ceil(trials / MOST_CPUS_PER_WORKER)
    worker_cpus = math.ceil(trials / workers)
    environments = max(config.env.num_envs for config in sweep.configs.values())
    trial_gib = GIB_PER_TRIAL + GIB_PER_ENVIRONMENT * environments
    return ClusterSize(
        games=sweep.base.run.games,
        reason=f"{trials} of {plural(planned, 'trial')} at once (--parallel N: another number)",
        head_cpus=2,
        head_ray_cpus=0,
        head_gib=GIB_PER_HEAD,
        workers=workers,
        worker_cpus=worker_cpus,
        worker_gib=math.ceil(GIB_PER_NODE + trial_gib * worker_cpus),
        worker_gpus=worker_cpus if sweep.base.engine.device == "cuda" else 0,
    )
