"""From parsed arguments to settings and a folder: what the commands have in common."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlgns.errors import UserError

if TYPE_CHECKING:
    from rlgns.config.schema import Config

# Options that are short for a key.
SHORT = {
    "game": "run.games",
    "observations": "run.observations",
    "seed": "run.seed",
    "batch": "agent.batch",
    "runners": "engine.runners",
    "learners": "engine.learners",
    "async_lag": "engine.async_lag",
}
SHORT_OF_SWEEP = {**SHORT, "parallel": "sweep.parallel", "price": "sweep.price"}

# Settings that may be given beside --resume, by command: they change nothing that is trained.
FREE = {"sweep": ("sweep.parallel", "sweep.price"), "train": ("engine.runners", "engine.learners")}


def resolved(options: argparse.Namespace, overrides: Mapping[str, str]) -> Config:
    """The configuration of `train` and `config`. Raises UserError."""
    from rlgns.config.load import resolve

    settings = settings_of(options, overrides, SHORT)
    return resolve([options.config] if options.config is not None else [], settings)


def settings_of(options: argparse.Namespace, overrides: Mapping[str, str], short: Mapping[str, str]) -> dict[str, str]:
    """The overrides with those among them that have a short option. Raises UserError where a key is given twice."""
    settings = dict(overrides)
    for option, key in short.items():
        value = getattr(options, option, None)
        if value is None:
            continue
        if key in settings:
            raise UserError(f"--{option.replace('_', '-')} and --{key} are the same setting; give one of them")
        settings[key] = value
    return settings


def default_out(config: Config) -> Path:
    """A new folder below runs/: the game, or the experiment's name where there are several games, and the time."""
    games = config.run.games
    return new_folder(games[0] if len(games) == 1 else config.run.name)


def new_folder(name: str) -> Path:
    """A folder that is named by what runs in it and the time, below $RLGNS_RUNS or runs/."""
    return Path(os.environ.get("RLGNS_RUNS", "runs")) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def claim_folder(out: Path) -> None:
    """Makes the run's folder and checks that it is empty and can be written.

    Raises:
        UserError: It holds something, or cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(
                f"{out} is not empty; go on with its run by `rlgns train --resume {out}`, or name another --out"
            )
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as failure:
        raise UserError(f"{out}: cannot be written: {failure.strerror}; name another folder with --out") from failure


def sweep_file(options: argparse.Namespace) -> Path:
    """The sweep that --config names."""
    if options.config is None:
        raise UserError("which sweep? give --config FILE, or --resume DIR (`rlgns sweep --help` lists shipped sweeps)")
    return Path(options.config)


def refuse_beside_resume(options: argparse.Namespace, overrides: Mapping[str, str]) -> None:
    """Raises UserError where something is given beside --resume that would change what is trained."""
    free = FREE[options.command]
    given = [name for name in ("config", "out", *SHORT) if getattr(options, name, None) is not None]
    given = [name for name in given if SHORT.get(name) not in free]
    given += [key for key in overrides if key not in free]
    if given:
        names = ", ".join(f"--{name.replace('async_lag', 'async-lag')}" for name in given)
        raise UserError(f"--resume goes on with the run's own configuration; leave out {names}")
