"""What W&B's own variables of the environment say about a new run. A resumed run keeps what it started with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

VARIABLES = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "name": "WANDB_NAME",
    "tags": "WANDB_TAGS",
}
"""By key of the section `wandb`."""


def below(tree: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns sections of plain data in which the environment's values stand where nothing else is given.

    Args:
        tree: Section to key to value, from files.
        overrides: `section.key` to value, from the command line. An experiment named there or in a file is the group.
    """
    given = {key: value for key, name in VARIABLES.items() if (value := os.environ.get(name))}
    if tree.get("run", {}).get("name") or overrides.get("run.name"):
        given.pop("group", None)
    merged = {section: dict(values) for section, values in tree.items()}
    if given:
        merged["wandb"] = given | merged.get("wandb", {})
    return merged


def run_of_wandb() -> dict[str, str]:
    """Returns the run and the sweep that W&B's agent, or the user, chose for this process, as config.yaml has them."""
    given = {"wandb_id": os.environ.get("WANDB_RUN_ID", ""), "wandb_sweep": os.environ.get("WANDB_SWEEP_ID", "")}
    return {key: value for key, value in given.items() if value}
