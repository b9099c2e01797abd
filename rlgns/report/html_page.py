"""The HTML page around the sections: one file that needs no network, light or dark, wide or narrow."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files

from rlgns.report.html_elements import prose


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One section of the page, with an entry in the table of contents."""

    anchor: str
    """Id of the heading, unique on the page."""
    title: str
    blocks: list[str] = field(default_factory=list)
    """HTML."""


def page(title: str, lede: str, sections: Sequence[Section]) -> str:
    """Returns the whole page.

    Args:
        title: Heading of the page.
        lede: One or two sentences below it: the result.
        sections: The sections, in order.
    """
    links = "".join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in sections)
    contents = f'<nav aria-label="Contents"><ul>{links}</ul></nav>' if len(sections) > 1 else ""
    body = [
        f'<section aria-labelledby="{part.anchor}"><h2 id="{part.anchor}">{escape(part.title)}</h2>\n'
        + "\n".join(part.blocks)
        + "</section>"
        for part in sections
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_asset("page.css")}</style></head>\n'
        f'<body><a class="skip" href="#content">Skip to the content</a>\n<header><h1>{escape(title)}</h1>'
        f'<p class="lede">{prose(lede)}</p>'
        '<p id="failure" class="warning" role="alert" hidden>The charts need a browser from 2023 or later with scripts '
        "enabled. The text, tables and downloads below have all the numbers.</p>"
        f"{contents}</header>\n"
        '<main id="content">\n' + "\n".join(body) + f"\n</main>\n<footer>{_FOOTER}</footer>\n"
        f'<script id="plotly" type="text/plain">{_packed_plotly()}</script>\n'
        f"<script>{_asset('planner.js')}\n{_asset('page.js')}</script>\n</body></html>\n"
    )


_FOOTER = (
    "<p>All batch sizes, noise scales and critical batches are in observations (what the agent sees at one decision). "
    "Scores are raw scores of full games. The trade-off S = S<sub>min</sub> (1 + B<sub>crit</sub> / B), "
    "E = E<sub>min</sub> (1 + B / B<sub>crit</sub>) and the noise scale are those of McCandlish, Kaplan, Amodei et al. "
    "2018, “An Empirical Model of Large-Batch Training”, arXiv:1812.06162.</p><p>Made by rlgns.</p>"
)


def _asset(name: str) -> str:
    return files("rlgns.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _packed_plotly() -> str:
    """Returns plotly as compressed text: 2 MB in place of 5."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
