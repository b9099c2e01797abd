"""What a user reads while a run's environments start."""

from __future__ import annotations

from rlgns import formatting
from rlgns.config.schema import Config

EMULATOR_START_S = 0.8
"""Core-seconds until an environment starts its first staggered game (512 environments took 3 to 4 min on 2 cores)."""

MANY_ENVS = 64
"""Environments from which the terminal explains a slow start."""


def starting(config: Config) -> str:
    """Returns the text shown before a game's first row: what starts and, for many environments, how long that takes."""
    envs = config.env.num_envs
    patience = f"; each emulator takes {EMULATOR_START_S:.1f} s of a core to start" if envs >= MANY_ENVS else ""
    return f"starting {formatting.plural(envs, 'environment')}{patience}"


def started_text(started: int, total: int) -> str:
    """Returns how many environments have started."""
    if started < total:
        return f"starting: {started} of {formatting.plural(total, 'environment')}"
    return f"{formatting.plural(total, 'environment')} started; the first iteration is under way"
