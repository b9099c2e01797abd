"""`rlgns submit`: runs `train` or `sweep` as a job on a Ray cluster, and follows it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rlgns.commands import sweep, train
from rlgns.commands.parser import Command, Parser, parse
from rlgns.commands.settings import refuse_with_resume, settings_of
from rlgns.errors import ExitCode, UserError, nearest

if TYPE_CHECKING:
    from rlgns.config.schema import Config
    from rlgns.sweep.config import Sweep

SUMMARY = "run a command as a Ray job"

DESCRIPTION = """\
Runs a command as a job on a Ray cluster: sends this source code with it, shows its log, and returns its exit code.
Ctrl-C stops the job, which saves first; a second Ctrl-C returns without waiting for that. The run goes to $RLGNS_RUNS
on the cluster's nodes (default: ~/runs), a folder that all of them must share, unless --out names another.

examples:
  rlgns submit --address http://HEAD:8265 -- train --game pong --runners 8
  rlgns submit --address http://HEAD:8265 -- sweep --config breakout-quick
  rlgns submit --job rlgns-pong-20260101-120000-ab12      follow a job again
  rlgns submit --write ray-cluster.yaml rayjob.yaml -- train --game pong --runners 8

Without --address: RAY_API_SERVER_ADDRESS, else RAY_ADDRESS, else this machine. docs/cluster.md has more.
"""

JOB_COMMANDS: dict[str, Command] = {"train": train, "sweep": sweep}
"""The commands that can run as a job."""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.takes_command = True
    parser.add_argument("--address", metavar="A", help="the cluster's dashboard, http://HOST:8265")
    parser.add_argument("--job", metavar="ID", help="follow a job that was submitted before")
    parser.add_argument("--no-wait", action="store_true", help="return once the job is submitted")
    parser.add_argument(
        "--write",
        metavar="FILE",
        nargs="+",
        help="submit nothing; write ray-cluster.yaml (ray up), rayjob.yaml (KubeRay)",
    )
    parser.add_argument("--image", metavar="NAME", default="rlgns:latest", help="image named in what --write writes")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Submits a job and follows it, follows one that was submitted before, or writes the files of a cluster."""
    command: list[str] | None = options.job_command
    if options.job is not None:
        if command is not None or options.write is not None or options.no_wait:
            raise UserError("--job follows a job that was submitted before; leave out the command and other options")
        from rlgns.submit.job import attach

        return attach(options.job, address=options.address)
    if not command:
        raise UserError("rlgns submit needs a command behind --, for example: rlgns submit -- train --game pong")
    if options.write is not None and "--resume" in command:
        raise UserError("--write needs a configuration to size the cluster, and --resume has none; give --config")
    work = _work_of(command)
    from rlgns.submit.cluster_size import cluster_size

    size = cluster_size(work)
    if options.write is not None:
        from rlgns.submit.manifests import write

        write(options.write, command, size, image=options.image)
        return ExitCode.DONE
    from rlgns.submit.job import submit

    return submit(command, address=options.address, games=size.games, wait=not options.no_wait)


def _work_of(command: list[str]) -> Config | Sweep:
    """Checks a job's command before it is sent, and returns what it would run. Raises UserError."""
    if command[0] not in JOB_COMMANDS:
        raise UserError(f"rlgns submit runs train or sweep, got {command[0]!r}{nearest(command[0], JOB_COMMANDS)}")
    options, overrides = parse(command, JOB_COMMANDS)
    from rlgns.config.load import resolve

    if options.resume is not None:
        changeable = train.CHANGEABLE_ON_RESUME if options.command == "train" else sweep.CHANGEABLE_ON_RESUME
        refuse_with_resume(options, overrides, changeable)
        return resolve(["ppo"])  # the run's own configuration lies on the cluster
    if options.command == "sweep":
        from rlgns.sweep.load import resolve_sweep

        return resolve_sweep(sweep.config_file(options), settings_of(options, overrides, sweep.SHORT_OPTIONS_OF_SWEEP))
    # the cluster's hardware decides between presets, all of which have the same keys
    return resolve(["ppo" if options.config is None else options.config], settings_of(options, overrides))
