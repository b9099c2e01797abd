"""How large a cluster a run or a sweep fills: the head, and worker nodes of up to eight CPUs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlgns.config.schema import Config
from rlgns.formatting import plural
from rlgns.machine.footprint import GIB, learner_bytes
from rlgns.sweep.config import Sweep
from rlgns.sweep.session import make_plan

CPUS_OF_WORKER = 8
"""CPUs of one worker node: eight runners, or eight trials of a sweep, of one core each."""

GIB_OF_HEAD = 8
"""Driver 0.7 GiB, learner 1, Ray's daemons 0.5, W&B 0.2, and the object store."""

GIB_OF_RUNNER = 0.75
GIB_OF_TRIAL = 1.5
GIB_OF_ENVIRONMENT = 1 / 1024
"""Measured: 0.92 MiB each at 512 environments of Breakout."""
GIB_OF_NODE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Of a cluster."""

    games: tuple[str, ...]
    """By which the run's folder is named."""
    why: str
    """What fills it, a line."""
    head_cpus: int
    head_ray_cpus: int
    """Of these, what Ray may give to actors: none where the head only steers."""
    head_gib: int
    head_gpus: int = 0
    nodes: int = 0
    """Worker nodes."""
    cpus: int = 1
    """Of each worker node."""
    gib: int = GIB_OF_NODE
    gpus: int = 0

    @property
    def shm_gib(self) -> int:
        """Shared memory of a worker, for Ray's object store."""
        return max(1, self.gib // 3)


def size_of(work: Config | Sweep) -> Size:
    """Returns the cluster that work fills.

    A run's runners, and its remote learners, are on the workers; without any it learns on the head. A sweep's trials
    each take a core (a GPU, with `engine.device cuda`) of the workers, and the head only steers.
    """
    return _of_sweep(work) if isinstance(work, Sweep) else _of_run(work)


def _of_run(config: Config) -> Size:
    games, gpu = config.run.games, config.engine.device == "cuda"
    runners, learners = (count * len(games) for count in (config.engine.runners, config.engine.learners))
    filled = runners + learners * (config.engine.threads or 1)
    nodes = math.ceil(filled / CPUS_OF_WORKER)
    cpus = math.ceil(filled / nodes) if nodes else 1
    # Learners may all come to one node, and each holds all rollouts.
    learning = math.ceil(learners * learner_bytes(config, config.engine.threads or 1) / GIB)
    head_cpus = (config.engine.threads or 4) * len(games)
    return Size(
        games=games,
        why=f"{plural(len(games), 'game')}, {plural(runners, 'runner')}"
        + (f", {plural(learners, 'remote learner')}" if learners else ""),
        head_cpus=head_cpus,
        head_ray_cpus=head_cpus,
        head_gib=GIB_OF_HEAD * len(games),
        head_gpus=len(games) if gpu else 0,
        nodes=nodes,
        cpus=cpus,
        gib=math.ceil(GIB_OF_NODE + GIB_OF_RUNNER * cpus) + learning,
    )


def _of_sweep(sweep: Sweep) -> Size:
    planned = len(make_plan(sweep).trials({}))
    trials = min(sweep.settings.parallel or planned, planned)
    nodes = math.ceil(trials / CPUS_OF_WORKER)
    cpus = math.ceil(trials / nodes)
    environments = max(config.env.num_envs for config in sweep.configs.values())
    each = GIB_OF_TRIAL + GIB_OF_ENVIRONMENT * environments
    return Size(
        games=sweep.base.run.games,
        why=f"{trials} of {plural(planned, 'trial')} at once (--parallel N: another number)",
        head_cpus=2,
        head_ray_cpus=0,
        head_gib=GIB_OF_HEAD,
        nodes=nodes,
        cpus=cpus,
        gib=math.ceil(GIB_OF_NODE + each * cpus),
        gpus=cpus if sweep.base.engine.device == "cuda" else 0,
    )
