"""What config.yaml records about a new run, apart from its configuration."""

from __future__ import annotations

import datetime
import secrets
from importlib import metadata
from typing import Any

from rlgns.config.schema import Config
from rlgns.envs.protocols import PROTOCOLS
from rlgns.machine import hardware
from rlgns.machine.commit import source_commit

PACKAGES = ("rlgns", "torch", "ray", "gymnasium", "ale-py", "wandb", "numpy")


def run_facts(config: Config, game: str) -> dict[str, Any]:
    """Returns the facts of a new run of one game, with a W&B id that no other run has."""
    return {
        "game": game,
        "preset": config.run.name,
        "wandb_id": secrets.token_hex(4),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "protocol": PROTOCOLS[config.env.protocol].describe(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "git": source_commit(),
        "hardware": hardware.detect().as_dict(),
    }
