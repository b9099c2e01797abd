"""The W&B workspace: a saved view of a project with our panels, installed or written as JSON."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rlgns.errors import UserError, one_line
from rlgns.monitor.wandb_login import online_or_offline, quiet_wandb
from rlgns.monitor.wandb_panels import OPEN, PINNED, SECTIONS, Panel
from rlgns.storage.files import reason, write_atomically

NAME = "rlgns"
"""Name of the view among a project's saved views."""

COLUMNS, ROWS = 3, 2
"""Panels of a section that are visible at once."""

GRID_COLUMNS, PANEL_ROWS = 24, 6
"""Columns of W&B's grid, and rows of it per panel."""


def write(file: str) -> None:
    """Writes the view as the JSON that W&B stores; needs no login.

    Raises:
        UserError: The file does not end in .json or cannot be written.
    """
    path = Path(file)
    if path.suffix != ".json":
        raise UserError(f"--write {file}: a workspace is JSON; name a file that ends in .json")
    try:
        write_atomically(path, spec(build("", "")).encode())
    except OSError as error:
        raise UserError(f"--write {file}: cannot be written: {reason(error)}") from error


def install(entity: str, project: str) -> str:
    """Saves the view in a project, or updates the one that is there.

    Args:
        entity: User or team; empty: the login's default.
        project: Project of the runs.

    Returns:
        The view's address.

    Raises:
        UserError: No login, no server, no such project, or W&B refuses.
    """
    mode, why = online_or_offline()
    if mode != "online":
        raise UserError(f"W&B: {why}; --write FILE.json writes the workspace without a login")
    wandb = quiet_wandb()
    try:
        entity = entity or wandb.Api().default_entity or ""
        if not entity:
            raise UserError("W&B: the login has no default entity; name the user or team with --entity")
        view = build(entity, project)
        view._internal_id = _id_of(view)
        return str(view.save().url)
    except UserError:
        raise
    except Exception as error:  # W&B raises many types, with texts of several lines.
        raise UserError(f"W&B: {one_line(error)[:300]}") from error


def _id_of(view: Any) -> str:
    """Returns the id of the view that an earlier call saved, or ''. Raises UserError if the project does not exist."""
    from wandb_workspaces.workspaces import internal

    name = internal._internal_name_to_url_query_str(view._internal_name)
    try:
        return str(internal.get_view_dict(view.entity, view.project, name)["id"])
    except ValueError as error:
        if not str(error).startswith("Project"):
            return ""
    raise UserError(
        f"W&B: no project {view.project!r} of {view.entity!r} that this login may see; the first uploaded run creates "
        "it; --entity and --project name another"
    )


def build(entity: str, project: str) -> Any:
    """Returns the view, a `wandb_workspaces.workspaces.Workspace`, identical at every call."""
    from wandb_workspaces import workspaces

    sections = [
        workspaces.Section(
            name=name,
            panels=[_line_plot(panel, number, name) for number, panel in enumerate(panels)],
            is_open=name in OPEN,
            layout_settings=workspaces.SectionLayoutSettings(columns=COLUMNS, rows=ROWS),
            panel_settings=workspaces.SectionPanelSettings(x_axis="observations"),
        )
        for name, panels in SECTIONS.items()
        if panels
    ]
    view = workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="observations"),
        runset_settings=workspaces.RunsetSettings(pinned_columns=[f"summary:{key}" for key in PINNED]),
    )
    view._internal_name = f"nw-{_short_hash(f'{entity}/{project}')}-v"
    view._internal_runset_id = _short_hash("runs")
    return view


def spec(view: Any) -> str:
    """Returns the JSON that W&B stores for a view."""
    return view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"


def _line_plot(panel: Panel, number: int, section: str) -> Any:
    from wandb_workspaces.reports import v2

    width = GRID_COLUMNS // COLUMNS
    plot = v2.LinePlot(
        title=panel.title,
        x="observations",
        title_x="observations",
        y=list(panel.keys),
        metric_regex=panel.pattern or None,
        log_y=panel.log or None,
        layout=v2.Layout(x=number % COLUMNS * width, y=number // COLUMNS * PANEL_ROWS, w=width, h=PANEL_ROWS),
    )
    plot._id = _short_hash(f"{section}/{panel.title}")
    return plot


def _short_hash(text: str) -> str:
    """Returns an id of 11 characters, like W&B's random ones but always the same, so that the view is found again."""
    return hashlib.sha256(f"rlgns/{text}".encode()).hexdigest()[:11]
