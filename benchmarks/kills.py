"""Kills parts of runs at random moments, by SIGKILL unless a kind (`KINDS`, in turn) says else, and checks the results.

    python -m benchmarks.kills DIR --runs 2 --kills 100 --references 24 --markdown docs/results/kills.md

Uses a cluster of two nodes on this machine: the head, and a second node that is killed with all its processes and
restarted. The driver resumes by `rlgns train --resume`, everything else recovers by itself. DIR holds the killed runs,
journals of their kills and uninterrupted runs of other seeds; a second start of the benchmark resumes there.
Exit codes: 0 all checks hold, 1 not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.kills_comparison import enough, same_distribution
from benchmarks.kills_results import page, problems
from benchmarks.kills_run import ROOT, Run, cluster, settings
from rlgns.storage.run_folder import RunFolder

KINDS = ("driver", "learner", "runner", "node", "raylet", "sigterm", "double resume")
EXPECTED_CODES = {"sigterm": 143, "double resume": 2}
"""Exit code with which the driver of a kind must leave: stopped after saving; refused."""


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
        draw, kind = random.Random(f"{options.seed}-{number}"), options.kinds[number % len(options.kinds)]
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


def wrong_codes(kills: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the entries of a journal whose driver left with another exit code than it should.

    A driver that is still starting has no handler of SIGTERM yet: the signal itself ends it, with nothing to save.
    """
    wrong = []
    for kill in kills:
        expected = EXPECTED_CODES.get(kill["kind"])
        allowed = [expected, -15] if kill["kind"] == "sigterm" and kill["anywhere"] else [expected]
        if expected is not None and int(kill["dead"].rsplit(" ", 1)[-1]) not in allowed:
            wrong.append(kill["dead"])
    return wrong


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


def main() -> int:
    """Kills the runs and lets them end, trains the uninterrupted ones, and checks all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--runs", type=int, default=2, help="runs that are killed, one after another")
    parser.add_argument("--kills", type=int, default=100, help="of each run")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="what is killed, in turn")
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
        wrong += [f"{run.path.name}: {problem}" for problem in wrong_codes(read(journal_of(run)))]
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
