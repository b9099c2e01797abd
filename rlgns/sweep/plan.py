"""Which trials a sweep has, which of them have done enough, and which comes next. Pure: no files, no Ray.

Everything follows from the settings and from what each trial's rows say, so a sweep that was killed at any moment
decides the same again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from rlgns.sweep.rates import RateRule


@dataclass(frozen=True, order=True, slots=True)
class Cell:
    """Trials that compete: one game, seed and batch size, at several learning rates."""

    seed: int
    game: str
    batch: int
    """Observations per optimizer step."""


@dataclass(frozen=True, order=True, slots=True)
class Trial:
    """One training of a sweep."""

    cell: Cell
    rate: float
    """Learning rate."""

    @property
    def name(self) -> str:
        """Names the trial and its folder."""
        return f"{self.cell.game}-b{self.cell.batch}-lr{self.rate:.3g}-s{self.cell.seed}"


@dataclass(slots=True)
class TrialProgress:
    """What a trial's rows say."""

    observations: int = 0
    """Of the newest row."""
    reached: Mapping[float, int] = field(default_factory=dict)
    """Goal to the observations at which it was reached."""
    failed: bool = False
    """Stopped by a fault in this session; another session tries again."""


class Verdict(enum.Enum):
    """Where a trial stands."""

    UNFINISHED = "unfinished"
    REACHED = "reached its last goal"
    LOST = "could not win any goal any more"
    BUDGET = "used up its observations"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """What a sweep compares."""

    games: tuple[str, ...]
    batches: tuple[int, ...]
    seeds: tuple[int, ...]
    goals: Mapping[str, tuple[float, ...]]
    """By game."""
    budget: int
    """Observations per trial."""
    rule: RateRule

    @property
    def cells(self) -> Iterator[Cell]:
        """All cells in the order in which they are begun: one seed of everything before the next seed."""
        return (Cell(seed, game, batch) for seed in self.seeds for game in self.games for batch in sorted(self.batches))

    def first_trials(self) -> list[Trial]:
        """Returns the trials that are known before anything was trained."""
        return [trial for cell in self.cells for trial in self._around_centre(cell, self.rule.first)]

    def trials(self, progress: Mapping[Trial, TrialProgress]) -> list[Trial]:
        """Returns all trials as far as results so far decide them, in the order in which they are begun."""
        return [trial for cell in self.cells for trial in self.trials_of(cell, progress)]

    def trials_of(self, cell: Cell, progress: Mapping[Trial, TrialProgress]) -> list[Trial]:
        """Returns a cell's trials: those of the start, and further ones while the best of any goal is on the edge.

        The grid is widened by one step on a side only when all of its trials have ended: what is tried never depends
        on which of them was faster by the clock.
        """
        steps = self.rule.first
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

        It is lost once every goal that it has not reached was reached by another learning rate of its cell with no more
        observations than it has used: whatever it does now, it comes later.
        """
        own = progress.get(trial, TrialProgress())
        missing = [goal for goal in self.goals[trial.cell.game] if goal not in own.reached]
        if not missing:
            return Verdict.REACHED
        rivals = [other.reached for key, other in progress.items() if key.cell == trial.cell and key != trial]
        if own.observations and all(
            any(reached.get(goal, own.observations + 1) <= own.observations for reached in rivals) for goal in missing
        ):
            return Verdict.LOST
        if own.observations >= self.budget:
            return Verdict.BUDGET
        return Verdict.FAILED if own.failed else Verdict.UNFINISHED

    def next_trial(self, progress: Mapping[Trial, TrialProgress], live: Set[Trial]) -> Trial | None:
        """Returns the trial to start, or go on with, now; None: there is none until one that is under way ends."""
        for trial in self.trials(progress):
            if trial not in live and self.verdict(trial, progress) is Verdict.UNFINISHED:
                return trial
        return None

    def best(self, cell: Cell, goal: float, progress: Mapping[Trial, TrialProgress]) -> Trial | None:
        """Returns the trial of a cell that reached a goal with the fewest observations."""
        reached = [
            (entry.reached[goal], trial)
            for trial, entry in progress.items()
            if trial.cell == cell and goal in entry.reached
        ]
        return min(reached)[1] if reached else None

    def _around_centre(self, cell: Cell, steps: range) -> list[Trial]:
        """The centre first: it most likely wins, and then the others end early."""
        return [
            Trial(cell, self.rule.rate(cell.batch, step)) for step in sorted(steps, key=lambda step: (abs(step), step))
        ]

    def _widened(self, cell: Cell, steps: range, progress: Mapping[Trial, TrialProgress]) -> range:
        tried = {trial: progress.get(trial, TrialProgress()) for trial in self._around_centre(cell, steps)}
        winners = {self.best(cell, goal, tried) for goal in self.goals[cell.game]}
        first = self.rule.first
        low, high = steps[0], steps[-1]
        down = Trial(cell, self.rule.rate(cell.batch, low)) in winners and first[0] - low < self.rule.widenings
        up = Trial(cell, self.rule.rate(cell.batch, high)) in winners and high - first[-1] < self.rule.widenings
        return range(low - down, high + up + 1)
