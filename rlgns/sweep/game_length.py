"""How long a game is, and so which budget can reach a goal at all: part of what `--dry-run` prints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rlgns import formatting
from rlgns.critical.goals import WINDOW
from rlgns.envs.vector import AtariEnvs
from rlgns.machine import hardware
from rlgns.sweep.config import Sweep

LENGTH_S, LENGTH_GAMES = 15.0, 8
"""So many games are played side by side to see how long they are, for so many seconds at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GameLength:
    """Observations of a full game under random play."""

    observations: float
    at_least: bool
    """Whether some of the games were still going on when the time was up."""


def measure_game_length(sweep: Sweep, game: str, *, seconds: float = LENGTH_S) -> GameLength:
    """Plays one game to its end in each of a few environments, with random actions, and returns the mean length."""
    settings = dataclasses.replace(sweep.base.env, stagger_steps=0)
    envs = AtariEnvs(game, settings, num_envs=LENGTH_GAMES, seed=0, threads=hardware.usable_cores())
    rng = np.random.default_rng(0)
    lengths = np.zeros(LENGTH_GAMES)
    began, step = time.monotonic(), 0
    envs.reset()
    while (lengths == 0).any() and time.monotonic() - began < seconds:
        step += 1
        for episode in envs.step(rng.integers(0, envs.num_actions, LENGTH_GAMES)).episodes:
            lengths[episode.env] = lengths[episode.env] or episode.length
    envs.close()
    unfinished = lengths == 0
    return GameLength(observations=float(np.where(unfinished, step, lengths).mean()), at_least=bool(unfinished.any()))


def games_lines(sweep: Sweep, lengths: Mapping[str, GameLength]) -> list[str]:
    """Returns a line per game on how many observations any goal needs, with a warning where the budget is smaller."""
    lines = []
    budget = sweep.base.run.observations
    for game, length in lengths.items():
        bound = "at least" if length.at_least else "about"
        needed = {
            batch: max(WINDOW, sweep.configs[batch].env.num_envs) * length.observations
            for batch in sorted(sweep.settings.batches)
        }
        each = formatting.rounded(length.observations)
        lines.append(f"length         {game}: {bound} {each} observations each at random play;")
        first = formatting.rounded(WINDOW * length.observations)
        lines.append(f"               no goal counts before {WINDOW} of them, {bound} {first}")
        short = [f"{batch:,}" for batch, observations in needed.items() if observations > budget]
        if short:
            batches, enough = ", ".join(short), formatting.compact(2 * max(needed.values()))
            lines.append(
                f"WARNING        {game}: then too few games end in the budget for any goal at batch {batches};"
            )
            lines.append(f"               give --observations {enough} or more")
    return lines
