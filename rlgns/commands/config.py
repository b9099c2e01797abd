"""`rlgns config`: prints the resolved configuration, and what follows from it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rlgns.commands.parser import Parser
from rlgns.commands.settings import add_settings, resolved_config
from rlgns.errors import ExitCode

if TYPE_CHECKING:
    from rlgns.config.schema import Config

SUMMARY = "print the resolved configuration"

DESCRIPTION = """\
Prints the configuration that `rlgns train` would use with the same arguments, as YAML that --config can read.
Comments at the end show what follows from it: the sizes of rollout, batch and groups, the hardware, and what each
process gets of it. RAY_ADDRESS, if set, names the cluster whose hardware counts.

examples:
  rlgns config
  rlgns config --config a2c-paper > mine.yaml
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    add_settings(parser)


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the configuration as YAML, and what follows from it as comments."""
    from rlgns.config.load import to_yaml

    config = resolved_config(options, overrides)
    print(to_yaml(config), end="")
    for name, text in (*_sizes(config), *_placement(config)):
        print(f"# {name:<11} {text}")
    return ExitCode.DONE


def _sizes(config: Config) -> Iterator[tuple[str, str]]:
    yield "rollout", f"{config.rollout_observations:,} observations per iteration"
    yield "batch", f"{config.batch_observations:,} observations per optimizer step"
    yield "steps", f"{config.agent.epochs * config.agent.minibatches} optimizer steps per iteration"
    yield "groups", f"{config.groups_per_batch} of whole environments per batch"
    if config.agent.batch == "adaptive":
        fewest, most = config.env_tiers[0], config.env_tiers[-1]
        smallest, largest = (config.at(envs).batch_observations for envs in (fewest, most))
        yield (
            "adaptive",
            f"from {smallest:,} to {largest:,} observations per optimizer step ({fewest} to {most} envs);",
        )
        yield "", f"the other sizes are those at the start, with {config.env.num_envs} envs"
    yield "iterations", f"{config.iterations:,}"


def _placement(config: Config) -> Iterator[tuple[str, str]]:
    from rlgns.machine import hardware
    from rlgns.machine.footprint import placement_lines
    from rlgns.machine.nodes import resources
    from rlgns.machine.placement import Placement, TrialShare, wants_gpu

    yield "hardware", hardware.detect().describe()
    share = TrialShare.of(resources(), len(config.run.games))
    yield from placement_lines(config, share, Placement.of(config, share, gpu=wants_gpu(config, share)))
