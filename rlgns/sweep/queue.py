"""The trials of a sweep while it runs: which start next, what their rows say, and the points written from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, final

from rlgns.config.load import from_dict, to_dict
from rlgns.config.schema import Config
from rlgns.critical.goals import GoalReached, reach_goals
from rlgns.engine.trial_queue import TrialQueue
from rlgns.errors import FaultError
from rlgns.monitor.listener import Row, RunStart
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.config import Sweep
from rlgns.sweep.plan import Trial, TrialProgress, Verdict, make_plan
from rlgns.sweep.records import point_rows, saved_trials

REREAD_GROWTH = 1.01
"""A run's rows are read again once there are this many times as many, so a long run is not read at every row."""


@final
class SweepQueue(TrialQueue):
    """Starts a sweep's trials in the order of its plan, stops them when they are done, and keeps points.csv current.

    Args:
        sweep: The resolved sweep.
        folder: The sweep's folder, claimed.
        about_of: From a configuration and a game to the section `about` of a run's config.yaml.
        began: Called when a trial starts or resumes.
        stopped: Called when a trial ended, or when the user stopped it (UNFINISHED).
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: SweepFolder,
        *,
        about_of: Callable[[Config, str], dict[str, Any]],
        began: Callable[[Trial, RunStart], None] = lambda trial, start: None,
        stopped: Callable[[Trial, Verdict], None] = lambda trial, verdict: None,
    ) -> None:
        self.plan = make_plan(sweep)
        self.progress: dict[Trial, TrialProgress] = {}
        self.training_seconds: dict[Trial, float] = {}
        self.cores_per_trial = 1.0
        self.began, self.stopped = began, stopped
        self._sweep, self._folder, self._about_of = sweep, folder, about_of
        self._reached: dict[Trial, Sequence[GoalReached]] = {}
        self._reread_at: dict[Trial, float] = {}  # iteration
        self._running: dict[str, Trial] = {}
        for trial in saved_trials(folder):
            self._read(trial)

    @property
    def reached(self) -> dict[Trial, Sequence[GoalReached]]:
        """The goals that each trial reached."""
        return self._reached

    def points(self) -> Iterator[dict[str, Any]]:
        """Yields the rows of points.csv."""
        return point_rows(self._reached, self.plan, self.progress)

    def trials(self) -> list[Trial]:
        """Returns all trials known so far."""
        return self.plan.trials(self.progress)

    def verdict(self, trial: Trial) -> Verdict:
        """Returns where a trial stands."""
        return self.plan.verdict(trial, self.progress)

    def shared(self, most: int, cpus: float) -> None:
        """Notes the cores of each trial."""
        self.cores_per_trial = cpus

    def next(self) -> RunStart | None:
        """Returns the trial to start or resume, in a folder that it makes where there is none."""
        trial = self.plan.next_trial(self.progress, set(self._running.values()))
        if trial is None:
            return None
        self._running[trial.name] = trial
        start = self._start(trial)
        self._folder.note_fault(trial.name, "")
        self.began(trial, start)
        return start

    def enough(self, key: str, row: Row) -> bool:
        """Returns whether a trial has reached its last goal, lost, or used up its observations."""
        trial = self._running[key]
        progress = self.progress.setdefault(trial, TrialProgress())
        progress.observations = row["observations"]
        self.training_seconds[trial] = row["seconds"]
        if self._may_have_reached(trial, row) and row["iteration"] >= self._reread_at.get(trial, 0):
            before = len(progress.reached)
            self._read(trial)
            if len(self.progress[trial].reached) > before:
                self._write_points()
            self._reread_at[trial] = row["iteration"] * REREAD_GROWTH
        return self.verdict(trial) is not Verdict.UNFINISHED

    def ended(self, key: str, fault: str, detail: str = "") -> None:
        """Reads a trial's rows for the last time; writes a fault to its folder."""
        trial = self._running.pop(key)
        self._read(trial)
        if fault:
            self.progress[trial].failed = True
            self._folder.note_fault(trial.name, detail or fault)
        self._write_points()
        self.stopped(trial, self.verdict(trial))

    def _write_points(self) -> None:
        with suppress(FaultError):  # the runs hold everything; the end of the sweep reports a failure that persists
            self._folder.write_points(self.points())

    def _start(self, trial: Trial) -> RunStart:
        folder, cell = self._folder.run(trial.name), trial.cell
        resumed = folder.config_path.is_file()
        if not resumed:
            config = self._sweep.config(
                game=cell.game, batch=cell.batch, learning_rate=trial.learning_rate, seed=cell.seed
            )
            folder.create(to_dict(config), self._about_of(config, cell.game))
        elif from_dict(folder.config()).run.observations < self.plan.budget:
            folder.extend(self.plan.budget)  # the sweep was resumed with a larger budget
        return RunStart(
            name=trial.name,
            job_type="sweep",
            game=cell.game,
            folder=folder,
            config=from_dict(folder.config()),
            wandb_id=str(folder.about().get("wandb_id", "")),
            resumed=resumed,
            first_row=folder.last_row() if resumed else None,
        )

    def _may_have_reached(self, trial: Trial, row: Row) -> bool:
        """Whether the row's score is at a missing goal. A goal is never reached in any other row."""
        reached = self.progress[trial].reached
        missing = [goal for goal in self.plan.goals[trial.cell.game] if goal not in reached]
        return bool(missing) and row["score_mean"] is not None and row["score_mean"] >= min(missing)

    def _read(self, trial: Trial) -> None:
        folder = self._folder.run(trial.name)
        rows, goals = folder.rows(), self.plan.goals.get(trial.cell.game, ())
        environments = folder.config()["env"]["num_envs"]
        reached = [goal for goal in reach_goals(rows, goals, environments=environments) if goal is not None]
        progress = self.progress.setdefault(trial, TrialProgress())
        progress.observations = rows[-1]["observations"] if rows else 0
        progress.reached = {goal.goal: int(goal.observations) for goal in reached}
        self.training_seconds[trial] = rows[-1]["seconds"] if rows else 0.0
        self._reached[trial] = reached
