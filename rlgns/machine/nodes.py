"""The machines that a run may use: the nodes of a Ray cluster, or this machine."""

from __future__ import annotations

import logging
import os
import shutil
import sys

from rlgns.agents.compute.precision import choose_device
from rlgns.config.schema import Config
from rlgns.errors import UserError, last_line
from rlgns.machine import hardware
from rlgns.machine.footprint import GIB
from rlgns.machine.placement import Node

STORE_SHARE, MOST_STORE = 0.3, 200 * GIB
"""Ray's object store takes this share of the memory, at most so many bytes, and at most the size of /dev/shm."""


def resources() -> list[Node]:
    """Returns the nodes of the cluster at RAY_ADDRESS; this machine where it is not set or nothing answers.

    Prints a line on standard error where nothing answers.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return [this_machine()]
    import ray

    from rlgns.machine.cluster_doctor import knock

    try:
        knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises many types
        print(  # noqa: T201  (progress)
            f"RAY_ADDRESS: no Ray cluster answers at {address!r} ({last_line(error)}); "
            "the placement is for this machine",
            file=sys.stderr,
        )
        return [this_machine()]
    try:
        return nodes_of_cluster()
    finally:
        ray.shutdown()


def check_device(config: Config) -> None:
    """Raises UserError where the run would learn on this machine and its device is missing here."""
    if config.engine.learners and os.environ.get("RAY_ADDRESS"):
        return  # the learners are on the cluster, whose devices are not known here
    try:
        choose_device(config.engine.device)
    except ValueError as error:
        raise UserError(str(error)) from error


def this_machine() -> Node:
    """Returns this machine as Ray would count it."""
    found = hardware.detect()
    memory = float(hardware.usable_memory())
    there = shutil.disk_usage("/dev/shm").total if os.path.isdir("/dev/shm") else memory
    return Node(
        cpus=found.cores, gpus=found.gpus, memory=memory, object_store=min(STORE_SHARE * memory, there, MOST_STORE)
    )


def nodes_of_cluster() -> list[Node]:
    """Returns the nodes of the Ray that this process is connected to."""
    import ray

    return [
        Node(
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            memory=node["Resources"].get("memory", 0.0),
            object_store=node["Resources"].get("object_store_memory", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
