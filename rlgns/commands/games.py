"""`rlgns games`: lists the games with their score goals and reference scores."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from rlgns.commands.parser import Parser
from rlgns.errors import ExitCode

SUMMARY = "list games with goals and reference scores"

DESCRIPTION = """\
Lists every game by the name that --game takes, with the scores of random play, of a human and of CleanRL's PPO, and
with the paper's score goals.
"""


def add_arguments(parser: Parser) -> None:
    """Adds nothing: the command takes no arguments."""


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints one line per game."""
    from rlgns.envs.games import GAMES

    print(f"{'game':<18} {'title':<18} {'random':>10} {'human':>10} {'CleanRL PPO':>12}  score goals")
    for game in GAMES.values():
        reference = f"{game.cleanrl_score:,.1f}" if game.cleanrl_score is not None else "-"
        goals = " ".join(f"{goal:g}" for goal in game.score_goals) or "-"
        scores = f"{game.random_score:>10,.1f} {game.human_score:>10,.1f} {reference:>12}"
        print(f"{game.name:<18} {game.title:<18} {scores}  {goals}")
    return ExitCode.DONE
