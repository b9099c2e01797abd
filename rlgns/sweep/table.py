"""The results of a sweep as plain text for standard output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from rlgns import formatting
from rlgns.critical.goals import GoalReached
from rlgns.fit.missing_goals import run_shortfall, why_not_reached
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
    text = [
        *aligned(lines),
        *_missing(plan, reached, folder),
        *_passed_before(plan, progress, reached),
        f"points: {folder.points_path}",
    ]
    text += [f"report: {folder.report_path}"] if folder.report_path.exists() else []
    return "\n".join(text)


def _missing(plan: SweepPlan, reached: Mapping[Trial, Sequence[GoalReached]], folder: SweepFolder) -> list[str]:
    """Returns a line on each game and batch that missed goals: which, and why."""
    lines = []
    for game in plan.games:
        for batch in sorted(plan.batches):
            trials = [trial for trial in reached if (trial.cell.game, trial.cell.batch) == (game, batch)]
            got = {entry.goal for trial in trials for entry in reached[trial]}
            missed = [f"{goal:g}" for goal in plan.goals[game] if goal not in got]
            if missed:
                found = (run_shortfall(run.config(), run.rows()) for run in (folder.run(t.name) for t in trials))
                lines.append(f"{game}, batch {batch:,}: {' and '.join(missed)} not reached: {why_not_reached(found)}")
    if lines:
        lines.append(f"a larger budget continues these runs: rlgns sweep --resume {folder.path} --observations N")
    return lines


def _passed_before(
    plan: SweepPlan, progress: Mapping[Trial, TrialProgress], reached: Mapping[Trial, Sequence[GoalReached]]
) -> list[str]:
    """Returns a line per game and goal that the best run of a batch had passed when its score first counted."""
    batches: dict[tuple[str, float], set[int]] = {}
    for cell in plan.cells:
        for goal in plan.goals[cell.game]:
            best = plan.best(cell, goal, progress)
            if best is not None and any(one.goal == goal and one.passed_before for one in reached[best]):
                batches.setdefault((cell.game, goal), set()).add(cell.batch)
    return [
        f"{game}, goal {goal:g}: at batch {' and '.join(f'{batch:,}' for batch in sorted(found))} the best run was "
        "above it when its score first counted, so it may have needed fewer steps than given; use a higher goal"
        for (game, goal), found in sorted(batches.items())
    ]


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
