"""Options of the throughput benchmark, and the settings that all contenders share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.settings import Settings
from benchmarks.peers.worker import BUILDERS
from rlgns.agents.compute import native
from rlgns.config.files import presets
from rlgns.config.load import resolve
from rlgns.envs.games import GAMES
from rlgns.machine import hardware

DEFAULT = (
    "ours",
    "ours-no-noise",
    "ours-float32",
    "ours-2-runners",
    "ours-learner",
    "limit",
    "sb3-dummy",
    "sb3-subproc",
    "rllib-local",
    "rllib-2-runners",
    "rllib-local-encoder",
    "rllib-2-runners-encoder",
)
BUILD_KERNELS = "run there: python -c 'import setuptools; setuptools.setup()' build_ext --inplace"
OURS = tuple(name for name in BUILDERS if name.startswith(("ours", "limit")))
"""Contenders that can train other presets than `ppo`."""


def parse(words: Sequence[str], description: str) -> argparse.Namespace:
    """Reads the command line; sizes that it does not name are the preset's. Exits with code 2 on a mistake.

    Args:
        words: The command line without the program's name.
        description: Of the program, for `--help`.
    """
    parser = _parser(description)
    options = parser.parse_args(words)
    if options.against:
        options.against = options.against.resolve()
        if not (options.against / "benchmarks" / "peers" / "worker.py").exists():
            parser.error(f"--against {options.against}: must be a checkout of rlgns, with benchmarks/peers/worker.py")
        if native.library() is not None and not any((options.against / "agents").glob("_kernels*")):
            parser.error(
                f"--against {options.against}: has no compiled kernels, and this checkout has; {BUILD_KERNELS}"
            )
        options.only = [*(options.only or ["ours"]), f"ours@{options.against.name}"]
    options.only = options.only or [name for name in DEFAULT if options.preset == "ppo" or name in OURS]
    others = [name for name in options.only if name.partition("@")[0] not in OURS]
    if options.preset != "ppo" and others:
        parser.error(f"--preset {options.preset}: peers train `ppo` only, got --only {others[0]}")
    run = resolve([options.preset], {"run.games": [options.game]})
    options.envs = options.envs or run.env.num_envs
    options.steps = options.steps or run.agent.rollout_steps
    options.epochs = options.epochs or run.agent.epochs
    options.minibatches = options.minibatches or run.agent.minibatches
    options.learning_rate = run.agent.learning_rate
    return options


def settings_of(options: argparse.Namespace, scratch: str) -> Settings:
    """Returns the contenders' settings; `scratch` is a folder for their files."""
    return Settings(
        game=options.game,
        preset=options.preset,
        num_envs=options.envs,
        rollout_steps=options.steps,
        epochs=options.epochs,
        minibatches=options.minibatches,
        learning_rate=options.learning_rate,
        seed=options.seed,
        threads=hardware.usable_cores(),
        scratch=scratch,
    )


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=_positive, default=7, help="rounds of all contenders (%(default)s)")
    parser.add_argument(
        "--pairs", type=int, default=100, help="rounds with noise on and off, rounds of all included (%(default)s)"
    )
    parser.add_argument("--starts", type=int, default=3, help="fresh starts of each timed contender (%(default)s)")
    parser.add_argument(
        "--memory-minutes",
        type=float,
        default=2.0,
        help="minutes to watch our memory (%(default)s; the goal needs 121)",
    )
    parser.add_argument(
        "--observations", type=_positive, default=1024, help="least observations in each turn (%(default)s)"
    )
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), metavar="NAME", help="contenders, see below")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="compare with `ours` of another checkout; without --only these two alone",
    )
    parser.add_argument(
        "--preset",
        choices=presets(),
        default="ppo",
        metavar="PRESET",
        help="our preset; peers train ppo only (%(default)s)",
    )
    parser.add_argument("--game", choices=list(GAMES), default="pong", metavar="GAME", help="ROM name (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of contenders and of the order of turns (%(default)s)"
    )
    parser.add_argument("--envs", type=_positive, help="environments (the preset's)")
    parser.add_argument("--steps", type=_positive, help="steps of each in a rollout (the preset's)")
    parser.add_argument("--epochs", type=_positive, help="passes over a rollout (the preset's)")
    parser.add_argument("--minibatches", type=_positive, help="batches of an epoch (the preset's)")
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
