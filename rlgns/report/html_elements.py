"""HTML elements: a figure with its caption, table and download; tables; tiles. Escapes all text."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from rlgns import formatting
from rlgns.report.figure import Figure
from rlgns.storage.files import plain

TABLE_ROWS = 12
"""Most rows in the table below a figure; the download has all rows."""


class Html(str):
    """HTML made here, for a cell of a table. Any other text is escaped."""

    __slots__ = ()


def link_html(anchor: str, text: str) -> Html:
    """Returns a link to a heading of the page."""
    return Html(f'<a href="#{anchor}">{escape(text)}</a>')


def figure_html(figure: Figure, anchor: str, label: str, level: int = 3) -> str:
    """Returns a figure: heading, caption, drawing, and its data as a table and as CSV.

    Args:
        figure: What to show.
        anchor: Id of the heading, unique on the page.
        label: Prefix of the downloaded file's name.
        level: Level of the heading.
    """
    head = f'<h{level} id="{anchor}">{escape(figure.title)}</h{level}>'
    if not figure.traces:
        return f"{head}<p>{prose(figure.sentence)}</p>"
    return (
        f'{head}<figure aria-labelledby="{anchor}"><figcaption>{prose(figure.sentence)}</figcaption>'
        f'<div class="chart" role="img" aria-label="{escape(f"{figure.title}. {figure.sentence}")}" '
        f'data-figure="{anchor}-figure" style="height:{figure.height}px"></div>'
        f"{data_html({'data': figure.traces, 'layout': figure.layout | {'height': figure.height}}, f'{anchor}-figure')}"
        f'<div class="tools">{_download(figure, label)}{_data_table(figure)}</div></figure>'
    )


def data_html(content: Any, anchor: str) -> str:
    """Returns JSON for the page's scripts; NaN and infinity become null, floats keep six digits."""
    text = json.dumps(_short(plain(content)), separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c")  # "</script>" would end the element, "<!--<script>" would hide its end
    return f'<script type="application/json" id="{anchor}">{text}</script>'


def table_html(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], numeric: bool = True) -> str:
    """Returns a table whose first column heads its rows. Cells are text, or `Html`."""
    cell = ' class="number"' if numeric else ""
    head = "".join(f'<th scope="col"{cell if place else ""}>{escape(name)}</th>' for place, name in enumerate(header))
    body = "".join(
        f'<tr><th scope="row">{_cell(first)}</th>'
        + "".join(f"<td{cell}>{_cell(value)}</td>" for value in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0"><table class="numbers">'
        f"<caption><span>{escape(caption)}</span></caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def facts_html(caption: str, facts: Mapping[str, Any]) -> str:
    """Returns a table of names and values; empty values are left out."""
    lines = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return (
        f'<table class="facts"><caption><span>{escape(caption)}</span></caption><tbody>{"".join(lines)}</tbody></table>'
    )


def tiles_html(tiles: Iterable[tuple[str, str, str]]) -> str:
    """Returns a row of large numbers: name, value, a note below it."""
    cards = [
        f'<div><dt>{escape(name)}</dt><dd><span class="value">{escape(value)}</span><br>'
        f'<span class="note">{escape(note)}</span></dd></div>'
        for name, value, note in tiles
    ]
    return f'<dl class="tiles">{"".join(cards)}</dl>'


def prose(text: str) -> str:
    """Returns a sentence as HTML, with non-breaking percentages and typographic squares."""
    return escape(text.replace(" %", "\u00a0%").replace("|G|^2", "|G|²"))


def file_name(label: str, also: str = "") -> str:
    """Returns `label` with a dash in place of everything but letters, digits and those in `also`."""
    kept = "".join(c if c.isalnum() or c in also else " " for c in label)
    return "-".join(kept.split()) or "figure"


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Returns a CSV file's text; None is an empty cell, floats have nine digits.

    A spreadsheet computes a cell that begins with = + - or @. Such text gets an apostrophe in front; numbers do not.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_no_formula(cell) for cell in row] for row in _short(plain(list(rows)), digits=9))
    return text.getvalue()


def _download(figure: Figure, label: str) -> str:
    name = f"{file_name(label)}-{figure.name}.csv"
    content = base64.b64encode(csv_text(figure.header, figure.table).encode(errors="replace")).decode()
    href = f"data:text/csv;base64,{content}"
    spoken = escape(f"Download the data of “{figure.title}” as CSV")
    return f'<a class="button" download="{name}" href="{href}" aria-label="{spoken}">Data (CSV)</a>'


def _data_table(figure: Figure) -> str:
    rows = figure.table
    caption = figure.title
    if len(rows) > TABLE_ROWS:
        step = (len(rows) - 1) / (TABLE_ROWS - 1)
        rows = [rows[round(place * step)] for place in range(TABLE_ROWS)]
        caption += f": {TABLE_ROWS} of {len(figure.table)} rows, evenly spaced"
    header = [name.replace("_", " ") for name in figure.header]
    cells = [[_number(value) for value in row] for row in rows]
    return f'<details class="data"><summary>Table</summary>{table_html(caption, header, cells)}</details>'


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) >= 1000):
        return formatting.count(value)
    return (
        formatting.rounded(value, 3)
        if isinstance(value, float)
        else formatting.NOTHING
        if value is None
        else str(value)
    )


def _cell(value: str) -> str:
    return value if isinstance(value, Html) else escape(value)


def _no_formula(cell: Any) -> Any:
    if not isinstance(cell, str) or not cell.lstrip().startswith(("=", "+", "-", "@")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _short(value: Any, digits: int = 6) -> Any:
    """Rounds floats to so many digits. Six are enough for a drawing and halve the file."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: _short(entry, digits) for key, entry in value.items()}
    return [_short(entry, digits) for entry in value] if isinstance(value, list) else value
