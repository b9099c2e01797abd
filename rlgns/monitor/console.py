"""Where progress goes: a terminal that can be drawn on, or plain lines for pipes and log files."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console


def console_of(stream: TextIO | None = None) -> Console:
    """Returns a console on a stream; None: standard error."""
    return Console(file=sys.stderr if stream is None else stream, highlight=False)


def can_draw(console: Console) -> bool:
    """Whether a console may be redrawn: a real terminal, not `dumb`, whatever FORCE_COLOR says of a pipe."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Writes one plain line at once: no control codes, no line break within. None: standard error."""
    stream = sys.stderr if stream is None else stream
    stream.write(" ".join(text.split()) + "\n")
    stream.flush()
