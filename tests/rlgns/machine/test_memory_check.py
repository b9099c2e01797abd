"""Runs that cannot fit are refused with the most that fits."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from rlgns.config.load import resolve
from rlgns.config.schema import Config
from rlgns.errors import UserError
from rlgns.machine.footprint import GIB
from rlgns.machine.memory_check import check_memory, needed_bytes
from rlgns.machine.placement import Node, TrialShare

NODE = Node(cpus=2, memory=13 * GIB)


def config(**overrides: object) -> Config:
    return resolve(["ppo"], {"engine.device": "cpu", **{key.replace("__", "."): v for key, v in overrides.items()}})


@pytest.mark.parametrize("envs", [8, 64, 1024])
def test_what_fits_is_not_refused(envs: int) -> None:
    check_memory(config(env__num_envs=envs), nodes=[NODE])


def test_too_many_environments_are_refused_with_the_most_that_fits() -> None:
    with pytest.raises(UserError) as refusal:
        check_memory(config(env__num_envs=1_000_000), nodes=[NODE])
    found = re.fullmatch(
        r"env.num_envs 1,000,000 needs about [\d,]{3,} GiB of memory, 13 are there; at most ([\d,]+) fit",
        str(refusal.value),
    )
    assert found is not None
    fits = int(found[1].replace(",", ""))
    check_memory(config(env__num_envs=fits), nodes=[NODE])
    share = TrialShare.of([NODE], 1)
    assert needed_bytes(config(env__num_envs=fits), share) > 0.97 * NODE.memory  # a twin that names half of it fails
    assert needed_bytes(config(env__num_envs=fits // 8 * 4), share) < 0.97 * NODE.memory


def test_a_network_that_fits_with_no_environments_is_named() -> None:
    with pytest.raises(UserError, match=r"no number fits with a network of [\d,]+ parameters"):
        check_memory(config(network__hidden=1_000_000), nodes=[NODE])


def test_trials_at_once_share_the_memory() -> None:
    run = config(env__num_envs=4096)
    four = Node(cpus=4, memory=1.2 * needed_bytes(run, TrialShare.of([Node(cpus=4)], 1)))
    check_memory(run, nodes=[four])
    with pytest.raises(UserError, match=r"4,096 in 4 trials at once needs .* or fewer trials at once"):
        check_memory(run, most=4, nodes=[four])


def test_an_adaptive_batch_counts_at_its_largest() -> None:
    run = config(agent__batch="adaptive", adaptive__largest_envs=524_288)
    with pytest.raises(UserError, match=r"adaptive.largest_envs 524,288 needs .*; at most [\d,]+ fit"):
        check_memory(run, nodes=[NODE])


def test_memory_that_is_not_known_refuses_nothing() -> None:
    check_memory(config(env__num_envs=1_000_000), nodes=[replace(NODE, memory=0.0)])
