"""Compares two ways to use all cores: operations on several threads, and threads with a share of the batch each.

    python -m benchmarks.threads [--rounds 15]

Prints observations per second (median and range) of forward and backward passes of one batch of 256 through each
preset's network. The two ways alternate, so that other load on the machine affects both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

import rlgns.agents.compute.native
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.flat_gradients import FlatGradients, mean_rows_
from rlgns.agents.compute.forward_backward import AutogradPass, Row
from rlgns.agents.compute.precision import choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.network import build_network
from rlgns.config.load import resolve
from rlgns.machine.hardware import detect

BATCH = 256
CPU = torch.device("cpu")


def passes(copy: ComputeCopy, observations: torch.Tensor, row: Row) -> None:
    """Runs one forward and backward pass of a loss of the heads."""
    evaluated = AutogradPass(copy.network, observations)
    loss = evaluated.logits.square().mean() + evaluated.values.square().mean()
    evaluated.differentiate(loss, [row], [len(observations)])


def contenders(preset: str, cores: int, precision: str) -> dict[str, Callable[[], None]]:
    """Returns the two ways to do the same work."""
    run = resolve([preset])
    network = build_network(run.network, num_actions=6, frame_stack=run.env.frame_stack, image_size=run.env.image_size)
    shape = (BATCH, run.env.frame_stack, run.env.image_size, run.env.image_size)
    observations = torch.randint(0, 255, shape, dtype=torch.uint8)
    gradients = FlatGradients(network, rows=cores)
    copy = ComputeCopy(network, precision)
    team = Team(cores)
    shares = observations.chunk(cores)

    def operations() -> None:
        passes(copy, observations, gradients.views[0])

    def threads() -> None:
        team.map(lambda row: passes(copy, shares[row], gradients.views[row]), range(cores))
        gradients.put(mean_rows_(gradients.rows, team))

    return {"one batch, operations on all cores": operations, "a share of the batch per thread": threads}


def main() -> None:
    """Runs both ways alternately for each preset and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    rlgns.agents.compute.native.library = lambda: None  # type: ignore[assignment]  # the compiled kernels support one of the ways only
    machine = detect()
    prepare_process(machine.cores)
    precision = choose_precision("auto", CPU)
    print(f"{machine.describe()}, {precision}, batch {BATCH}, {rounds} rounds")
    for preset in ("ppo", "quick"):
        ways = contenders(preset, machine.cores, precision)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 2):
            for name, way in ways.items():
                began = time.perf_counter()
                for _ in range(4):
                    way()
                if number >= 2:
                    rates[name].append(4 * BATCH / (time.perf_counter() - began))
        for name, values in rates.items():
            spread = f"{min(values):,.0f} to {max(values):,.0f}"
            print(f"{preset:<6} {name:<36} {statistics.median(values):>8,.0f} observations/s ({spread})")
        first, second = rates.values()
        ratios = sorted(b / a for a, b in zip(first, second, strict=True))
        print(f"{preset:<6} ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
