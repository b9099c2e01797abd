"""Output of progress: a terminal that can be redrawn, or plain lines for pipes and log files."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text


def console_of(stream: TextIO | None = None) -> Console:
    """Returns a console that writes to a stream; None: standard error."""
    return Console(file=sys.stderr if stream is None else stream, highlight=False)


def can_draw(console: Console) -> bool:
    """Returns whether a console is a real terminal and not `dumb`. FORCE_COLOR does not turn a pipe into one."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Writes one plain line and flushes: no control codes, line breaks become spaces. None: standard error."""
    stream = sys.stderr if stream is None else stream
    stream.write(" ".join(text.split()) + "\n")
    stream.flush()


def print_message(console: Console, text: str) -> None:
    """Prints a line to a terminal. It wraps between words; a longer word, such as a path, stays whole for copying."""
    lines = textwrap.wrap(text, console.width, break_long_words=False, break_on_hyphens=False)
    console.print(Text("\n".join(lines)), soft_wrap=True)


def fitted_table(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, drop: Sequence[str]) -> Table:
    """Returns a table that fits a terminal: one line a row, no word broken. The first column is flush left.

    Args:
        titles: Of the columns.
        rows: Their cells.
        width: Columns of the terminal.
        drop: Titles of the columns that are left out while the table is too wide, the first one first.
    """
    shown = list(range(len(titles)))
    widths = [max(map(len, cells)) for cells in zip(titles, *rows, strict=True)]
    for title in drop:
        if title in titles and sum(widths[column] + 1 for column in shown) - 1 > width:
            shown.remove(titles.index(title))
    roomy = sum(widths[column] + 2 for column in shown) - 2 <= width
    table = Table(box=None, padding=(0, 2 if roomy else 1, 0, 0), header_style="bold", pad_edge=False)
    for column in shown:
        table.add_column(titles[column], justify="right" if column else "left", no_wrap=True, overflow="ellipsis")
    for cells in rows:
        table.add_row(*(Text(cells[column]) for column in shown))
    return table
