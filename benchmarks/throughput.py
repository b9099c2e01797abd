"""Throughput of rlgns against Stable-Baselines3's PPO and RLlib's own PPO, measured alternately in one run.

    make bench
    python benchmarks/throughput.py --rounds 5 --pairs 25 --markdown docs/results/throughput.md --json throughput.json

All train the same game with the same network (Nature CNN, 84x84, stack of 4), 8 environments x 128 steps, 4 epochs of
4 batches of 256 and the same step size. Every contender has a process of its own. After one warm-up turn each, every
round gives each contender one turn, in random order, and everything else stands still; ratios are taken within rounds.
Rounds of only `ours` and `ours-no-noise` follow, since that difference is small.
Exit codes: 0 done, 1 a contender failed, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import platform
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.peers.settings import Settings
from benchmarks.peers.worker import BUILDERS
from benchmarks.throughput_processes import ROOT, ContenderError, Process, environment_of
from benchmarks.throughput_results import Turn, summarise, tables
from envs.games import GAMES
from rlgns import hardware

DEFAULT = (
    "ours",
    "ours-no-noise",
    "ours-float32",
    "sb3-dummy",
    "sb3-subproc",
    "rllib-local",
    "rllib-2-runners",
    "rllib-local-encoder",
    "rllib-2-runners-encoder",
)
NOISE_PAIR = ("ours", "ours-no-noise")
BEGAN = time.monotonic()
PACKAGES = ("rlgns", "torch", "ray", "stable-baselines3", "gymnasium", "ale-py", "numpy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(words)
    about = describe(options, words)
    turns: list[Turn] = []
    try:
        with tempfile.TemporaryDirectory(prefix="rlgns-throughput-") as scratch:
            settings = _settings(options, scratch)
            with started(options.only, settings, options) as processes:
                for turn in play(processes, options):
                    turns.append(turn)
                    _say(f"round {turn.round:>3}  {turn.contender:<28}{turn.rate:8.0f} observations/s")
    except ContenderError as failure:
        print(f"throughput: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("throughput: interrupted", file=sys.stderr)
        return 130
    about["minutes"] = round((time.monotonic() - BEGAN) / 60, 1)
    report(about, turns, options)
    return 0


def play(processes: dict[str, Process], options: argparse.Namespace) -> Iterator[Turn]:
    """Warms everybody up, then yields every turn as it ends."""
    for name, process in processes.items():
        warm = Turn.of(0, name, process.turn(options.observations))
        _say(f"warm-up    {name:<28}{warm.rate:8.0f} observations/s")
    order = schedule(list(processes), rounds=options.rounds, pairs=options.pairs, seed=options.seed)
    for number, names in enumerate(order, start=1):
        for name in names:
            yield Turn.of(number, name, processes[name].turn(options.observations))


def schedule(names: Sequence[str], *, rounds: int, pairs: int, seed: int) -> list[list[str]]:
    """Returns who plays in each round, in random order: rounds of all, then rounds of the noise scale's pair alone."""
    order = random.Random(seed)
    drawn = [list(names) for _ in range(rounds)]
    if set(NOISE_PAIR) <= set(names):
        drawn += [list(NOISE_PAIR) for _ in range(pairs - rounds)]
    for members in drawn:
        order.shuffle(members)
    return drawn


@contextlib.contextmanager
def started(names: Sequence[str], settings: Settings, options: argparse.Namespace) -> Iterator[dict[str, Process]]:
    """Starts all contenders, two at a time, and stops each that is built; ends them all afterwards."""
    processes: dict[str, Process] = {}
    try:
        for first in range(0, len(names), 2):
            starting = names[first : first + 2]
            for name in starting:
                folder = Path(settings.scratch) / name
                folder.mkdir()
                own = dataclasses.replace(settings, scratch=str(folder))
                environment = environment_of(name, options.peers_omp)
                processes[name] = Process(name, own, environment=environment, timeout_s=options.timeout)
            for name in starting:
                processes[name].wait_until_ready()
                processes[name].pause()
                _say(f"built      {name}")
        yield processes
    finally:
        for process in processes.values():
            process.ask_to_end()
        for process in processes.values():
            process.end()


