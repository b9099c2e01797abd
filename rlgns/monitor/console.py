"""Output of progress: a terminal that can be redrawn, or plain lines for pipes and log files."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console


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
