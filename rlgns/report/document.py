"""Assembles the page: which sections it has, and what is in each."""

from __future__ import annotations

from collections.abc import Sequence

from rlgns import formatting
from rlgns.formatting import first_upper, plural
from rlgns.report.adaptive_section import adaptive_sections
from rlgns.report.content import ReportContent
from rlgns.report.figure import Figure
from rlgns.report.html_elements import figure_html
from rlgns.report.html_page import Section, page
from rlgns.report.run_data import RunData
from rlgns.report.run_figures import run_figures, time_use_figure
from rlgns.report.run_section import PROXY, overview, run_blocks
from rlgns.report.score_profile import score_profile_figure, scores_by_game
from rlgns.report.seeds_figures import seeds_figures
from rlgns.report.sweep_section import SWEEP_RUNS_IN_FULL, sweep_figures, sweep_lede, sweep_sections

POINTS_PER_PAGE = 2_000
"""Points per line over all runs of a page, so that a page of many games stays below 5 MB."""

RUNS_IN_FULL = 25
"""Runs that are shown in full; further runs are only in the table."""


def document(content: ReportContent) -> str:
    """Returns the whole page."""
    runs, sweeps = content.runs, content.sweeps
    sections = sweep_sections(sweeps, points(content)) if sweeps else []
    sections += adaptive_sections(content)
    sections += _run_sections(runs, points(content), page_begins_with_verdict=len(runs) == 1 and not sweeps)
    return page(title(content), lede(content), sections or [_nothing()])


def figures(content: ReportContent) -> dict[str, Figure]:
    """Returns every figure of the page by file name; figures with nothing to draw are left out."""
    found = sweep_figures(content.sweeps, points(content))
    for number, run in enumerate(content.runs, start=1):
        prefix = f"run-{number}-" if len(content.runs) > 1 else ""
        found |= {f"{prefix}{figure.name}": figure for figure in run_figures(run, points(content))}
    found |= {figure.name: figure for figure in seeds_figures(content.runs)}
    profile = score_profile_figure(scores_by_game(content.runs))
    if profile:
        found[profile.name] = profile
    if content.runs:
        found["time"] = time_use_figure(content.runs)
    return {name: figure for name, figure in found.items() if figure.traces}


def title(content: ReportContent) -> str:
    """Returns the page's heading."""
    parts = [sweep.label for sweep in content.sweeps]
    if len(content.runs) == 1:
        parts.append(content.runs[0].label)
    elif content.runs:
        parts.append(plural(len(content.runs), "run"))
    return f"rlgns: {', '.join(parts) or 'no runs'}"


def lede(content: ReportContent) -> str:
    """Returns the result in one or two sentences."""
    if content.sweeps:
        return sweep_lede(content.sweeps)
    if len(content.runs) == 1:
        run = content.runs[0]
        if not run.rows:
            return f"Nothing has been trained yet. {PROXY}"
        played = formatting.count(run.last.get("observations"))
        game = first_upper(str(run.about.get("game", run.label)))
        return f"{game}, {played} observations: {run.verdict.sentence()} {PROXY}"
    return PROXY


def points(content: ReportContent) -> int:
    """Returns the points per line that keep the page small. A run that is one line of a figure counts a quarter."""
    lines = sum(len(game.runs) for sweep in content.sweeps for game in sweep.games)
    runs = min(RUNS_IN_FULL, len(content.runs)) + min(SWEEP_RUNS_IN_FULL, lines) + lines // 4
    return max(40, min(2000, POINTS_PER_PAGE // max(1, runs)))


def _run_sections(runs: Sequence[RunData], max_points: int, *, page_begins_with_verdict: bool) -> list[Section]:
    shown = runs[:RUNS_IN_FULL]
    anchors = [f"run-{number}" for number in range(1, len(shown) + 1)]
    sections = []
    if len(runs) > 1:
        blocks = [overview(runs, anchors)]
        if len(runs) > len(shown):
            blocks.append(f"<p>The first {len(shown)} of these runs follow in full.</p>")
        blocks += [figure_html(figure, f"runs-{figure.name}", "seeds") for figure in seeds_figures(runs)]
        sections.append(Section(anchor="runs", title="All runs", blocks=blocks))
    for run, anchor in zip(shown, anchors, strict=True):
        title = run.label if len(runs) > 1 else "Result"
        blocks = run_blocks(run, anchor, max_points, verdict=not page_begins_with_verdict)
        sections.append(Section(anchor=anchor, title=title, blocks=blocks))
    if len(runs) > 1:
        profile = score_profile_figure(scores_by_game(runs))
        if profile:
            sections[0].blocks.append(figure_html(profile, f"runs-{profile.name}", "all"))
    if runs:
        figure = figure_html(time_use_figure(runs), "time", runs[0].label if len(runs) == 1 else "all")
        sections.append(Section(anchor="time-use", title="Time", blocks=[figure]))
    return sections


def _nothing() -> Section:
    return Section(anchor="nothing", title="Nothing yet", blocks=["<p>There are no runs to show.</p>"])
