"""A sweep as the report sees it: its goals' fits by game, its runs, the paper's measurements. Reads no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlgns.critical.points import GoalFit
from rlgns.envs.games import find, human_normalised
from rlgns.fit.paper import PaperGoal
from rlgns.fit.points_file import rom_name
from rlgns.report.run_data import RunData


@dataclass(frozen=True, kw_only=True, slots=True)
class GameData:
    """One game of a sweep."""

    name: str
    """As the points have it: 'pong', or the paper's 'Space Invaders'."""
    goals: tuple[GoalFit, ...]
    """From easy to hard."""
    runs: tuple[RunData, ...] = ()
    """One per batch size and seed: that of the best learning rate at the hardest goal it reached."""
    paper: tuple[PaperGoal, ...] = ()
    """From easy to hard; empty where the paper has nothing on this game."""

    @property
    def title(self) -> str:
        """The game's name in title case; that of a task that is no game as it is."""
        return self.name.replace("_", " ").title() if self.is_game and self.name == self.name.lower() else self.name

    @property
    def is_game(self) -> bool:
        """Whether this is one of Atari's games, not another task."""
        return self.human_normalised(0) is not None

    @property
    def measure(self) -> str:
        """'score'; 'loss' for a task that is no game, whose losses stand negative in the points."""
        return "loss" if not self.is_game and all(goal.goal_score < 0 for goal in self.goals) else "score"

    def goal_number(self, goal: GoalFit) -> float:
        """Returns the score, or the loss."""
        return -goal.goal_score if self.measure == "loss" else goal.goal_score

    def goal_text(self, goal: GoalFit) -> str:
        """Returns 'score 1,500' or 'loss 0.2'."""
        return f"{self.measure} {self.goal_number(goal):,g}"

    @property
    def identified(self) -> tuple[GoalFit, ...]:
        """Goals whose critical batch is known, from easy to hard."""
        return tuple(goal for goal in self.goals if goal.fit.identified)

    def human_normalised(self, score: float) -> float | None:
        """Returns a score on the scale where random play is 0 and a human tester 1; None for games outside Atari."""
        try:
            return human_normalised(find(self.name).name, score)
        except ValueError:
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepData:
    """One sweep, or one table of points."""

    label: str
    games: tuple[GameData, ...]
    plan: Mapping[str, Any] = field(default_factory=dict)
    """sweep.yaml; empty for a bare table."""
    runs: tuple[RunData, ...] = ()
    """Every trial in the folder."""

    def title_of(self, game: GameData, several: bool) -> str:
        """Returns a game's title, with this sweep's label where there are several sweeps and it says more."""
        says_more = several and self.label not in (game.title, game.name)
        return f"{game.title} ({self.label})" if says_more else game.title

    @property
    def goals(self) -> list[tuple[GameData, GoalFit]]:
        """Every goal of every game."""
        return [(game, goal) for game in self.games for goal in game.goals]


def make_games(
    goals: Sequence[GoalFit], runs: Mapping[str, RunData], paper: Sequence[PaperGoal]
) -> tuple[GameData, ...]:
    """Returns the games of these goals, in order of first appearance.

    Args:
        goals: Every goal's fit.
        runs: Runs by their names in the points.
        paper: The paper's measurements, of any game.
    """
    names = list(dict.fromkeys(goal.game for goal in goals))
    return tuple(
        GameData(
            name=name,
            goals=tuple(sorted((goal for goal in goals if goal.game == name), key=lambda goal: goal.goal_score)),
            runs=tuple(_best_runs([goal for goal in goals if goal.game == name], runs)),
            paper=tuple(_on_game(name, paper)),
        )
        for name in names
    )


def known(value: float | None) -> float | None:
    """Returns a finite number, or None."""
    return value if value is not None and math.isfinite(value) else None


def _best_runs(goals: Sequence[GoalFit], runs: Mapping[str, RunData]) -> list[RunData]:
    """Returns the run of the hardest goal reached, per batch size and seed, ordered by batch size."""
    best: dict[tuple[float, float | None], str] = {}
    for goal in sorted(goals, key=lambda goal: goal.goal_score):
        for point in goal.points:
            if point.run in runs and point.reached:
                best[(point.batch_observations, point.seed)] = str(point.run)
    return [runs[best[key]] for key in sorted(best, key=lambda key: (key[0], key[1] or 0))]


def _on_game(game: str, paper: Sequence[PaperGoal]) -> list[PaperGoal]:
    found = [entry for entry in paper if rom_name(entry.game) == rom_name(game)]
    return sorted(found, key=lambda entry: entry.goal_score)
