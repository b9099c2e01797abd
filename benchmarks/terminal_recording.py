"""Draws what `rlgns train` shows during a run into docs/terminal.svg: the terminal's own code, fed with a run's rows.

    python -m benchmarks.terminal_recording DIR --command "rlgns train --game pong --observations 120000"

DIR is the run's folder, runs/GAME-DATE-TIME.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from rlgns.monitor.terminal import LiveTerminal
from rlgns.python.runs import Run, load_run

OUT = Path(__file__).parent.parent / "docs" / "terminal.svg"

BACKGROUND, FOREGROUND = (24, 26, 32), (222, 224, 228)
THEME = TerminalTheme(
    BACKGROUND,
    FOREGROUND,
    [
        (60, 64, 72),
        (240, 113, 120),
        (130, 200, 120),
        (230, 190, 100),
        (110, 160, 240),
        (200, 140, 220),
        (90, 200, 200),
        FOREGROUND,
    ],
)
"""Dark, with its own background: it reads the same on a light and on a dark page."""

FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="rlgns train">
  <style>
    .{unique_id}-matrix {{
      font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
      font-size: {char_height}px;
      line-height: {line_height}px;
      white-space: pre;
    }}
    .{unique_id}-title {{ display: none; }}
    {styles}
  </style>
  <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
  </defs>
  {chrome}
  <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">{matrix}</g>
  </g>
</svg>
"""
"""Rich's own, without the fonts that it would load from another server."""


def record(run: Run, columns: int, share: float, command: str) -> str:
    """Returns an SVG of the screen after a share of a run's iterations."""
    console = Console(
        file=io.StringIO(), record=True, width=columns, force_terminal=True, color_system="truecolor", highlight=False
    )
    now = [0.0]
    terminal = LiveTerminal(run.config, console, clock=lambda: now[0])
    for row in run.rows[: max(1, round(share * len(run.rows)))]:
        now[0] = float(row["seconds"])
        terminal.row(run.game, row)
    console.print(Text.assemble(("$ ", "green"), (command, "bold")))
    console.print(terminal.render())
    return console.export_svg(title=command, theme=THEME, code_format=FORMAT, unique_id="terminal")


def main() -> None:
    """Draws the run."""
    parser = argparse.ArgumentParser(description="what rlgns train shows during a run, as docs/terminal.svg")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--columns", type=int, default=112)
    parser.add_argument("--share", type=float, default=0.7, help="of the iterations after which the screen is drawn")
    parser.add_argument("--command", default="rlgns train --game pong")
    options = parser.parse_args()
    OUT.write_text(record(load_run(options.folder), options.columns, options.share, options.command))


if __name__ == "__main__":
    main()
