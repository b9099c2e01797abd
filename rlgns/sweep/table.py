"""The results of a sweep as plain text for standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from rlgns import formatting
from rlgns.critical.goals import GoalReached
from rlgns.formatting import aligned
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.plan import Cell, SweepPlan, Trial, TrialProgress

_TITLES = ("game", "goal", "batch", "best learning rate", "optimizer steps", "observations", "seeds")


def results_table(
    plan: SweepPlan,
    progress: Mapping[Trial, TrialProgress],
    reached: Mapping[Trial, Sequence[GoalReached]],
    folder: SweepFolder,
) -> str:
    """Returns a line per goal and batch size, for its best learning rate, and the paths of points and report."""
    lines: list[tuple[str, ...]] = [_TITLES]
    for game in plan.games:
        for goal in plan.goals[game]:
            lines += [_line(plan, progress, reached, game, goal, batch) for batch in sorted(plan.batches)]
    text = [*aligned(lines), f"points: {folder.points_path}"]
    text += [f"report: {folder.report_path}"] if folder.report_path.exists() else []
    return "\n".join(text)


def _line(
    plan: SweepPlan,
    progress: Mapping[Trial, TrialProgress],
    reached: Mapping[Trial, Sequence[GoalReached]],
    game: str,
    goal: float,
    batch: int,
) -> tuple[str, ...]:
    """Returns means over the seeds that reached the goal, each at its best learning rate."""
    best = [plan.best(Cell(seed, game, batch), goal, progress) for seed in plan.seeds]
    found = [next(entry for entry in reached[trial] if entry.goal == goal) for trial in best if trial is not None]
    seeds = f"{len(found)} of {len(plan.seeds)}"
    if not found:
        return game, f"{goal:g}", formatting.count(batch), "not reached", formatting.NOTHING, formatting.NOTHING, seeds
    rates = sorted({f"{trial.learning_rate:g}" for trial in best if trial is not None})
    steps, observations = (
        fmean(getattr(entry, name) for entry in found) for name in ("optimizer_steps", "observations")
    )
    return (
        game,
        f"{goal:g}",
        formatting.count(batch),
        " ".join(rates),
        formatting.count(steps),
        formatting.count(observations),
        seeds,
    )
