"""Does the noise scale predict the critical batch? Every game and task on log axes, with r^2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlgns import formatting
from rlgns.critical.agreement import MIN_TASKS, Agreement, agreement
from rlgns.fit.paper import paper_goals, paper_tasks
from rlgns.formatting import plural
from rlgns.report.figure import BLUE, GREY, ORANGE, PURPLE, THREE_DIGITS, Figure, axes, label, line, log_axis
from rlgns.report.sweep_data import SweepData, known


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One dot: a game's goal or a task of the paper, in its own unit (observations, images, tokens)."""

    name: str
    group: str
    predicted: float
    """Noise scale, averaged over training."""
    measured: float
    """Critical batch."""
    predicted_ends: tuple[float | None, float | None] = (None, None)
    measured_ends: tuple[float | None, float | None] = (None, None)
    is_bound: bool = False
    """Whether `measured` is only a lower bound."""
    counts: bool = False
    """Whether it enters r^2. Only one goal per game does: the goals of a game are not independent."""


OURS, OUR_GOALS, TABLE, PAPER_GOALS = (
    "these runs, hardest goal",
    "these runs, other goals",
    "paper, Table 1",
    "paper, Atari goals",
)
HEADER = (
    "task",
    "group",
    "noise_scale",
    "noise_scale_low",
    "noise_scale_high",
    "critical_batch",
    "critical_batch_low",
    "critical_batch_high",
    "is_lower_bound",
    "in_r_squared",
)
STYLES = {
    PAPER_GOALS: (GREY, "circle-open", 6),
    TABLE: (PURPLE, "square", 9),
    OUR_GOALS: (BLUE, "circle-open", 7),
    OURS: (BLUE, "circle", 11),
}


def tasks(sweeps: Sequence[SweepData]) -> list[Task]:
    """Returns every goal and task with both a noise scale and a critical batch, of these sweeps and the paper."""
    found = []
    for sweep in sweeps:
        for game in sweep.games:
            both = [goal for goal in game.identified if known(goal.noise_scale)]
            found += [
                Task(
                    name=f"{game.title}, {game.goal_text(goal)}",
                    group=OURS if goal is both[-1] else OUR_GOALS,
                    predicted=goal.noise_scale,
                    measured=goal.fit.critical_batch,
                    predicted_ends=(known(goal.noise_scale_low), known(goal.noise_scale_high)),
                    measured_ends=(known(goal.fit.critical_batch_low), known(goal.fit.critical_batch_high)),
                    counts=goal is both[-1],
                )
                for goal in both
            ]
    found += [
        Task(
            name=f"{row.task} ({row.unit})",
            group=TABLE,
            predicted=row.noise_scale_average,
            measured=row.critical_batch_end,
            is_bound=row.bound,
            counts=True,
        )
        for row in paper_tasks()
    ]
    found += [
        Task(
            name=f"{entry.game}, score {entry.goal_score:,g}",
            group=PAPER_GOALS,
            predicted=entry.noise_scale,
            measured=entry.critical_batch,
        )
        for entry in paper_goals()
    ]
    return found


def agreements(found: Sequence[Task]) -> dict[str, Agreement]:
    """Returns r^2 of the tasks that count: of 'all', of the 'measured' ones (no bounds), and of 'these_runs'."""
    sets = {
        "all": [task for task in found if task.counts],
        "measured": [task for task in found if task.counts and not task.is_bound],
        "these_runs": [task for task in found if task.counts and task.group == OURS],
    }
    return {
        name: agreement([task.predicted for task in some], [task.measured for task in some])
        for name, some in sets.items()
        if len(some) >= MIN_TASKS
    }


