"""Refuses a run that cannot fit into the memory of this machine, before anything starts. No Ray."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from rlgns.agents.compute.precision import choose_device
from rlgns.config.schema import Config
from rlgns.errors import UserError
from rlgns.machine.footprint import BASE_GIB, GIB, emulator_bytes, memory_bytes, parameters, rollout_bytes
from rlgns.machine.nodes import this_machine
from rlgns.machine.placement import Node, Placement, TrialShare


def check_memory(run: Config, *, most: int = 1, nodes: Sequence[Node] | None = None) -> None:
    """Raises UserError where so many trials of a run need more memory than there is; names the most that fits.

    On a cluster nothing is refused: its nodes are not known before Ray connects, and `footprint.warnings` follows then.

    Args:
        run: The resolved configuration.
        most: Trials at once.
        nodes: The machines; None: this one.
    """
    if nodes is None:
        if os.environ.get("RAY_ADDRESS"):
            return
        nodes = [this_machine()]
    share = TrialShare.of(nodes, most)
    there = sum(node.memory for node in nodes)
    needed = needed_bytes(run, share)
    if not there or needed <= there:
        return
    envs, name = run.env_tiers[-1], "env.num_envs"
    if run.agent.batch == "adaptive":
        name = "adaptive.largest_envs"
    at_once = f" in {share.most} trials at once" if share.most > 1 else ""
    fits = _most_that_fits(run, share, there)
    remedy = (
        f"at most {fits:,} fit"
        if fits is not None
        else f"no number fits with a network of {parameters(run):,} parameters (network, env.image_size)"
    )
    if share.most > 1 and (fits or needed_bytes(run, TrialShare.of(nodes, 1)) <= there):
        remedy += ", or fewer trials at once"
    raise UserError(
        f"{name} {envs:,}{at_once} needs about {_gib(needed)} GiB of memory, {_gib(there)} are there; {remedy}"
    )


def needed_bytes(run: Config, share: TrialShare) -> float:
    """Returns an estimate of the memory of this machine that all trials at once need, with Ray's daemons."""
    if choose_device(run.engine.device).type == "cpu":
        trial = memory_bytes(run, Placement.of(run, share))
    else:  # gradients and activations are in the GPU's memory
        largest = run.at(run.env_tiers[-1])
        trial = BASE_GIB["driver"] * GIB + rollout_bytes(largest) + emulator_bytes(largest)
    return trial * share.most + BASE_GIB["ray"] * GIB * len(share.nodes)


def _most_that_fits(run: Config, share: TrialShare, memory: float) -> int | None:
    """Returns the largest number of environments that fits and that the configuration allows, or None."""
    if run.agent.batch == "adaptive":
        fitting = [envs for envs in run.env_tiers if needed_bytes(run.at(envs), share) <= memory]
        return max(fitting, default=None)
    for groups in (run.noise.groups, 2):  # whole groups per batch: any multiple of such a number is allowed
        unit = math.lcm(run.agent.minibatches * groups, max(1, run.engine.runners))
        low, high = 0, -(-run.env.num_envs // unit)  # `low` fits (or is 0), `high` does not
        while high - low > 1:
            middle = (low + high) // 2
            if needed_bytes(run.at(middle * unit), share) <= memory:
                low = middle
            else:
                high = middle
        if low:
            return low * unit
    return None


def _gib(size: float) -> str:
    return f"{size / GIB:,.0f}"
