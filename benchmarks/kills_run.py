"""A run on a cluster of two nodes whose parts can be killed: driver, learner, runner, node, raylet."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import psutil

from rlgns.storage.run_folder import RunFolder

PATIENCE_S = 1800
"""Seconds without a new row after which the run counts as stuck."""
ROOT = Path(__file__).resolve().parents[1]


def settings(iterations: int) -> dict[str, Any]:
    """Returns a small configuration: iterations of milliseconds with two optimizer steps each."""
    return {
        "run": {"games": ["breakout"], "observations": 256 * iterations},
        "env": {"num_envs": 8, "image_size": 32, "stagger_steps": 4},
        "network": {"channels": [4], "kernels": [8], "strides": [8], "hidden": 16},
        "agent": {"rollout_steps": 32, "epochs": 1, "minibatches": 2, "learning_rate": 1e-3},
        "engine": {"runners": 2, "checkpoint_every_s": 1},
        "output": {"log_every_s": 0},  # W&B gets every row, so that a lost one shows
        "wandb": {"mode": "offline"},
    }


@final
class Run:
    """The run under test: its driver's process, and its parts on the cluster."""

    def __init__(self, cluster: Any, config: Path, out: Path, seed: int) -> None:
        self.folder = out
        self._cluster, self._config, self._seed = cluster, config, seed
        self._node = cluster.add_node(num_cpus=1, wait=False)
        self._log = out.with_suffix(".log")
        self.driver = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        folder = RunFolder(self.folder)
        where = ["--config", str(self._config), "--out", str(self.folder), "--seed", str(self._seed)]
        if folder.config_path.is_file():
            where = ["--resume", str(self.folder)]
        environment = os.environ | {"RAY_ADDRESS": self._cluster.address, "PYTHONPATH": str(ROOT)}
        with open(self._log, "ab") as log:
            command = [sys.executable, "-m", "rlgns", "train", *where]
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def size(self) -> int:
        """Returns the bytes of metrics.jsonl, which grows with each row."""
        path = RunFolder(self.folder).metrics_path
        return path.stat().st_size if path.is_file() else 0

    def wait_for_a_row(self, *, beyond: int) -> bool:
        """Waits until metrics.jsonl has more than `beyond` bytes; returns False if the driver ended first."""
        give_up = time.monotonic() + PATIENCE_S
        while self.size() <= beyond:
            if self.driver.poll() is not None:
                return False
            if time.monotonic() > give_up:
                raise TimeoutError(f"no new row in {PATIENCE_S} s, see {self._log}")
            time.sleep(0.02)
        return True

    def kill(self, kind: str, draw: random.Random, *, start_another: bool = True) -> str:
        """Kills a part of that kind, by process id; returns what died, or an empty string if there was none.

        A killed driver is restarted, and so is a killed node unless `start_another` is false. `sigterm` asks the driver
        to leave; `double resume` kills it and resumes twice at once.
        """
        if kind == "sigterm":
            self.driver.terminate()
            code = self.driver.wait(PATIENCE_S)
            self.driver = self._start()
            return f"driver by SIGTERM, exit code {code}"
        if kind in ("driver", "double resume"):
            self.driver.kill()
            self.driver.wait()
            if kind == "double resume":
                return self._resume_twice()
            self.driver = self._start()
            return kind
        if kind in ("node", "raylet"):
            titles = sorted(self.parts("learner", [self._node]) + self.parts("runner", [self._node]))
            family = self.family(self._node)
            raylet = [each for each in family if _name(each) == "raylet"]
            _kill(family if kind == "node" else raylet)
            psutil.wait_procs(family, timeout=60)  # without its raylet a worker ends by itself
            self._cluster.remove_node(self._node, allow_graceful=False)
            if start_another:
                self._node = self._cluster.add_node(num_cpus=1, wait=False)
            held = ", ".join(title for title, _ in titles) or "nothing"
            return f"{kind} of {len(family)} processes, among them {held}"
        found = self.parts(kind)
        if not found:
            return ""
        _kill([draw.choice(found)[1]])
        return kind

    def _resume_twice(self) -> str:
        """Resumes the run in two processes at once, of which one must be refused; returns what became of them."""
        both = [self._start(), self._start()]
        while all(each.poll() is None for each in both):
            time.sleep(0.05)
        refused, self.driver = sorted(both, key=lambda each: each.poll() is None)
        return f"driver, resumed twice, one with exit code {refused.returncode}"

    def start_again(self) -> None:
        """Restarts the driver after it ended by itself."""
        self.driver = self._start()

    def finish(self) -> int:
        """Waits for the driver to end and removes the second node; returns the exit code."""
        code = self.driver.wait()
        self._cluster.remove_node(self._node)
        return code

    def parts(self, kind: str, nodes: list[Any] | None = None) -> list[tuple[str, psutil.Process]]:
        """Returns (kind, process) of every process of a kind on the nodes, by default on all."""
        title = {"learner": "ray::AtariPPO", "runner": "ray::AtariRunner"}[kind]
        found = []
        for node in nodes or [self._cluster.head_node, self._node]:
            for process in self.family(node):
                with contextlib.suppress(psutil.Error):
                    if " ".join(process.cmdline()).startswith(title):
                        found.append((kind, process))
        return found

    def family(self, node: Any) -> list[psutil.Process]:
        """Returns all processes of a node."""
        family = []
        for infos in node.all_processes.values():
            for info in infos:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(info.process.pid)
                    family += [process, *process.children(recursive=True)]
        return family


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""


def _kill(family: list[psutil.Process]) -> None:
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=60)


@contextlib.contextmanager
def cluster() -> Iterator[Any]:
    """Starts a head with two CPUs in a temporary folder; in Ray's usual folder other processes could connect to it."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="rlgns-ray-", ignore_cleanup_errors=True) as folder:
        head = {"num_cpus": 2, "include_dashboard": False, "wait": False, "temp_dir": folder}
        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield made
        finally:
            made.shutdown()
