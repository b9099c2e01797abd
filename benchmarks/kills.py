"""Kills parts of runs with SIGKILL at random moments (driver, learner, runner, node in turn) and checks the results.

    python benchmarks/kills.py DIR --runs 2 --kills 100 --references 24 --markdown docs/results/kills.md

Uses a cluster of two nodes on this machine: the head, and a second node that is killed with all its processes and
restarted. The driver resumes by `rlgns train --resume`, everything else recovers by itself. DIR holds the killed runs,
journals of their kills and uninterrupted runs of other seeds; a second start of the benchmark resumes there.
Exit codes: 0 all checks hold, 1 not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import psutil
import yaml

from benchmarks.kills_comparison import enough, same_distribution
from benchmarks.kills_results import page, problems
from rlgns.storage.run_folder import RunFolder

KINDS = ("driver", "learner", "runner", "node")
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

        A killed driver is restarted, and so is a killed node unless `start_another` is false.
        """
        if kind == "driver":
            self.driver.kill()
            self.driver.wait()
            self.driver = self._start()
            return "driver"
        if kind == "node":
            titles = sorted(self.parts("learner", [self._node]) + self.parts("runner", [self._node]))
            dead = _kill(self.family(self._node))
            self._cluster.remove_node(self._node, allow_graceful=False)
            if start_another:
                self._node = self._cluster.add_node(num_cpus=1, wait=False)
            held = ", ".join(title for title, _ in titles) or "nothing"
            return f"node of {dead} processes, among them {held}"
        found = self.parts(kind)
        if not found:
            return ""
        _kill([draw.choice(found)[1]])
        return kind

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


def _kill(family: list[psutil.Process]) -> int:
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=60)
    return len(family)


def kill_and_wait(run: Run, kind: str, draw: random.Random, within_s: float) -> dict[str, Any]:
    """Kills once at a random moment; returns the journal's row, with the time until the next row of metrics."""
    anywhere = draw.random() < 0.25  # a quarter falls anywhere, restarts included; the others while rows are written
    began, size = time.monotonic(), run.size()
    if not anywhere and not run.wait_for_a_row(beyond=size):
        return {"ended": run.driver.returncode}
    time.sleep(draw.uniform(0, within_s))
    dead = ""
    while not dead:
        if run.driver.poll() is not None:
            return {"ended": run.driver.returncode}
        dead = run.kill(kind, draw)
        time.sleep(0 if dead else 0.05)
    size, killed_at = run.size(), time.monotonic()
    recovered = run.wait_for_a_row(beyond=size)
    return {
        "kind": kind,
        "dead": dead,
        "anywhere": anywhere,
        "after_s": round(killed_at - began, 2),
        "next_row_s": round(time.monotonic() - killed_at, 2) if recovered else None,
    }


def kill_often(run: Run, journal: Path, options: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Makes the kills that the journal lacks."""
    while (number := len(read(journal))) < options.kills:
        draw, kind = random.Random(f"{options.seed}-{number}"), KINDS[number % len(KINDS)]
        entry = kill_and_wait(run, kind, draw, options.within_s)
        if entry.get("ended") == 0:
            say(f"the run ended after {number} kills")
            return
        if "ended" in entry:
            entry |= {"kind": "none", "dead": f"the driver left by itself, exit code {entry['ended']}"}
            run.start_again()
        with journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        say(f"{number + 1:>3}. {entry['dead']}; next row after {entry.get('next_row_s')} s")


def journal_of(run: RunFolder) -> Path:
    """Returns the path of the journal of a run's kills, beside its folder."""
    return run.path.with_suffix(".jsonl")


def killed_run(config: Path, options: argparse.Namespace, seed: int) -> tuple[RunFolder, int]:
    """Starts or resumes a run and kills it as often as asked; returns its folder and exit code."""

    def say(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  seed {seed}  {line}", flush=True)

    folder = RunFolder(options.folder / f"killed{seed}")
    with cluster() as nodes:
        run = Run(nodes, config, folder.path, seed=seed)
        kill_often(run, journal_of(folder), options, say)
        code = run.finish()
    say(f"ended with exit code {code}")
    return folder, code


def reference(config: Path, folder: Path, seed: int) -> RunFolder:
    """Trains an uninterrupted run in one process, which gives the same run as two runners (a test checks that)."""
    run = RunFolder(folder / f"seed{seed}")
    if not run.config_path.is_file():
        command = [sys.executable, "-m", "rlgns", "train", "--config", str(config), "--out", str(run.path)]
        command += ["--seed", str(seed), "--engine.runners", "0", "--wandb.mode", "disabled"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return run


def read(journal: Path) -> list[dict[str, Any]]:
    """Returns the kills so far."""
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.is_file() else []


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


def main() -> int:
    """Kills the runs and lets them end, trains the uninterrupted ones, and checks all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--runs", type=int, default=2, help="runs that are killed, one after another")
    parser.add_argument("--kills", type=int, default=100, help="of each run")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--references", type=int, default=24, help="uninterrupted runs; 0: no comparison")
    parser.add_argument("--seed", type=int, default=1, help="of the first killed run; references' are 100 higher")
    parser.add_argument("--within-s", type=float, default=4.0, help="kill so long after a row, at most")
    parser.add_argument("--markdown", type=Path, help="write the page there")
    options = parser.parse_args()
    if options.references and not enough(options.runs, options.references):
        parser.error(f"--runs {options.runs} --references {options.references}: too few for a difference at 5 %")
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_SILENT", "true")
    config = options.folder / "small.yaml"
    config.write_text(yaml.safe_dump(settings(options.iterations)))

    runs, kills, wrong = [], [], []
    for number in range(options.runs):
        run, code = killed_run(config, options, options.seed + number)
        runs.append(run)
        kills += read(journal_of(run))
        found = [f"ended with exit code {code}"] if code else []
        wrong += [f"{run.path.name}: {problem}" for problem in found + problems(run, options.iterations)]
    others = [reference(config, options.folder, options.seed + 100 + each) for each in range(options.references)]
    comparison = same_distribution([run.rows() for run in runs], [run.rows() for run in others]) if others else None
    text = page(" ".join(sys.argv), kills, runs, comparison, wrong)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    return 1 if wrong or (comparison and comparison.differs) else 0


if __name__ == "__main__":
    sys.exit(main())
