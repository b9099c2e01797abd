"""Estimates what a trial needs of a cluster: memory and object store, and warnings where it does not fit. No Ray."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from rlgns.agents.network import ActorCritic, build_network
from rlgns.config.schema import Config
from rlgns.machine.placement import Placement, TrialShare

GIB = 2**30

BASE_GIB = {"driver": 0.7, "learner": 0.6, "runner": 0.55, "ray": 0.5}
"""Resident memory of each process without its arrays, measured; `ray`: the daemons of one node."""

MOST_ACTIONS = 18
"""Actions of the game that has most."""


EMULATOR_BYTES = 1.2 * 2**20
"""Of one environment: 1.1 MiB measured over 150 of Pong."""


def emulator_bytes(run: Config) -> float:
    """Returns the bytes of the emulators."""
    return EMULATOR_BYTES * run.env.num_envs


def rollout_bytes(run: Config) -> int:
    """Returns the bytes of one iteration's rollouts: frames, 27 bytes per frame, and the values after the last step."""
    steps, envs = run.agent.rollout_steps, run.env.num_envs
    return frames_bytes(run) + 27 * steps * envs + 4 * envs


def frames_bytes(run: Config) -> int:
    """Returns the bytes of one iteration's frames, with the older frames of its first stacks."""
    return (run.agent.rollout_steps + run.env.frame_stack - 1) * run.env.num_envs * run.env.image_size**2


def parameters(run: Config) -> int:
    """Returns the number of the network's parameters, with MOST_ACTIONS actions."""
    return _network(run).parameter_count


def learner_bytes(run: Config, threads: int) -> float:
    """Returns the bytes of a process that learns: rollouts, group gradients, optimizer, activations of one part."""
    run = _largest(run)
    groups = math.ceil(run.groups_per_batch / max(1, run.engine.learners))
    by_loss = groups if run.noise.enabled and run.noise.overhead_budget else 0  # the policy's gradients
    rows = max(groups, threads) + by_loss
    part = run.batch_observations / max(run.groups_per_batch, 1) * threads
    return (
        BASE_GIB["learner"] * GIB
        + rollout_bytes(run)
        + 4
        * parameters(run)
        * (rows + 4)  # besides the rows: weights, the optimizer's two vectors, and one that travels
        + 12 * part * _activations(run)  # float32: forward, backward, and what the kernels need
    )


def object_store_bytes(run: Config) -> int:
    """Returns the bytes that one iteration puts into the object store of each learner's node; 0 without remotes."""
    if not run.engine.runners and not run.engine.learners:
        return 0
    run = _largest(run)
    return rollout_bytes(run) * (1 + run.engine.async_lag) + 4 * parameters(run)


def _largest(run: Config) -> Config:
    """Returns the run with the most environments that it may use."""
    return run.at(run.env_tiers[-1])


def memory_bytes(run: Config, placement: Placement) -> float:
    """Returns an estimate of one trial's resident memory, without Ray's daemons and object store."""
    emulators = emulator_bytes(_largest(run))
    learning = learner_bytes(run, placement.learner_threads)
    driver = BASE_GIB["driver"] * GIB
    if not placement.learners:
        return max(driver, learning) + placement.runners * BASE_GIB["runner"] * GIB + emulators
    return driver + placement.learners * learning + placement.runners * BASE_GIB["runner"] * GIB + emulators


def warnings(run: Config, share: TrialShare, placement: Placement) -> Iterator[str]:
    """Yields a line for each thing that does not fit or is wasted."""
    cpus = sum(node.cpus for node in share.nodes)
    processes = placement.runners + (placement.learners or 1) + (placement.learners > 0 and not placement.runners)
    if processes * share.most > cpus:
        yield f"{processes * share.most} busy processes share {cpus:g} CPUs"
    if run.engine.threads and run.engine.threads > (placement.learner_cpus or placement.driver_cpus):
        given = placement.learner_cpus or placement.driver_cpus
        yield f"engine.threads {run.engine.threads} is more than the {given:.2g} CPUs of a learner"
    if run.noise.enabled and placement.learners > run.groups_per_batch:
        yield (
            f"engine.learners {placement.learners} is more than the {run.groups_per_batch} groups of a batch: "
            f"{placement.learners - run.groups_per_batch} are idle in the first epoch (noise.groups, "
            "env.num_envs)"
        )
    if 0 < placement.learner_gpus < 1 and placement.learners > 1:
        yield f"{placement.learners * share.most} learners share GPUs: their gradients travel through host memory"
    memory = sum(node.memory for node in share.nodes)
    needed = memory_bytes(run, placement) * share.most + BASE_GIB["ray"] * GIB * len(share.nodes)
    if memory and needed > memory:
        yield f"needs about {needed / GIB:.1f} GiB of memory, has {memory / GIB:.1f} GiB"
    stores = [node.object_store for node in share.nodes if node.object_store]
    objects = object_store_bytes(run) * share.most
    if stores and objects > 0.8 * min(stores):
        yield (
            f"an iteration needs {objects / GIB:.2f} GiB of object store, the smallest node has "
            f"{min(stores) / GIB:.2f} GiB: Ray will spill to disk"
        )


def placement_lines(run: Config, share: TrialShare, placement: Placement) -> Iterator[tuple[str, str]]:
    """Yields name and text of each line that says which process gets what."""
    cpus, gpus = sum(node.cpus for node in share.nodes), sum(node.gpus for node in share.nodes)
    where = f"{len(share.nodes)} nodes with" if len(share.nodes) > 1 else "one machine with"
    at_once = f"{share.most} games at once on " if share.most > 1 else ""
    yield "placement", f"{at_once}{where} {cpus:g} CPUs, {f'{gpus:g} GPUs' if gpus else 'no GPU'}"
    envs, learning = run.env.num_envs, _gib(learner_bytes(run, placement.learner_threads))
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


def _activations(run: Config) -> int:
    """Returns the network's units per observation, with its input."""
    return run.env.frame_stack * run.env.image_size**2 + _network(run).body.activations


def _network(run: Config) -> ActorCritic:
    with torch.device("meta"):  # shapes without numbers
        return build_network(
            run.network, num_actions=MOST_ACTIONS, frame_stack=run.env.frame_stack, image_size=run.env.image_size
        )


def _cpus(cpus: float, threads: int) -> str:
    number = f"{cpus:.2g}"
    return f"{number} {'CPU' if number == '1' else 'CPUs'}, {threads} thread{'' if threads == 1 else 's'}"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
