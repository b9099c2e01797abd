"""The section that compares adaptive-batch runs with a sweep's fixed batches."""

from __future__ import annotations

from html import escape

from rlgns.critical.adaptive_gain import AdaptiveGain
from rlgns.fit.gain_table import HEAD, LEGEND, cells, gains, sentence
from rlgns.formatting import first_upper
from rlgns.report.content import ReportContent
from rlgns.report.html_elements import prose, table_html
from rlgns.report.html_page import Section


def adaptive_gains(content: ReportContent) -> list[AdaptiveGain]:
    """Returns the gains of the page's adaptive runs at every goal of its sweeps; empty without either."""
    runs = [(str(run.about.get("game", run.label)), run.rows) for run in content.runs if run.adaptive]
    return gains([goal for sweep in content.sweeps for _, goal in sweep.goals], runs)


def adaptive_sections(content: ReportContent) -> list[Section]:
    """Returns the section; empty where no adaptive run plays a sweep's game."""
    blocks = []
    found = adaptive_gains(content)
    for game in dict.fromkeys(gain.goal.game for gain in found):
        mine = [gain for gain in found if gain.goal.game == game]
        blocks.append(
            table_html(f"{game}: adaptive batch compared with fixed batches", HEAD, [cells(gain) for gain in mine])
        )
        blocks.append("".join(f"<p>Score {prose(sentence(gain))}.</p>" for gain in mine))
    if not blocks:
        return []
    legend = "".join(f"<p>{escape(first_upper(line))}.</p>" for line in LEGEND.split("\n"))
    return [Section(anchor="adaptive", title="Adaptive batch", blocks=[*blocks, legend])]
