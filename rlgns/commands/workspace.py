"""`rlgns workspace`: installs ready-made panels in a W&B project."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from rlgns.commands.parser import Parser
from rlgns.errors import ExitCode

SUMMARY = "ready-made panels for a W&B project"

DESCRIPTION = """\
Installs ready-made panels in a W&B project, as a saved view named rlgns: score against the reference scores, critical
batch against the batch in use, noise scale with its interval, ladder, views of the probe, throughput. Running it again
updates that view.

examples:
  rlgns workspace
  rlgns workspace --entity my-team --project atari
  rlgns workspace --write workspace.json           its JSON, without a login
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("--entity", metavar="E", default="", help="W&B user or team (default: that of the login)")
    parser.add_argument("--project", metavar="P", default="rlgns", help="W&B project of the runs (default: rlgns)")
    parser.add_argument("--write", metavar="FILE.json", help="install nothing; write the workspace's JSON")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Installs the panels or writes their JSON, and prints where they are."""
    from rlgns.monitor import wandb_workspace

    if options.write is None:
        print(wandb_workspace.install(options.entity, options.project))
    else:
        wandb_workspace.write(options.write)
        print(options.write)
    return ExitCode.DONE
