"""What rlgns and its trainer need, from the installed metadata."""

from __future__ import annotations

import importlib.metadata

from packaging.requirements import Requirement

from rlgns.extras import TRAINER

COMPARED = ("torch", "ray", "gymnasium", "ale-py", "wandb")
"""Distributions whose versions change what a run does: the doctor names them, and compares nodes by them."""


def trainer_requirements() -> list[Requirement]:
    """Returns the requirements of rlgns with its trainer on this platform, without extras of others.

    Raises:
        importlib.metadata.PackageNotFoundError: rlgns is not installed.
    """
    return [one for one in map(Requirement, importlib.metadata.requires("rlgns") or []) if applies(one, TRAINER)]


def applies(requirement: Requirement, extra: str = "") -> bool:
    """Returns whether a requirement holds here for a distribution that is installed with that extra."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
