"""A sweep under way: what its runs' files say, what the plan makes of it, what is written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, final

from rlgns.config.load import from_dict, to_dict
from rlgns.config.schema import Config
from rlgns.critical.goals import GoalReached, reach_goals
from rlgns.engine.trial_queue import TrialQueue
from rlgns.errors import FaultError
from rlgns.monitor.listener import Row, RunStart
from rlgns.storage.run_folder import RunFolder
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.config import Sweep
from rlgns.sweep.plan import SweepPlan, Trial, TrialProgress, Verdict
from rlgns.sweep.records import point_rows, saved_trials

LOOK_AGAIN = 1.01
"""A run's rows are read again only when there are so many times as many: a long run is not read all the time."""


def make_plan(sweep: Sweep) -> SweepPlan:
    """Returns what decides of a sweep's trials."""
    return SweepPlan(
        games=sweep.base.run.games,
        batches=sweep.settings.batches,
        seeds=sweep.settings.seeds,
        goals=sweep.settings.goals,
        budget=sweep.base.run.observations,
        rule=sweep.settings.rule,
    )


@final
class Session(TrialQueue):
    """Hands out a sweep's trials as the plan calls for them, and keeps points.csv true.

    Args:
        sweep: Settings.
        folder: Of the sweep, claimed.
        about_of: From a configuration and a game to what a run's config.yaml says beside its configuration.
        began: Called when a trial begins or goes on.
        stopped: Called when one ended, or was stopped by the user (UNFINISHED).
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
        self.seconds: dict[Trial, float] = {}
        """Of training, by trial."""
        self._sweep, self._folder, self._about_of = sweep, folder, about_of
        self.began, self.stopped = began, stopped
        self.cores = 1.0
        """Of each trial."""
        self._reached: dict[Trial, Sequence[GoalReached]] = {}
        self._look_at: dict[Trial, float] = {}
        self._live: dict[str, Trial] = {}
        for trial in saved_trials(folder):
            self._read(trial)

    @property
    def live(self) -> set[Trial]:
        """Trials under way."""
        return set(self._live.values())

    @property
    def reached(self) -> dict[Trial, Sequence[GoalReached]]:
        """The goals that each trial reached."""
        return self._reached

    def trials(self) -> list[Trial]:
        """Returns all trials as far as they are decided."""
        return self.plan.trials(self.progress)

    def verdict(self, trial: Trial) -> Verdict:
        """Returns where a trial stands."""
        return self.plan.verdict(trial, self.progress)

    def shared(self, most: int, cpus: float) -> None:
        """Notes the cores of each trial."""
        self.cores = cpus

    def next(self) -> RunStart | None:
        """Returns the trial to start or go on with; its folder is made."""
        trial = self.plan.next_trial(self.progress, self.live)
        if trial is None:
            return None
        self._live[trial.name] = trial
        start = self._start(trial)
        self._folder.note_fault(trial.name, "")
        self.began(trial, start)
        return start

    def enough(self, key: str, row: Row) -> bool:
        """Returns whether a trial has reached its last goal, or can win none any more."""
        trial = self._live[key]
        progress = self.progress.setdefault(trial, TrialProgress())
        progress.observations = row["observations"]
        self.seconds[trial] = row["seconds"]
        if self._may_have_reached(trial, row) and row["iteration"] >= self._look_at.get(trial, 0):
            before = len(progress.reached)
            self._read(trial)
            if len(self.progress[trial].reached) > before:
                self._write_points()
            self._look_at[trial] = row["iteration"] * LOOK_AGAIN
        return self.verdict(trial) is not Verdict.UNFINISHED

    def ended(self, key: str, fault: str, detail: str = "") -> None:
        """Takes the last look at a trial's rows; notes a fault in its folder."""
        trial = self._live.pop(key)
        self._read(trial)
        if fault:
            self.progress[trial].failed = True
            self._folder.note_fault(trial.name, detail or fault)
        self._write_points()
        self.stopped(trial, self.verdict(trial))

    def _write_points(self) -> None:
        with suppress(FaultError):  # the runs have everything; where it stays so, the end of the sweep tells
            self._folder.write_points(point_rows(self._reached))

    def _start(self, trial: Trial) -> RunStart:
        folder, cell = self._folder.run(trial.name), trial.cell
        resumed = folder.config_path.is_file()
        if not resumed:
            config = self._sweep.config(game=cell.game, batch=cell.batch, rate=trial.rate, seed=cell.seed)
            folder.create(to_dict(config), self._about_of(config, cell.game))
        return run_start(trial, folder, resumed=resumed)

    def _may_have_reached(self, trial: Trial, row: Row) -> bool:
        """A goal is reached in a row whose score is at the goal, if at all."""
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
        self.seconds[trial] = rows[-1]["seconds"] if rows else 0.0
        self._reached[trial] = reached


def run_start(trial: Trial, folder: RunFolder, *, resumed: bool) -> RunStart:
    """Describes a trial's run to the engine, from its folder."""
    return RunStart(
        name=trial.name,
        game=trial.cell.game,
        folder=folder,
        config=from_dict(folder.config()),
        wandb_id=str(folder.about().get("wandb_id", "")),
        resumed=resumed,
        first_row=folder.last_row() if resumed else None,
    )
