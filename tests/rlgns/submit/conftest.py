"""A real Ray head with its dashboard, on free ports of the loopback and in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

NODE_KEY = "0123456789abcdef0123456789abcdef01234567"
"""W&B key that the node has, in the file that its WANDB_API_KEY_FILE names."""


@dataclass
class Head:
    """A running head."""

    url: str
    folder: Path
    """All that Ray writes."""
    runs: Path
    """RLGNS_RUNS of its node."""
    environment: dict[str, str]
    """Of its node."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="rlgns-head-"))  # short: Ray's sockets lie in it
    home = folder / "home"
    home.mkdir()
    (folder / "key").write_text(NODE_KEY)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "RLGNS_RUNS": str(folder / "runs"),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "WANDB_API_KEY_FILE": str(folder / "key"),
        "WANDB_BASE_URL": "http://127.0.0.1:9",  # W&B cannot be reached: runs are offline, with a key at hand
    }
    port = free_port()
    command = f"-m ray.scripts.scripts start --head --block --num-cpus=2 --port={free_port()} --temp-dir={folder}/ray"
    command += f" --dashboard-host=127.0.0.1 --dashboard-port={port} --ray-client-server-port={free_port()}"
    command += f" --dashboard-agent-listen-port={free_port()} --object-store-memory=100000000 --disable-usage-stats"
    with open(folder / "ray.log", "w") as log:
        node = subprocess.Popen(
            [sys.executable, *command.split()],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 180
    while not _answers(url):
        assert node.poll() is None and time.monotonic() < deadline, (folder / "ray.log").read_text()
        time.sleep(0.2)
    yield Head(url=url, folder=folder, runs=folder / "runs", environment=environment)
    node.send_signal(signal.SIGTERM)  # `ray start --block` ends its processes
    node.wait(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        return bool(requests.get(f"{url}/api/jobs/", timeout=5).ok)
    except requests.RequestException:
        return False
