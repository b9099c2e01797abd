"""The git commit of the source, saved with every run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def source_commit(checkout: Path = Path(__file__).parent) -> str:
    """Returns a checkout's git commit, with `+` where files differ; outside a checkout RLGNS_COMMIT, or empty.

    The default is this source's. Images and jobs have no checkout: they set RLGNS_COMMIT.
    """
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("RLGNS_COMMIT", "")
