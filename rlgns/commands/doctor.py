"""`rlgns doctor`: checks this machine, and a cluster if one is named."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rlgns.commands.parser import Parser
from rlgns.errors import ExitCode

SUMMARY = "say what is wrong with this machine or cluster"

DESCRIPTION = """\
Checks this machine, and the nodes of a cluster if one is named. A check that finds something wrong says what to do.
The exit code is 2 where something would stop a run.

examples:
  rlgns doctor
  rlgns doctor --address http://HEAD:8265
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument(
        "--address",
        metavar="A",
        help="check a cluster: http://HOST:8265, or on a node HOST:6379 (default: RAY_ADDRESS)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder that runs would go to (default: $RLGNS_RUNS or runs)")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the finding of every check, as a job on the cluster where the address is that of its dashboard."""
    if options.address is not None and options.address.startswith(("http://", "https://")):
        from rlgns.submit.job import submit

        folder = [] if options.out is None else ["--out", options.out]
        return submit(["doctor", *folder], address=options.address, games=["doctor"])
    from rlgns.machine.cluster_doctor import address_of_cluster, check_cluster
    from rlgns.machine.doctor import FAIL, check_machine

    out, address = Path(options.out or os.environ.get("RLGNS_RUNS", "runs")), address_of_cluster(options.address)
    findings = []
    for finding in itertools.chain(check_machine(out), check_cluster(address, out) if address else ()):
        print(finding.describe(), flush=True)
        findings.append(finding)
    failed = sum(finding.status == FAIL for finding in findings)
    if failed:
        print(f"rlgns: {failed} of {len(findings)} checks failed; their remedies are above", file=sys.stderr)
    return ExitCode.USER_ERROR if failed else ExitCode.DONE
