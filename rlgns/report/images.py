"""The page's figures as PNG and SVG, drawn by a Chromium of the machine through kaleido."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlgns.errors import FaultError, UserError
from rlgns.folder import plain, reason
from rlgns.report.document import figures
from rlgns.report.figure import Figure
from rlgns.report.sources import Content

WIDTH, SCALE = 900, 2
"""Pixels across, and PNG's pixels per one of them."""


def write_images(content: Content, out: Path) -> list[Path]:
    """Writes every figure as NAME.png and NAME.svg into a folder and returns their paths.

    Raises:
        UserError: No browser is installed; the folder cannot be written.
        FaultError: The browser could not draw.
    """
    drawings = figures(content)
    if not drawings:
        raise UserError("there is no figure to draw yet")
    import kaleido
    from kaleido.errors import ChromeNotFoundError

    try:
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / f"{name}.{kind}" for name in drawings for kind in ("png", "svg")]
        jobs = [
            {"fig": _standalone(drawings[path.stem]), "path": str(path), "opts": _options(path, drawings[path.stem])}
            for path in paths
        ]
        kaleido.write_fig_from_object_sync(jobs, kopts={"n": 1}, cancel_on_error=True)
    except ChromeNotFoundError as error:
        raise UserError(
            "--figures draws with Chrome or Chromium, and none was found; on Debian or Ubuntu: apt install chromium"
        ) from error
    except OSError as error:
        raise UserError(f"cannot write {error.filename or out}: {reason(error)}") from error
    except Exception as error:
        raise FaultError(f"the browser could not draw the figures: {error}") from error
    return paths


def _options(path: Path, figure: Figure) -> Mapping[str, Any]:
    return {
        "format": path.suffix[1:],
        "width": WIDTH,
        "height": figure.height + 40,
        "scale": SCALE if path.suffix == ".png" else 1,
    }


def _standalone(figure: Figure) -> dict[str, Any]:
    """The figure with its title, on white: a picture has no page around it."""
    layout = figure.layout | {
        "title": {
            "text": figure.title,
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
    for axis in ("xaxis", "yaxis"):
        layout[axis] = layout[axis] | {"gridcolor": "#e6eaef"}
    drawn: dict[str, Any] = plain({"data": figure.traces, "layout": layout})
    return drawn
