"""What `train`, `sweep`, `config` and `submit` share: the settings on the command line, and new folders."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlgns.commands.parser import Parser
from rlgns.errors import UserError
from rlgns.storage.remote_folder import is_url

if TYPE_CHECKING:
    from rlgns.config.schema import Config

SHORT_OPTIONS = {
    "game": "run.games",
    "observations": "run.observations",
    "seed": "run.seed",
    "batch": "agent.batch",
    "runners": "engine.runners",
    "learners": "engine.learners",
    "async_lag": "engine.async_lag",
    "mirror": "output.mirror",
    "tensorboard": "output.tensorboard",
}
"""Options that stand for a key of the configuration."""


def add_settings(
    parser: Parser,
    *,
    config: str = "preset (ppo, a2c-paper, quick, gpu) or YAML file (default: by GPU)",
    one_run: bool = True,
) -> None:
    """Adds the arguments that say what to train, and accepts `--section.key VALUE`.

    Args:
        parser: Of the command.
        config: Help text of `--config`.
        one_run: Whether each game is trained once: there is a `--seed`, and a `--mirror`.
    """
    parser.takes_settings = True
    parser.add_argument("--config", metavar="FILE", help=config)
    parser.add_argument(
        "--game", metavar="G", nargs="+", help="games to train, also by ids such as ALE/Pong-v5 (default: pong)"
    )
    parser.add_argument("--observations", metavar="N", help="observations per game: 1500000, 1.5M or 200k")
    if one_run:
        parser.add_argument("--seed", metavar="S", help="seed of everything random")
        parser.add_argument(
            "--mirror", metavar="URL", help="s3://, gs:// or file:// folder that gets rows and checkpoints as they come"
        )
    parser.add_argument("--batch", metavar="MODE", help="fixed, or adaptive: sized by the noise scale (default: fixed)")
    parser.add_argument("--runners", metavar="N", help="remote Ray actors that play (0: the learner's process plays)")
    parser.add_argument(
        "--learners", metavar="L", help="remote Ray actors that share every optimizer step (0: one process learns)"
    )
    parser.add_argument(
        "--tensorboard", action="store_const", const="true", help="write TensorBoard's files into DIR/tensorboard"
    )
    parser.add_argument(
        "--async-lag", metavar="1", help="play the next rollout while learning from this one, with weights 1 update old"
    )


def resolved_config(options: argparse.Namespace, overrides: Mapping[str, str]) -> Config:
    """Returns the configuration that `train` and `config` use. Raises UserError."""
    from rlgns.config.load import resolve

    files = [options.config] if options.config is not None else []
    return resolve(files, settings_of(options, overrides), say=say)


def say(text: str) -> None:
    """Writes a line for the user, before anything starts."""
    print(f"rlgns: {text}", file=sys.stderr)


def settings_of(
    options: argparse.Namespace, overrides: Mapping[str, str], short_options: Mapping[str, str] = SHORT_OPTIONS
) -> dict[str, str]:
    """Returns the overrides together with the short options, by key. Raises UserError where a key is given twice."""
    settings = dict(overrides)
    for option, key in short_options.items():
        value = getattr(options, option, None)
        if value is None:
            continue
        if key in settings:
            raise UserError(f"--{_dashed(option)} and --{key} are the same setting; give one of them")
        settings[key] = value
    return settings


def refuse_with_resume(options: argparse.Namespace, overrides: Mapping[str, str], changeable: Container[str]) -> None:
    """Raises UserError where a setting is given that `--resume` cannot change.

    Args:
        options: Of a command with `--resume`.
        overrides: Its `--section.key VALUE`.
        changeable: The keys that may change: none of them changes what is trained.
    """
    fixed = ("config", *(() if is_url(options.resume) else ("out",)), "seeds")  # what comes from a URL needs a folder
    given = [name for name in (*fixed, *SHORT_OPTIONS) if getattr(options, name, None) is not None]
    refused = [_dashed(name) for name in given if SHORT_OPTIONS.get(name) not in changeable]
    refused += [key for key in overrides if key not in changeable]
    if refused:
        names = ", ".join(f"--{name}" for name in refused)
        raise UserError(f"--resume uses the configuration of the run itself; leave out {names}")


def new_folder(name: str) -> Path:
    """Returns the path of a new folder, named after what runs in it and the time, in $RLGNS_RUNS or runs/."""
    return Path(os.environ.get("RLGNS_RUNS", "runs")) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _dashed(option: str) -> str:
    return option.replace("_", "-")
