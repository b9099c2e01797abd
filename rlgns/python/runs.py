"""A run's folder as Python sees it: rows, arrays by key, configuration, and what it says of its critical batch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgns.config.calibrations import run_calibrations
from rlgns.config.load import from_dict
from rlgns.config.schema import Config
from rlgns.critical.predicted import with_predictions
from rlgns.errors import UserError, nearest
from rlgns.metrics.registry import KEYS
from rlgns.python.estimate import RunEstimate, run_estimate
from rlgns.storage.run_folder import RunFolder

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as its folder was when it was loaded. `run["noise/scale"]` is an array with one entry per row."""

    path: Path
    """Its folder; checkpoints/ and report.html are in it."""
    game: str
    config: Config = field(repr=False)
    """The resolved configuration, as `run.config.agent.learning_rate`."""
    about: Mapping[str, Any] = field(repr=False)
    """What else identifies it: versions, hardware, protocol, git, created, wandb_id."""
    rows: list[dict[str, Any]] = field(repr=False)
    """One dictionary per iteration, oldest first; docs/metrics.md defines every key. None where not known.

    Rows of older runs get the run average and the calibrated critical batch, which they lack, as in `rlgns report`."""

    def __getitem__(self, key: str) -> Array:
        """Returns a key's values, one per row.

        Numbers are float64, NaN where not known or absent; yes-or-no keys are booleans, False where not known; texts
        are text, empty where not known.

        Raises:
            UserError: There is no such key, or its values are lists, which are in `rows` alone.
        """
        values = [row.get(key) for row in self.rows]
        kind = KEYS[key].kind if key in KEYS else next((type(v) for v in values if v is not None), None)
        if kind is None:
            raise UserError(f"{key}: unknown key{nearest(str(key), self.keys())}; docs/metrics.md lists all")
        if kind is list:
            raise UserError(f"{key}: its values are lists; take them from run.rows")
        if kind is bool:
            return np.array([bool(value) for value in values], dtype=np.bool_)
        if kind is str:
            return np.array(["" if value is None else str(value) for value in values], dtype=np.str_)
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    def keys(self) -> list[str]:
        """Returns the keys that have arrays, those of docs/metrics.md first. `dict(run)` has all arrays."""
        lists = {name for name, key in KEYS.items() if key.kind is list}
        known = dict.fromkeys(name for row in self.rows for name in row if name not in lists)
        return [*(name for name in KEYS if name in known), *(name for name in known if name not in KEYS)]

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def estimate(self) -> RunEstimate:
        """Returns what the run says of its noise scale and its critical batch, with intervals at `noise.level`."""
        last = self.rows[-1] if self.rows else {}
        return run_estimate(last, level=self.config.noise.level, preset=str(self.about.get("preset") or ""))


def load_run(path: str | os.PathLike[str]) -> Run:
    """Returns the run in a folder that `rlgns train` wrote, also while it trains.

    Args:
        path: The run's folder, or a folder with that one run directly below it.

    Raises:
        UserError: There is no run, several runs, or a file is damaged; one line.
    """
    found = RunFolder.find(path)
    if len(found) > 1:
        names = ", ".join(folder.path.name for folder in found)
        raise UserError(f"{path} holds {len(found)} runs ({names}): load one of them, or all by rlgns.load_runs")
    return _load(found[0])


def load_runs(path: str | os.PathLike[str]) -> dict[str, Run]:
    """Returns the run in a folder, or those in the folders directly below it, by the folder's name.

    Raises:
        UserError: There is no run, or a file is damaged; one line.
    """
    return {folder.path.name: _load(folder) for folder in RunFolder.find(path)}


def _load(folder: RunFolder) -> Run:
    about, config = folder.about(), from_dict(folder.config())
    calibrations = run_calibrations(algorithm=config.agent.algorithm, epochs=config.agent.epochs)
    return Run(
        path=folder.path,
        game=str(about.get("game") or folder.path.name),
        config=config,
        about=about,
        rows=[dict(row) for row in with_predictions(folder.rows(), calibrations, config.noise.level)],
    )
