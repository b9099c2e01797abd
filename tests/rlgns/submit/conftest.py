"""A real Ray head with its dashboard, alone or with other nodes, on free loopback ports and in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import requests

NODE_KEY = "0123456789abcdef0123456789abcdef01234567"
"""W&B key in the file that the node's WANDB_API_KEY_FILE names."""


@dataclass
class Head:
    """A running head."""

    url: str
    folder: Path
    """Everything that Ray writes."""
    runs: Path
    """RLGNS_RUNS of its node."""
    environment: dict[str, str]
    """Of its node."""
    nodes: list[subprocess.Popen[bytes]]
    """The head's own node first; each is `ray start --block`, with all of the node's processes below it."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head(cpus=2) as alone:
        yield alone


@pytest.fixture(scope="module")
def head_of_three() -> Iterator[Head]:
    """A head and two more nodes with a CPU each."""
    with started_head(cpus=1, workers=2) as three:
        yield three


@contextmanager
def started_head(*, cpus: int, workers: int = 0) -> Iterator[Head]:
    """Starts a head and worker nodes with `cpus` CPUs each; at the end stops them and all that they started."""
    folder = Path(tempfile.mkdtemp(prefix="rlgns-head-"))  # a short path: it holds Ray's sockets
    home = folder / "home"
    home.mkdir()
    (folder / "key").write_text(NODE_KEY)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "RLGNS_RUNS": str(folder / "runs"),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RUNTIME_ENV_RETRY_TIMES": "1",  # the default three take minutes where packages cannot be installed
        "WANDB_API_KEY_FILE": str(folder / "key"),
        "WANDB_BASE_URL": "http://127.0.0.1:9",  # unreachable: runs are offline although there is a key
    }
    nodes: list[subprocess.Popen[bytes]] = []

    def start(*where: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *where]
        command += [f"--num-cpus={cpus}", f"--dashboard-agent-listen-port={free_port()}"]
        command += ["--object-store-memory=100000000"]
        with open(folder / "ray.log", "a") as log:
            nodes.append(
                subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
            )

    def wait(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 180
        while not until():
            alive = all(node.poll() is None for node in nodes)
            assert alive and time.monotonic() < deadline, (folder / "ray.log").read_text()
            time.sleep(0.2)

    port, dashboard = free_port(), free_port()
    url = f"http://127.0.0.1:{dashboard}"
    try:
        ports = (f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}")
        start("--head", f"--temp-dir={folder}/ray", "--dashboard-host=127.0.0.1", *ports)
        wait(lambda: _answers(url))
        for number in range(workers):
            # A folder for each node, as on separate machines: in one, nodes unpack a job's files over each other.
            start(f"--address=127.0.0.1:{port}", f"--temp-dir={folder}/ray{number + 2}")
            wait(partial(_has_nodes, url, 2 + number))
        yield Head(url=url, folder=folder, runs=folder / "runs", environment=environment, nodes=nodes)
    finally:
        for node in reversed(nodes):
            node.send_signal(signal.SIGTERM)  # `ray start --block` ends its processes
        for node in nodes:
            node.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _has_nodes(url: str, count: int) -> bool:
    answer = requests.get(f"{url}/nodes?view=summary", timeout=20).json()
    return sum(node["raylet"].get("state") == "ALIVE" for node in answer["data"]["summary"]) == count


def _answers(url: str) -> bool:
    try:
        return bool(requests.get(f"{url}/api/jobs/", timeout=5).ok)
    except requests.RequestException:
        return False