def agreement_figure(sweeps: Sequence[SweepData]) -> Figure:
    """Draws measured critical batches against the noise scales that predict them."""
    found = tasks(sweeps)
    over = agreements(found)
    what = "game" if all(game.is_game for sweep in sweeps for game in sweep.games) else "task"
    ends = [size for task in found for size in (task.predicted, task.measured)]
    low, high = min(ends) / 2, max(ends) * 2
    traces: list[dict[str, Any]] = [
        line(
            [low, high], [low, high], "noise scale = critical batch", GREY, "dot", hoverinfo="skip", hovertemplate=None
        )
    ]
    fit = over["measured"]
    fitted = [fit.factor * size**fit.slope for size in (low, high)]
    traces.append(line([low, high], fitted, "fitted line", ORANGE, "dash", hoverinfo="skip", hovertemplate=None))
    for group, (color, symbol, size) in STYLES.items():
        some = [task for task in found if task.group == group]
        if some:
            traces.append(dots(some, group, color, symbol, size))
    layout = axes("noise scale (observations, images, tokens)", "critical batch", hover="closest")
    for axis in ("xaxis", "yaxis"):
        layout[axis] |= log_axis([low, high])
    return Figure(
        name="agreement",
        title="Noise scale against measured critical batch",
        sentence=_sentence(found, over, what),
        traces=traces,
        layout=layout,
        header=HEADER,
        table=[
            (t.name, t.group, t.predicted, *t.predicted_ends, t.measured, *t.measured_ends, t.is_bound, t.counts)
            for t in found
        ],
        height=460,
    )


def dots(some: Sequence[Task], group: str, color: str, symbol: str, size: int) -> dict[str, Any]:
    """Returns the trace of these tasks, with intervals on both axes where they are known."""

    def error(pairs: Sequence[tuple[float, tuple[float | None, float | None]]]) -> dict[str, Any]:
        more = [(high - at) if high is not None else 0 for at, (_, high) in pairs]
        less = [(at - low) if low is not None else 0 for at, (low, _) in pairs]
        style = {"thickness": 1, "width": 0, "color": color}
        return {"type": "data", "symmetric": False, "array": more, "arrayminus": less, "visible": any(more)} | style

    return {
        "x": [task.predicted for task in some],
        "y": [task.measured for task in some],
        "error_x": error([(task.predicted, task.predicted_ends) for task in some]),
        "error_y": error([(task.measured, task.measured_ends) for task in some]),
        "text": [f"{label(task.name)}{', a lower bound' if task.is_bound else ''}" for task in some],
        "mode": "markers",
        "name": group,
        "marker": {
            "color": color,
            "size": size,
            "symbol": ["triangle-up-open" if task.is_bound else symbol for task in some],
        },
        "hovertemplate": f"%{{text}}<br>noise scale %{{x:{THREE_DIGITS}}}<br>critical batch %{{y:{THREE_DIGITS}}}",
    }


def _ends(found: Agreement) -> str:
    return f"{formatting.percent(found.r_squared_low)} to {formatting.percent(found.r_squared_high)}"


def _sentence(found: Sequence[Task], over: dict[str, Agreement], what: str) -> str:
    measured = over["measured"]
    ours = sum(task.group == OURS for task in found)
    who = f"{plural(ours, what)} of these runs and the paper's tasks" if ours else "the paper's tasks"
    text = (
        f"Over {plural(measured.tasks, 'task')} ({who}) the noise scale explains "
        f"{formatting.percent(measured.r_squared)} of the variation in critical batch on log axes "
        f"(r²; {_ends(measured)}); without the most influential task, "
        f"{formatting.percent(measured.leave_one_out_lowest)}."
    )
    if "all" in over and over["all"].tasks > measured.tasks:
        with_bound = f"{formatting.percent(over['all'].r_squared)} ({_ends(over['all'])})"
        text += f" With Dota 5v5, whose critical batch is only a bound, it would be {with_bound}."
    if "these_runs" in over:
        text += f" These runs alone: {formatting.percent(over['these_runs'].r_squared)} ({_ends(over['these_runs'])})."
    elif ours == 0:
        text += " These runs add nothing: none has both a noise scale and an identified critical batch."
    else:
        text += f" These runs alone are too few ({plural(ours, what)}) for a separate r²."
    return text + f" The typical error is a factor of {formatting.rounded(measured.rms_factor)}."