def report(about: dict[str, Any], turns: Sequence[Turn], options: argparse.Namespace) -> None:
    """Prints the results and writes the files that were asked for."""
    summary = summarise(turns)
    page = "\n".join([*_head(about), "", *tables(summary), ""])
    print(page)
    if options.markdown:
        options.markdown.write_text(page, encoding="utf-8")
    if options.json:
        content = {"about": about, "summary": summary, "turns": [dataclasses.asdict(turn) for turn in turns]}
        options.json.write_text(json.dumps(content, default=dataclasses.asdict, indent=1) + "\n", encoding="utf-8")


def describe(options: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """Returns what a reader needs to repeat the run."""
    machine = hardware.detect()
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = "unknown"
    sizes = _settings(options, "")
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/throughput.py", *words]),
        "commit": commit,
        "machine": f"{machine.describe()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in PACKAGES},
        "training": (
            f"{options.game}, Nature CNN, 84x84, stack of 4; {sizes.num_envs} environments x {sizes.rollout_steps} "
            f"steps, {sizes.epochs} epochs x {sizes.minibatches} batches of {sizes.batch_observations}, "
            f"learning rate {sizes.learning_rate:g}; {sizes.threads} torch threads"
        ),
        "method": (
            f"{options.rounds} rounds of all, {max(options.pairs, options.rounds)} of the noise scale's pair; turns of "
            f"at least {options.observations} observations in random order after one warm-up turn each; no "
            f"checkpoints, no W&B; ours in the hardware's best precision, peers in float32, which is what they ship; "
            f"OMP_WAIT_POLICY PASSIVE for ours, {options.peers_omp} for peers; RLlib's wrapper does not clip rewards"
        ),
    }


def _head(about: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return [
        f"# Throughput against peers, {about['date']}",
        "",
        f"- Command: `{about['command']}` ({about['minutes']} minutes), commit {about['commit']}",
        f"- Machine: {about['machine']}",
        f"- Versions: {versions}",
        f"- Training: {about['training']}",
        f"- Method: {about['method']}",
    ]


def _settings(options: argparse.Namespace, scratch: str) -> Settings:
    return Settings(
        game=options.game,
        num_envs=options.envs,
        rollout_steps=options.steps,
        epochs=options.epochs,
        minibatches=options.minibatches,
        seed=options.seed,
        threads=hardware.usable_cores(),
        scratch=scratch,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/throughput.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds of all contenders (%(default)s)")
    parser.add_argument(
        "--pairs", type=int, default=25, help="rounds with noise on and off, those of all included (%(default)s)"
    )
    parser.add_argument("--observations", type=_positive, default=2048, help="at least, in each turn (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), default=list(DEFAULT), metavar="NAME")
    parser.add_argument("--game", choices=list(GAMES), default="pong", metavar="GAME", help="ROM name (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of contenders and of the order of turns (%(default)s)")
    parser.add_argument("--envs", type=_positive, default=8, help="environments (%(default)s)")
    parser.add_argument("--steps", type=_positive, default=128, help="steps of each in a rollout (%(default)s)")
    parser.add_argument("--epochs", type=_positive, default=4, help="passes over a rollout (%(default)s)")
    parser.add_argument("--minibatches", type=_positive, default=4, help="batches of an epoch (%(default)s)")
    parser.add_argument(
        "--peers-omp", choices=("PASSIVE", "default"), default="PASSIVE", help="OMP_WAIT_POLICY of peers (%(default)s)"
    )
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds to wait for an answer (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn and the summary")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the results page")
    parser.epilog = f"contenders: {', '.join(BUILDERS)}; by default: {', '.join(DEFAULT)}"
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {value}")
    return value


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
