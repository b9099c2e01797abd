"""`rlgns train`: trains each game, or resumes a run."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlgns.commands.parser import Parser
from rlgns.commands.settings import add_settings, new_folder, refuse_with_resume, resolved_config, settings_of
from rlgns.errors import UserError
from rlgns.storage.remote_folder import is_url

if TYPE_CHECKING:
    from rlgns.config.schema import Config

SUMMARY = "train, with a live noise scale"

DESCRIPTION = """\
Trains each game for the given number of observations, or resumes a run.

examples:
  rlgns train --game pong --seed 1
  rlgns train --game pong --observations 2M --seeds 0 1 2     one after another, in a folder each
  rlgns train --game pong breakout --config ppo --out runs/two-games
  rlgns train --config mine.yaml --agent.learning_rate 1e-3 --network.channels 16,32,32
  rlgns train --game pong --runners 8 --learners 2
  rlgns train --batch adaptive --adaptive.largest_envs 256
  rlgns train --resume runs/two-games
  rlgns train --resume runs/two-games --observations 20M      extends it
  rlgns train --mirror s3://bucket/pong-1                     rows and checkpoints outlive this machine
  rlgns train --resume s3://bucket/pong-1                     on another one

Every key can be set by --section.key VALUE; `rlgns config` prints them all with the values that a run would use.
"""

CHANGEABLE_ON_RESUME = (
    "run.observations",
    "engine.runners",
    "engine.learners",
    "output.mirror",
    "output.tensorboard",
    "output.log_every_s",
)
"""Keys that may be given with --resume: the first extends the run, the others change nothing that is trained."""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    add_settings(parser)
    parser.add_argument(
        "--seeds", metavar="S", nargs="+", help="train with each seed, one after another; one report with bands"
    )
    parser.add_argument("--out", metavar="DIR", help="the run's folder (default: runs/GAME-DATE-TIME)")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="resume the run in DIR, or the one at the URL of its mirror; --observations extends it, --runners, "
        "--learners, --mirror and --tensorboard may change, nothing else",
    )


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Trains, or resumes a run."""
    if options.resume is not None:
        refuse_with_resume(options, overrides, CHANGEABLE_ON_RESUME)
        import rlgns.training as training

        settings = settings_of(options, overrides)
        if not is_url(options.resume):
            return training.resume(Path(options.resume), settings)
        if options.out is None:
            options.out = str(new_folder(options.resume.rstrip("/").rpartition("/")[2]))  # `rlgns.train` reads it
        with claimed_folder(Path(options.out)) as out:
            return training.take_over(options.resume, out, settings)
    config, seeds = resolved_config(options, overrides), _seeds(options, overrides)
    from rlgns.machine.nodes import check_device

    check_device(config)
    if options.out is None:
        options.out = str(default_out(config))  # `rlgns.train` reads it
    with claimed_folder(Path(options.out)) as out:
        import rlgns.training as training

        return training.train(config, out, seeds)


def _seeds(options: argparse.Namespace, overrides: Mapping[str, str]) -> tuple[int, ...]:
    """Returns the seeds of --seeds; empty where it is not given. Raises UserError."""
    if options.seeds is None:
        return ()
    if options.seed is not None or "run.seed" in overrides:
        raise UserError("--seeds and --seed are the same setting; give one of them")
    from rlgns.config.convert import convert

    seeds: tuple[int, ...] = convert("--seeds", ",".join(options.seeds), tuple[int, ...])
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds must name each seed once, got {' '.join(options.seeds)}")
    if not all(0 <= seed < 2**31 for seed in seeds):
        raise UserError(f"--seeds must lie between 0 and {2**31 - 1}, got {' '.join(options.seeds)}")
    return seeds


def default_out(config: Config) -> Path:
    """Returns a new folder, named after the game and the time; of several games, after the experiment."""
    games = config.run.games
    return new_folder(games[0] if len(games) == 1 else config.run.name)


@contextmanager
def claimed_folder(out: Path) -> Iterator[Path]:
    """Yields a folder claimed as by `claim_folder`, and removes it where an error leaves it empty."""
    claim_folder(out)
    try:
        yield out
    except BaseException:  # also Ctrl-C and SIGTERM: an empty folder is in the way of the next try
        if out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise


def claim_folder(out: Path) -> None:
    """Makes the run's folder and checks that it is empty and can be written.

    Raises:
        UserError: It is not empty, or cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / ".restoring").exists():
            from rlgns.storage.mirror_restore import remove_cut_off

            remove_cut_off(out)
        if any(out.iterdir()):
            raise UserError(
                f"{out} is not empty; resume its run with `rlgns train --resume {out}`, "
                "or name another folder with --out"
            )
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as failure:
        raise UserError(f"{out}: cannot be written: {failure.strerror}; name another folder with --out") from failure
