"""Kills all processes of a small sweep with SIGKILL at random moments, resumes it, and checks it against its plan.

    python -m benchmarks.sweep_kills --kills 10 --markdown docs/results/sweep-kills.md

Checks after the last resume: the trials are those of an uninterrupted sweep, each once; each trial has every iteration
once, in order, up to its budget; points.csv agrees with the runs' rows.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from rlgns.config.load import from_dict
from rlgns.machine.hardware import detect
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.load import resolve_sweep
from rlgns.sweep.plan import make_plan
from rlgns.sweep.queue import SweepQueue
from rlgns.sweep.records import saved_trials

SWEEP = {
    "run": {"games": ["breakout"], "observations": 512},
    "env": {"image_size": 32, "stagger_steps": 4},
    "network": {"channels": [4], "kernels": [8], "strides": [8], "hidden": 16},
    "agent": {"rollout_steps": 16, "epochs": 1, "minibatches": 2, "anneal": False},
    "engine": {"checkpoint_every_s": 0},
    "sweep": {"batches": [32, 64, 128], "seeds": [0, 1], "goals": [2, 3], "learning_rates": 2},
}
"""Twelve trials of a few hundred observations."""


def start(config: Path, out: Path, *, resume: bool = False) -> subprocess.Popen[str]:
    """Starts or resumes the sweep: by the same command, or by --resume."""
    where = ["--resume", str(out)] if resume else ["--config", str(config), "--out", str(out)]
    command = [sys.executable, "-m", "rlgns", "sweep", *where]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(process: subprocess.Popen[str], *words: str) -> str | None:
    """Returns the first line of standard error with one of the words, or None if the process ended before."""
    assert process.stderr is not None
    return next((line for line in process.stderr if any(word in line for word in words)), None)


def wait_for_a_row(process: subprocess.Popen[str], out: Path) -> None:
    """Waits until the sweep has written another row or ended."""
    before = rows_of(out)[1]
    while rows_of(out)[1] == before and process.poll() is None:
        time.sleep(0.02)


def kill_all(process: subprocess.Popen[str]) -> int:
    """Kills the process and all that it started, by id; waits for them and returns their number."""
    try:
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, alive
    process.communicate()
    return len(family)


def problems(config: Path, out: Path) -> list[str]:
    """Returns what is wrong with a finished sweep; empty if it is as without kills."""
    sweep, folder = resolve_sweep(config, {}), SweepFolder(out)
    wanted = [trial.name for trial in make_plan(sweep).initial_trials()]  # no goal is reached, so none is added
    found = sorted(path.name for path in folder.runs_path.iterdir())
    wrong = [] if found == sorted(wanted) else [f"trials {found} instead of {sorted(wanted)}"]
    written = yaml.safe_load(folder.sweep_path.read_text())["trials"]
    wrong += [] if written == wanted else [f"sweep.yaml names {written}"]
    for trial, run in saved_trials(folder).items():
        rows, settings = run.rows(), from_dict(run.config())
        iterations = [row["iteration"] for row in rows]
        if iterations != list(range(1, settings.iterations + 1)):
            wrong.append(f"{trial.name}: iterations {iterations}")
        if [row["observations"] for row in rows] != [number * settings.rollout_observations for number in iterations]:
            wrong.append(f"{trial.name}: observations do not follow from iterations")
        if settings != sweep.config(
            game=trial.cell.game, batch=trial.cell.batch, learning_rate=trial.learning_rate, seed=trial.cell.seed
        ):
            wrong.append(f"{trial.name}: another configuration")
    points = folder.points_path.read_text()
    folder.write_points(SweepQueue(sweep, folder, about_of=lambda config, game: {}).points())
    wrong += [] if folder.points_path.read_text() == points else ["points.csv differs from what the runs say"]
    return wrong


def rows_of(out: Path) -> tuple[int, int]:
    """How many runs there are, and rows in all of them."""
    runs = SweepFolder(out).runs()
    return len(runs), sum(len(run.rows()) for run in runs)


def main() -> int:
    """Kills the sweep and prints a transcript; returns 1 if something is wrong at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--within-s", type=float, default=12.0, help="latest kill after the first row, seconds (%(default)s)"
    )
    parser.add_argument("--markdown", type=Path, help="write the transcript there")
    options = parser.parse_args()
    draw, lines = random.Random(options.seed), []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    with tempfile.TemporaryDirectory(prefix="rlgns-kills-") as scratch:
        config, out = Path(scratch) / "small.yaml", Path(scratch) / "sweep"
        config.write_text(yaml.safe_dump(SWEEP))
        for number in range(1, options.kills + 1):
            began, process = time.monotonic(), start(config, out)
            # Every third kill may fall anywhere, Ray's start included; the others fall while trials write rows.
            anywhere = number % 3 == 0
            if not anywhere:
                wait_for_a_row(process, out)
            moment = draw.uniform(0, options.within_s)
            time.sleep(moment)
            ended = process.poll() is not None
            dead = kill_all(process)
            runs, rows = rows_of(out)
            what = "had ended" if ended else f"SIGKILL to {dead} processes"
            since = "the start" if anywhere else "its first row"
            say(
                f"{number:>2}. {what}, {moment:.1f} s after {since} ({time.monotonic() - began:.0f} s in all): "
                f"{runs} runs, {rows} rows"
            )
        process = start(config, out, resume=True)
        _, stderr = process.communicate()
        commit = SweepFolder(out).about()["git"]
        say(f"then to the end: exit code {process.returncode}, {stderr.strip().splitlines()[-1]}")
        wrong = problems(config, out)
        runs, rows = rows_of(out)
        say(f"{runs} runs, {rows} rows: " + ("; ".join(wrong) or "as planned, every trial and every row once"))
    if options.markdown:
        options.markdown.write_text(_page(" ".join(sys.argv), commit, lines))
    return 1 if wrong or process.returncode else 0


def _page(command: str, commit: str, lines: list[str]) -> str:
    transcript = "\n".join(f"    {line}" for line in lines)
    return (
        f"# A sweep killed at random moments\n\n    python {command}\n\n{time.strftime('%Y-%m-%d')}, "
        f"{detect().describe()}, commit {commit}.\n\n{transcript}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
