"""Sections about sweeps: planner, all games with prediction against measurement, each game, the runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rlgns import formatting
from rlgns.critical.points import GoalFit
from rlgns.fit.table import never_reached
from rlgns.formatting import first_upper, plural
from rlgns.report.against_score_figure import against_score_figure
from rlgns.report.agreement_figure import agreement_figure
from rlgns.report.difficulty_figure import difficulty_figure
from rlgns.report.figure import Figure
from rlgns.report.goal_text import critical_batch_text, noise_over_critical_text, noise_scale_text
from rlgns.report.html_elements import figure_html, file_name, link_html, table_html
from rlgns.report.html_page import Section
from rlgns.report.noise_growth_figure import noise_growth_figure
from rlgns.report.pareto_figures import pareto_figure, speed_up_figure
from rlgns.report.planner import planner_html
from rlgns.report.run_data import RunData
from rlgns.report.run_section import result_texts, run_blocks
from rlgns.report.score_profile import score_profile_figure, scores_by_game
from rlgns.report.sweep_data import GameData, SweepData

SWEEP_RUNS_IN_FULL = 24
"""Runs of a sweep that are shown in full; the table lists all."""

LONGEST_NAME = 40
"""Most characters of a game's name that its figures' files have in theirs."""

SLOW = "left out: much slower than the others suggest"

PLANNER = (
    "Choose a goal and drag the batch size to see what it takes to reach it. A batch is spread over as many "
    "machines as it keeps busy. Time is observations divided by the joint speed of those machines. The speed of one is "
    "at first the median of the sweep's trials, one core each by default: type in what your machine does."
)


def sweep_lede(sweeps: Sequence[SweepData]) -> str:
    """Returns the result of the sweeps in two sentences."""
    goals = [goal for sweep in sweeps for _, goal in sweep.goals]
    games = {game.name: game.is_game for sweep in sweeps for game in sweep.games}
    if not any(point.reached for goal in goals for point in goal.points):
        return "No run has reached a score goal yet."
    fits = [goal for goal in goals if goal.fit.identified]
    what, where = ("score goal", "game") if all(games.values()) else ("goal", "task")
    text = f"{plural(len(goals), what)} in {plural(len(games), where)}"
    if not fits:
        where = "at any of them" if len(goals) > 1 else "there"
        return f"{text}; the critical batch is not identified {where}."
    least, most = (pick(fits, key=lambda goal: goal.fit.critical_batch) for pick in (min, max))
    text += f"; the critical batch is identified at {len(fits)} of them"
    if len(fits) > 1:
        text += (
            f": from {critical_batch_text(least)} observations at {_at(sweeps, least)} to "
            f"{critical_batch_text(most)} at {_at(sweeps, most)}"
        )
    else:
        text += f": {critical_batch_text(least)} observations"
    return f"{text}. {noise_over_critical_text(fits)}".strip()


def sweep_sections(sweeps: Sequence[SweepData], max_points: int) -> list[Section]:
    """Returns the sections about these sweeps, with at most `max_points` points per line."""
    sections = []
    planner = planner_html(sweeps)
    if planner:
        sections.append(Section(anchor="planner", title="Planner", blocks=[f"<p>{escape(PLANNER)}</p>", planner]))
    blocks = [_games_table(sweeps)] + [figure_html(figure, figure.name, "games") for figure in _figures_of_all(sweeps)]
    sections.append(Section(anchor="games", title="All games", blocks=blocks))
    for number, (name, game) in enumerate(_named_games(sweeps), start=1):
        blocks = [_goals_table(game)]
        blocks += [figure_html(f, f"game-{number}-{f.name}", name) for f in game_figures(game, max_points)]
        sections.append(Section(anchor=f"game-{number}", title=name, blocks=blocks))
    if _runs(sweeps):
        sections.append(_run_section(sweeps, max_points))
    return sections


def sweep_figures(sweeps: Sequence[SweepData], max_points: int) -> dict[str, Figure]:
    """Returns every figure of these sweeps by file name."""
    if not sweeps:
        return {}
    found = {figure.name: figure for figure in _figures_of_all(sweeps)}
    for prefix, sweep in zip(_prefixes(sweeps), sweeps, strict=True):
        names = _file_names([game.name for game in sweep.games])
        for name, game in zip(names, sweep.games, strict=True):
            found |= {f"{prefix}{name}-{figure.name}": figure for figure in game_figures(game, max_points)}
    return found


def _file_names(games: Sequence[str]) -> list[str]:
    """Returns a different name for the files of each game; a number tells those apart that would be the same."""
    names: list[str] = []
    for game in games:
        name = file_name(game.lower()[:LONGEST_NAME].replace(" ", "_"), also="_")
        names.append(name if name not in names else f"{name}-game-{len(names) + 1}")
    return names


def _figures_of_all(sweeps: Sequence[SweepData]) -> list[Figure]:
    """Returns the figures about all games together."""
    games = [game for sweep in sweeps for game in sweep.games]
    # A sweep has many runs that are worse on purpose: only the best of each seed counts.
    scores = scores_by_game(_runs(sweeps), best_of_seed=True)
    figures = (agreement_figure(sweeps), difficulty_figure(games), score_profile_figure(scores))
    return [figure for figure in figures if figure is not None]


def game_figures(game: GameData, max_points: int) -> list[Figure]:
    """Returns the figures of one game."""
    growth = noise_growth_figure(game, max_points)
    return [pareto_figure(game), speed_up_figure(game), against_score_figure(game), *([growth] if growth else [])]


def _games_table(sweeps: Sequence[SweepData]) -> str:
    header = (
        "game",
        "goals",
        "identified",
        "hardest goal",
        "critical batch there",
        "noise scale there",
        "noise / critical",
    )
    rows = []
    for number, (name, game) in enumerate(_named_games(sweeps), start=1):
        reached = [goal for goal in game.goals if any(point.reached for point in goal.points)]
        hardest = game.identified[-1] if game.identified else reached[-1] if reached else None
        cells = (
            ("-", "-", "-", "-")
            if hardest is None
            else (
                f"{game.goal_number(hardest):,g}",
                critical_batch_text(hardest),
                noise_scale_text(hardest),
                formatting.times(hardest.noise_over_critical),
            )
        )
        rows.append((link_html(f"game-{number}", name), str(len(game.goals)), str(len(game.identified)), *cells))
    return (
        table_html(
            "Each at its hardest identified goal, else the hardest reached; batches in observations",
            header,
            rows,
        )
        if rows
        else ""
    )


def _goals_table(game: GameData) -> str:
    header = (
        game.measure,
        "critical batch",
        "fewest steps",
        "fewest observations",
        "noise scale",
        "noise / critical",
        "points",
        "misfit",
    )
    rows = []
    for goal in game.goals:
        fit = goal.fit
        used = (
            f"{fit.points_used}" if fit.points_used == len(goal.points) else f"{fit.points_used} of {len(goal.points)}"
        )
        ends = (
            (formatting.rounded(fit.min_steps, 3), formatting.short(goal.min_observations))
            if fit.identified
            else ("-", "-")
        )
        rows.append(
            (
                f"{game.goal_number(goal):,g}",
                critical_batch_text(goal),
                *ends,
                noise_scale_text(goal),
                formatting.times(goal.noise_over_critical),
                used,
                formatting.percent(fit.rms),
            )
        )
    named = [(first_upper(game.goal_text(goal)), goal) for goal in game.goals]
    notes = "".join(f"<li>{escape(note)}</li>" for name, goal in named for note in _notes(name, goal))
    table = table_html(f"{game.title}: every goal; batch sizes in observations, misfit: rms of ln steps", header, rows)
    return table + (f'<ul class="soft">{notes}</ul>' if notes else "")


def _notes(name: str, goal: GoalFit) -> list[str]:
    fit, points = goal.fit, goal.points
    notes = [f"{name}: {fit.reason}."] if fit.reason else []
    if fit.failed and fit.points_used:
        notes.append(f"{name}: {never_reached(goal)}.")
    if fit.outliers:
        batches = ", ".join(formatting.count(points[place].batch_observations) for place in fit.outliers)
        runs, verb = ("run", "is") if len(fit.outliers) == 1 else ("runs", "are")
        notes.append(f"{name}: the {runs} at batch {batches} {verb} left out: much slower than the others suggest.")
    return notes


def _run_section(sweeps: Sequence[SweepData], max_points: int) -> Section:
    runs = _runs(sweeps)
    lines = [(run.label, *result_texts(run).values()) for run in runs]
    table = table_html("Every run of the sweep", ("run", *result_texts(runs[0])), lines)
    blocks = [f"<details><summary>{plural(len(runs), 'run')} in a table</summary>{table}</details>"]
    shown = [run for sweep in sweeps for game in sweep.games for run in game.runs]
    if shown[:SWEEP_RUNS_IN_FULL]:
        intro = "The best learning rate of each batch size and seed, in full:"
        left = len(shown) - SWEEP_RUNS_IN_FULL
        intro = intro if left <= 0 else f"{intro[:-1]} (the first {SWEEP_RUNS_IN_FULL} of {len(shown)}):"
        blocks.append(f"<p>{intro}</p>")
    for number, run in enumerate(shown[:SWEEP_RUNS_IN_FULL], start=1):
        parts = "\n".join(run_blocks(run, f"trial-{number}", max_points))
        blocks.append(f'<details class="run"><summary>{escape(run.label)}</summary>{parts}</details>')
    return Section(anchor="trials", title="Runs", blocks=blocks)


def _runs(sweeps: Sequence[SweepData]) -> list[RunData]:
    return [run for sweep in sweeps for run in sweep.runs]


def _named_games(sweeps: Sequence[SweepData]) -> list[tuple[str, GameData]]:
    """Returns every game with its title, which names the sweep if there are several."""
    return [(sweep.title_of(game, len(sweeps) > 1), game) for sweep in sweeps for game in sweep.games]


def _prefixes(sweeps: Sequence[SweepData]) -> list[str]:
    return [""] if len(sweeps) == 1 else [f"{number}-" for number in range(1, len(sweeps) + 1)]


def _at(sweeps: Sequence[SweepData], goal: GoalFit) -> str:
    """A goal with its game, in words: 'score 10 of Pong'."""
    game = next(game for sweep in sweeps for game in sweep.games if game.name == goal.game)
    return f"{game.goal_text(goal)} of {game.title}"
