"""`rlgns evaluate`: plays full games with a trained policy and prints the scores."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from rlgns.commands.parser import Parser
from rlgns.errors import ExitCode

SUMMARY = "play games, print scores"

DESCRIPTION = """\
Plays full games with a trained policy and prints its scores under the protocol that it was trained with.

examples:
  rlgns evaluate runs/pong-20260101-120000 --episodes 30
  rlgns evaluate runs/pong-20260101-120000 --video pong.mp4
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or one of its checkpoints")
    parser.add_argument("--episodes", metavar="N", default="30", help="full games to play (default: 30)")
    parser.add_argument("--video", metavar="FILE.mp4", help="film one more game")
    parser.add_argument("--seed", metavar="S", default="0", help="seed of games and actions (default: 0)")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Evaluates a checkpoint and prints the table of scores."""
    from rlgns.config.convert import convert

    episodes, seed = convert("--episodes", options.episodes, int), convert("--seed", options.seed, int)
    from rlgns import evaluate as evaluation

    video = Path(options.video) if options.video is not None else None
    result = evaluation.evaluate(Path(options.checkpoint), episodes=episodes, video=video, seed=seed)
    print(result.table())
    return ExitCode.DONE
