"""Checks a Ray cluster: a task examines each node, and each finding is about all nodes."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgns.errors import last_line
from rlgns.formatting import plural
from rlgns.machine.doctor import FAIL, OK, SMALL_SHM_GIB, WARN, Finding
from rlgns.machine.requirements import COMPARED

NODE_S = 60.0
"""Seconds that a node has to answer."""

KNOCK_S = 5.0
"""Seconds that a head has to accept a connection."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """What a task found on one node."""

    name: str
    """Host name and address."""
    gpus: float
    """GPUs that Ray counts on it."""
    versions: dict[str, str]
    """Of Python and of the distributions that rlgns pins; `missing` where not installed."""
    shm_gib: float
    """Size of /dev/shm; 0 where there is none."""
    sees_mark: bool
    """Whether the file that the driver wrote into the folder for runs is there."""
    write_error: str
    """Why the folder for runs cannot be written; empty where it can."""


def check_cluster(address: str, out: Path) -> Iterator[Finding]:
    """Connects to a cluster and examines its nodes.

    Args:
        address: Of the head, as RAY_ADDRESS has it. This machine must be one of the nodes.
        out: Folder that runs would go to.
    """
    import ray

    if not ray.is_initialized():
        try:
            knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            text = f"no Ray cluster answers at {address!r} from here ({last_line(error)[:200]})"
            remedy = "run this on one of its nodes, or name its dashboard: --address http://HOST:8265"
            yield Finding(name="cluster", status=FAIL, text=text, remedy=remedy)
            return
    resources, alive = ray.cluster_resources(), [node for node in ray.nodes() if node["Alive"]]
    counts = {"node": len(alive), "CPU": int(resources.get("CPU", 0)), "GPU": int(resources.get("GPU", 0))}
    text = ", ".join(plural(number, noun) for noun, number in counts.items())
    yield Finding(name="cluster", status=OK, text=f"{text}, object store {_gib(resources)} GiB")
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    nodes, silent = _examine(alive, folder)
    if silent:
        remedy = "see `ray status` and the node's log"
        yield Finding(name="nodes", status=FAIL, text=f"no answer: {', '.join(silent)}", remedy=remedy)
    if nodes:
        yield check_versions_equal(nodes)
        yield check_shared_memory(nodes)
        yield check_shared_folder(nodes, folder)
        yield check_gpus(nodes)


def check_versions_equal(nodes: Sequence[NodeReport]) -> Finding:
    """Checks that all nodes have the Python and the pinned versions of this process."""
    here = _versions(list(COMPARED))
    wrong = [
        f"{node.name} has {name} {node.versions.get(name)} where this process has {version}"
        for node in nodes
        for name, version in here.items()
        if node.versions.get(name) != version
    ]
    if wrong:
        remedy = "start all nodes from the same image"
        return Finding(name="equal", status=FAIL, text="; ".join(wrong), remedy=remedy)
    return Finding(
        name="equal", status=OK, text=f"Python and pinned versions are the same on {plural(len(nodes), 'node')}"
    )


def check_shared_memory(nodes: Sequence[NodeReport]) -> Finding:
    """Checks that /dev/shm is large enough for Ray's object store on every node."""
    small = [f"{node.name} {node.shm_gib:.2f} GiB" for node in nodes if 0 < node.shm_gib < SMALL_SHM_GIB]
    if small:
        remedy = "in Docker --shm-size=4g, in Kubernetes an emptyDir of medium Memory at /dev/shm"
        return Finding(name="node shm", status=WARN, text=f"small /dev/shm: {', '.join(small)}", remedy=remedy)
    least = min(node.shm_gib for node in nodes)
    return Finding(name="node shm", status=OK, text=f"/dev/shm has at least {least:.1f} GiB on every node")


def check_shared_folder(nodes: Sequence[NodeReport], folder: Path) -> Finding:
    """Checks that all nodes see and can write the same folder for runs, for checkpoints are written from any node."""
    wrong = [f"{node.name} cannot write it: {node.write_error}" for node in nodes if node.write_error]
    wrong += [f"{node.name} has a different one" for node in nodes if not node.sees_mark and not node.write_error]
    if wrong:
        remedy = "mount one folder on all nodes and name it with --out or RLGNS_RUNS"
        return Finding(name="shared", status=FAIL, text=f"{folder}: {'; '.join(wrong)}", remedy=remedy)
    text = f"{folder} is the same, and can be written, on {plural(len(nodes), 'node')}"
    return Finding(name="shared", status=OK, text=text)


def check_gpus(nodes: Sequence[NodeReport]) -> Finding:
    """Checks that nodes with a GPU have a torch built for it."""
    wrong = [node.name for node in nodes if node.gpus and "+cpu" in node.versions.get("torch", "")]
    if wrong:
        text = f"a GPU, but torch built for the CPU: {', '.join(wrong)}"
        return Finding(name="gpus", status=WARN, text=text, remedy="use the image's variant cuda")
    having = sum(1 for node in nodes if node.gpus)
    text = f"{plural(having, 'node')} with a GPU" if having else "none: the CPUs learn"
    return Finding(name="gpus", status=OK, text=text)


def _examine(alive: Sequence[dict[str, Any]], folder: Path) -> tuple[list[NodeReport], list[str]]:
    """Runs a task on every node. Returns the reports, and the names of nodes that did not answer."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    mark = folder / f".rlgns-doctor-{secrets.token_hex(8)}"
    with contextlib.suppress(OSError):  # check_shared_folder reports it
        mark.touch()
    names = list(COMPARED)
    look = ray.remote(_make_look())
    asked = [
        look.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            names, str(folder), str(mark)
        )
        for node in alive
    ]
    nodes, silent = [], []
    for node, name, answer in zip(alive, _names(alive), asked, strict=True):
        try:
            nodes.append(
                NodeReport(name=name, gpus=node["Resources"].get("GPU", 0.0), **ray.get(answer, timeout=NODE_S))
            )
        except Exception as error:
            silent.append(f"{name}: {last_line(error)[:200]}")
    mark.unlink(missing_ok=True)
    return nodes, silent


def _names(alive: Sequence[dict[str, Any]]) -> list[str]:
    """Returns host and address of each node, with its id where several share them."""
    names = [f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in alive]
    return [
        name if names.count(name) == 1 else f"{name} node {node['NodeID'][:8]}"
        for name, node in zip(names, alive, strict=True)
    ]


def _make_look() -> Callable[[list[str], str, str], dict[str, Any]]:
    """Returns the task. A nested function is pickled by value, so it runs where rlgns is not installed."""

    def look(names: list[str], folder: str, mark: str) -> dict[str, Any]:
        import importlib.metadata
        import os
        import platform
        import shutil
        import tempfile

        versions = {"python": platform.python_version()}
        for name in names:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = "missing"
        error = ""
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as failure:
            error = failure.strerror or "unknown"
        shm = shutil.disk_usage("/dev/shm").total / 2**30 if os.path.isdir("/dev/shm") else 0.0
        return {"versions": versions, "shm_gib": shm, "sees_mark": os.path.exists(mark), "write_error": error}

    return look


def knock(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT, for Ray would try for minutes. Ignores other forms."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


def _versions(names: Sequence[str]) -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _gib(resources: dict[str, float]) -> str:
    return f"{resources.get('object_store_memory', 0.0) / 2**30:.1f}"


def address_of_cluster(named: str | None) -> str | None:
    """Returns the cluster to check: the one named, else RAY_ADDRESS, else None."""
    return named or os.environ.get("RAY_ADDRESS") or None
