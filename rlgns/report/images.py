"""Writes the page's figures as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlgns.errors import UserError
from rlgns.report.content import ReportContent
from rlgns.report.document import figures
from rlgns.report.figure import Figure, label
from rlgns.report.image_renderer import render
from rlgns.storage.files import plain, reason

WIDTH, SCALE = 900, 2
"""Width in pixels, and PNG pixels per pixel."""


def write_images(content: ReportContent, out: Path) -> list[Path]:
    """Writes every figure as NAME.png and NAME.svg into a folder and returns their paths.

    Raises:
        UserError: No browser is installed; the folder cannot be written.
        FaultError: The browser failed or did not answer.
    """
    drawings = figures(content)
    if not drawings:
        raise UserError("there is no figure to draw yet")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or out}: {reason(error)}") from error
    paths = [out / f"{name}.{kind}" for name in drawings for kind in ("png", "svg")]
    render(
        [
            {"fig": standalone(drawings[path.stem]), "path": str(path), "opts": _options(path, drawings[path.stem])}
            for path in paths
        ]
    )
    return paths


def _options(path: Path, figure: Figure) -> Mapping[str, Any]:
    return {
        "format": path.suffix[1:],
        "width": WIDTH,
        "height": figure.height + 40,
        "scale": SCALE if path.suffix == ".png" else 1,
    }


def standalone(figure: Figure) -> dict[str, Any]:
    """Returns the figure with its title on white, as an image has no page around it."""
    layout = figure.layout | {
        "title": {
            "text": label(figure.title),
            "x": 0.01,
            "y": 0.99,
            "yanchor": "top",
            "font": {"size": 16},
            "automargin": True,
        },
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": figure.layout["font"] | {"color": "#1b1f26", "family": "DejaVu Sans, Helvetica, Arial, sans-serif"},
    }
    for axis in (name for name in layout if name.startswith(("xaxis", "yaxis"))):
        layout[axis] = layout[axis] | {"gridcolor": "#e6eaef"}
    drawn: dict[str, Any] = plain({"data": figure.traces, "layout": layout})
    return drawn
