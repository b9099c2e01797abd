"""What `pip install rlgns` leaves out, and the one line that says how to get it."""

from __future__ import annotations

import importlib.util
import sys

TRAINER = "train"
"""The extra that brings the trainer: `pip install 'rlgns[train]'`."""

_TRAINER_MODULES = (
    "ray",
    "gymnasium",
    "ale_py",
    "wandb",
    "wandb_workspaces",
    "yaml",
    "rich",
    "plotly",
    "kaleido",
    "psutil",
    "imageio_ffmpeg",
    "pyarrow",
    "tensorboardX",
)


def lacks_trainer(what: str) -> str:
    """Returns the line that says what `what` lacks, or an empty one where the whole trainer is installed."""
    if all(module in sys.modules or importlib.util.find_spec(module) for module in _TRAINER_MODULES):
        return ""
    return f"{what} needs the trainer: pip install 'rlgns[{TRAINER}]'"
