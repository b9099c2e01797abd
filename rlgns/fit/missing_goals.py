"""Why a sweep's runs did not reach their goals, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlgns import formatting
from rlgns.critical.goals import Shortfall, shortfall
from rlgns.errors import UserError
from rlgns.storage.run_folder import RunFolder

MOST_LINES = 6
"""Reasons that are given; a sweep may have hundreds of runs."""


def why_not_reached(found: Iterable[Shortfall]) -> str:
    """Returns in words why none of these runs reached a goal: the best of them, by its score or its games."""
    runs = [run for run in found if run.observations]
    if not runs:
        return "nothing was trained"
    counted = [run for run in runs if run.best_score is not None]
    if counted:
        best = max(counted, key=lambda run: run.best_score or 0.0)
        return (
            f"the best mean score over 100 games was {formatting.score(best.best_score)} in "
            f"{best.observations:,} observations"
        )
    most = max(runs, key=lambda run: run.games / run.needed)
    return (
        f"{most.games:,} of the {most.needed:,} games that a score must be the mean of were played in "
        f"{most.observations:,} observations"
    )


def reasons(runs: Iterable[RunFolder]) -> list[str]:
    """Returns a line per game and batch of runs that reached nothing, and how many runs could not be read."""
    found: dict[tuple[str, int], list[Shortfall]] = {}
    unread = 0
    for run in runs:
        try:
            config, rows = run.config(), run.rows()
        except UserError:
            unread += 1
            continue
        game = str(run.about().get("game") or run.path.name)
        batch = int(rows[-1]["batch_observations"]) if rows else 0
        found.setdefault((game, batch), []).append(run_shortfall(config, rows))
    lines = [
        f"{game}{f' at batch {batch:,}' if batch else ''}: {why_not_reached(shortfalls)}"
        for (game, batch), shortfalls in sorted(found.items())
    ]
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"and {len(lines) - MOST_LINES} more"]
    return [*lines, *([f"{formatting.plural(unread, 'run')} cannot be read"] if unread else [])]


def run_shortfall(config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Shortfall:
    """Returns how near a run came to scores that count, from its configuration and its rows."""
    return shortfall(rows, environments=config.get("env", {}).get("num_envs") or 1)
