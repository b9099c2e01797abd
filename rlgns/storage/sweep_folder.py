"""A sweep's folder: the only place that knows its layout."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import yaml

from rlgns.config.files import read_yaml
from rlgns.config.load import from_dict, to_dict
from rlgns.critical.goals import GoalReached
from rlgns.errors import FaultError, UserError
from rlgns.fit.points_file import POINTS_FILE
from rlgns.storage.files import lock, plain, reason, write_atomically
from rlgns.storage.run_folder import RunFolder
from rlgns.sweep import load
from rlgns.sweep.config import Sweep
from rlgns.sweep.plan import Cell, Trial

COLUMNS = (
    "game",
    "goal_score",
    "batch_observations",
    "optimizer_steps",
    "observations",
    "learning_rate",
    "seed",
    "seconds",
    "run",
    "noise_scale",
    "noise_scale_low",
    "noise_scale_high",
)
"""Of points.csv: one line for each goal that a run reached."""

GROWS = ("sweep.batches", "sweep.seeds", "sweep.goals", "sweep.learning_rates", "sweep.widenings", "run.games")
"""What may differ when a sweep is gone on with: trials that are there stay as they are."""

FREE = ("sweep.parallel", "sweep.price", "run.name", "run.seed", "agent.learning_rate")
"""What may differ because it changes no trial, or is set for each trial."""


@final
class SweepFolder:
    """One sweep on disk: sweep.yaml, runs/ with a run's folder per trial, points.csv, report.html."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.sweep_path = self.path / "sweep.yaml"
        self.runs_path = self.path / "runs"
        self.points_path = self.path / POINTS_FILE
        self.report_path = self.path / "report.html"

    def run(self, trial: Trial) -> RunFolder:
        """Returns a trial's folder, whether it exists or not."""
        return RunFolder(self.runs_path / trial.name)

    def runs(self) -> dict[Trial, RunFolder]:
        """Returns the runs that exist, also of trials that the present settings would not have."""
        if not self.runs_path.is_dir():
            return {}
        found = {}
        for path in sorted(self.runs_path.iterdir()):
            folder = RunFolder(path)
            if folder.config_path.is_file():
                config = from_dict(folder.config())
                cell = Cell(config.run.seed, config.run.games[0], config.batch_observations)
                found[Trial(cell, config.agent.learning_rate)] = folder
        return found

    @contextmanager
    def claimed(self, sweep: Sweep) -> Iterator[None]:
        """Holds the folder for this process while the block runs.

        Raises:
            UserError: It cannot be written, holds something else or a sweep with other settings, or another process is
                at work in it.
        """
        try:
            self.check(sweep)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written: {reason(error)}; name another folder with --out"
            ) from error
        handle = lock(self.path)
        if handle is None:
            raise UserError(f"{self.path}: another rlgns sweep is at work in this folder")
        try:
            yield
        finally:
            os.close(handle)

    def write(self, sweep: Sweep, about: Mapping[str, Any], trials: Sequence[Trial]) -> None:
        """Writes sweep.yaml: settings, configuration, versions, names of the trials so far. Raises UserError."""
        content = {
            "sweep": load.to_dict(sweep.settings),
            "config": to_dict(sweep.base),
            "about": plain(about),
            "trials": [trial.name for trial in trials],
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        try:
            self.runs_path.mkdir(exist_ok=True)
            write_atomically(self.sweep_path, text.encode())
        except OSError as error:
            raise UserError(f"cannot write {error.filename or self.sweep_path}: {reason(error)}") from error

    def about(self) -> dict[str, Any]:
        """Returns what `write` was told about the sweep; empty before the first time."""
        about = read_yaml(self.sweep_path).get("about") if self.sweep_path.exists() else None
        return about if isinstance(about, dict) else {}

    def write_points(self, reached: Mapping[Trial, Sequence[GoalReached]]) -> None:
        """Writes points.csv, whole or not at all. Raises FaultError."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for trial in sorted(reached):
            for goal in reached[trial]:
                writer.writerow(
                    [
                        trial.cell.game,
                        f"{goal.goal:g}",
                        trial.cell.batch,
                        _number(goal.optimizer_steps),
                        _number(goal.observations),
                        trial.rate,
                        trial.cell.seed,
                        _number(goal.seconds),
                        trial.name,
                        _number(goal.noise_scale),
                        _number(goal.noise_scale_low),
                        _number(goal.noise_scale_high),
                    ]
                )
        try:
            write_atomically(self.points_path, text.getvalue().encode())
        except OSError as error:
            raise FaultError(f"cannot write {self.points_path}: {reason(error)}") from error

    def note_fault(self, trial: Trial, fault: str) -> None:
        """Leaves what stopped a trial in its folder, in fault.txt; an empty `fault` takes it away."""
        path = self.run(trial).path / "fault.txt"
        with suppress(OSError):  # the fault may be the disk's
            if fault:
                path.write_text(fault + "\n")
            else:
                path.unlink(missing_ok=True)

    def check(self, sweep: Sweep) -> None:
        """Raises UserError where the folder holds something else than this sweep."""
        if not self.path.exists():
            return
        if not self.sweep_path.exists():
            if [entry for entry in self.path.iterdir() if entry.name != ".lock"]:
                raise UserError(f"{self.path} is not empty and holds no sweep; name another folder with --out")
            return
        there = _flat(load.resolve_sweep(self.sweep_path, {}))
        here = _flat(sweep)
        for key, value in here.items():
            if key in GROWS or key in FREE or key.startswith("wandb.") or there.get(key) == value:
                continue
            raise UserError(
                f"{self.path} holds a sweep with other settings: {key} is {there.get(key)} there and {value} here; "
                "name another folder with --out"
            )


def _flat(sweep: Sweep) -> dict[str, Any]:
    """Settings by dotted key, without what follows from the batch size."""
    flat = {f"sweep.{key}": value for key, value in load.to_dict(sweep.settings).items()}
    flat |= {f"{section}.{key}": value for section, keys in to_dict(sweep.base).items() for key, value in keys.items()}
    del flat["env.num_envs" if sweep.settings.axis == "envs" else "agent.rollout_steps"]
    return flat


def _number(value: float | None) -> float | int | str:
    """A number as CSV has it: whole where it is whole, `inf` where there is no upper bound, empty where unknown."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return value
    return int(value) if value == int(value) else float(f"{value:.6g}")
