"""Decides which trials a sweep has, which of them may stop, and which is next. Pure: no files, no Ray.

Every decision follows from the settings and from the rows of each trial, so a sweep that is killed at any moment
decides the same way after a restart.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from rlgns.sweep.config import Sweep
from rlgns.sweep.learning_rates import LearningRateRule


@dataclass(frozen=True, order=True, slots=True)
class Cell:
    """A game, seed and batch size. Its trials differ in the learning rate alone and compete with each other."""

    seed: int
    game: str
    batch: int
    """Observations per optimizer step."""


@dataclass(frozen=True, order=True, slots=True)
class Trial:
    """One training of a sweep."""

    cell: Cell
    learning_rate: float

    @property
    def name(self) -> str:
        """The name of the trial and of its folder."""
        return f"{self.cell.game}-b{self.cell.batch}-lr{self.learning_rate:.3g}-s{self.cell.seed}"


@dataclass(slots=True)
class TrialProgress:
    """What a trial's rows say."""

    observations: int = 0
    """Of the newest row."""
    reached: Mapping[float, int] = field(default_factory=dict)
    """Goal to the observations at which it was reached."""
    failed: bool = False
    """Whether a fault stopped it in this process. The next process tries it again."""


class Verdict(enum.Enum):
    """Where a trial stands."""

    UNFINISHED = "unfinished"
    REACHED = "reached its last goal"
    LOST = "could no longer win any goal"
    BUDGET = "used up its observations"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """The grid of a sweep, and the rules by which its trials start and stop."""

    games: tuple[str, ...]
    batches: tuple[int, ...]
    seeds: tuple[int, ...]
    goals: Mapping[str, tuple[float, ...]]
    """By game."""
    budget: int
    """Observations per trial."""
    learning_rate_rule: LearningRateRule

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells in the order in which they start: every game and batch size of one seed, then the next seed."""
        return (Cell(seed, game, batch) for seed in self.seeds for game in self.games for batch in sorted(self.batches))

    def initial_trials(self) -> list[Trial]:
        """Returns the trials that are known before any training."""
        return [
            trial for cell in self.cells for trial in self._around_centre(cell, self.learning_rate_rule.initial_steps)
        ]

    def trials(self, progress: Mapping[Trial, TrialProgress]) -> list[Trial]:
        """Returns all trials known from the results so far, in the order in which they start."""
        return [trial for cell in self.cells for trial in self.trials_of(cell, progress)]

    def trials_of(self, cell: Cell, progress: Mapping[Trial, TrialProgress]) -> list[Trial]:
        """Returns a cell's trials: the initial ones, and more while the best learning rate of any goal is on the edge.

        The grid grows by one step on a side, and only once all of its trials have ended. So which learning rates are
        tried never depends on which trial was faster.
        """
        steps = self.learning_rate_rule.initial_steps
        while True:
            trials = self._around_centre(cell, steps)
            if any(self.verdict(trial, progress) is Verdict.UNFINISHED for trial in trials):
                return trials
            wider = self._widened(cell, steps, progress)
            if wider == steps:
                return trials
            steps = wider

    def verdict(self, trial: Trial, progress: Mapping[Trial, TrialProgress]) -> Verdict:
        """Returns where a trial stands.

        It is lost once other trials of its cell have reached each of its missing goals with no more observations than
        it has used: it can no longer be the best at any of them.
        """
        own = progress.get(trial, TrialProgress())
        missing = [goal for goal in self.goals[trial.cell.game] if goal not in own.reached]
        if not missing:
            return Verdict.REACHED
        others = [other.reached for key, other in progress.items() if key.cell == trial.cell and key != trial]
        if own.observations and all(
            any(reached.get(goal, own.observations + 1) <= own.observations for reached in others) for goal in missing
        ):
            return Verdict.LOST
        if own.observations >= self.budget:
            return Verdict.BUDGET
        return Verdict.FAILED if own.failed else Verdict.UNFINISHED

    def next_trial(self, progress: Mapping[Trial, TrialProgress], running: Set[Trial]) -> Trial | None:
        """Returns the trial to start or resume now, or None where there is none until a running trial ends."""
        for trial in self.trials(progress):
            if trial not in running and self.verdict(trial, progress) is Verdict.UNFINISHED:
                return trial
        return None

    def missed(self, trial: Trial, progress: Mapping[Trial, TrialProgress]) -> tuple[float, ...]:
        """Returns the goals that no trial of its cell reached, of a trial that has used up its observations.

        None before all trials of the cell have ended, and for a game that the sweep no longer has.
        """
        if trial.cell.game not in self.goals or self.verdict(trial, progress) is not Verdict.BUDGET:
            return ()
        cell = self.trials_of(trial.cell, progress)
        if any(self.verdict(other, progress) in (Verdict.UNFINISHED, Verdict.FAILED) for other in cell):
            return ()
        goals = self.goals[trial.cell.game]
        return tuple(goal for goal in goals if self.best(trial.cell, goal, progress) is None)

    def best(self, cell: Cell, goal: float, progress: Mapping[Trial, TrialProgress]) -> Trial | None:
        """Returns the trial of a cell that reached a goal with the fewest observations."""
        reached = [
            (entry.reached[goal], trial)
            for trial, entry in progress.items()
            if trial.cell == cell and goal in entry.reached
        ]
        return min(reached)[1] if reached else None

    def _around_centre(self, cell: Cell, steps: range) -> list[Trial]:
        """The centre comes first: it is the likeliest winner, and once it has won, the others stop early."""
        return [
            Trial(cell, self.learning_rate_rule.learning_rate(cell.batch, step))
            for step in sorted(steps, key=lambda step: (abs(step), step))
        ]

    def _widened(self, cell: Cell, steps: range, progress: Mapping[Trial, TrialProgress]) -> range:
        rule = self.learning_rate_rule
        tried = {trial: progress.get(trial, TrialProgress()) for trial in self._around_centre(cell, steps)}
        winners = {self.best(cell, goal, tried) for goal in self.goals[cell.game]}
        low, high = steps[0], steps[-1]
        lowest, highest = rule.initial_steps[0] - rule.widenings, rule.initial_steps[-1] + rule.widenings
        down = low > lowest and Trial(cell, rule.learning_rate(cell.batch, low)) in winners
        up = high < highest and Trial(cell, rule.learning_rate(cell.batch, high)) in winners
        return range(low - down, high + up + 1)


def make_plan(sweep: Sweep) -> SweepPlan:
    """Returns the plan of a resolved sweep."""
    return SweepPlan(
        games=sweep.base.run.games,
        batches=sweep.settings.batches,
        seeds=sweep.settings.seeds,
        goals=sweep.settings.goals,
        budget=sweep.base.run.observations,
        learning_rate_rule=sweep.settings.learning_rate_rule,
    )
