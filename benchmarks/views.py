"""Measures all views of the noise scale on a frozen policy, and the cost of a probe.

    python -m benchmarks.views CHECKPOINT

Plays with a checkpoint's policy and probes every rollout at a learning rate of zero, so that all probes estimate the
same values; prints a table in Markdown. Seconds are processor time of this process, which other load on the machine
lengthens little.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlgns.agents.compute.precision import choose_device, choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.update import Updater
from rlgns.config.schema import Config
from rlgns.engine.collect import Collectors
from rlgns.engine.probe import Probe
from rlgns.engine.ride_along import RideAlong
from rlgns.formatting import NOTHING, interval, rounded
from rlgns.machine.hardware import usable_cores
from rlgns.metrics.probe_keys import VIEWS
from rlgns.storage.checkpoint import Policy, load_policy

WORKER = 4_000_000
"""Worker index of the random streams, which neither training nor calibration uses."""


def measure(policy: Policy, rollouts: int, epochs: int) -> tuple[Probe, RideAlong, dict[str, float]]:
    """Probes `rollouts` rollouts; returns probe, ride-along and processor seconds by part."""
    saved = policy.config
    run: Config = dataclasses.replace(
        saved,
        noise=dataclasses.replace(saved.noise, horizon_observations=0, horizon_follows_run=False, overhead_budget=0.5),
        agent=dataclasses.replace(saved.agent, epochs=epochs),
        engine=dataclasses.replace(saved.engine, runners=0),
    )
    device = choose_device(run.engine.device)
    prepare_process(usable_cores())
    precision = choose_precision(run.engine.precision, device)
    network = policy.network.to(device).train().requires_grad_(True)
    team = Team(usable_cores())
    ride_along = RideAlong(run.noise, minibatches=run.agent.minibatches)
    updater = Updater(
        network,
        run.agent,
        groups=run.groups_per_batch,
        precision=precision,
        on_groups=ride_along.on_groups,
        team=team,
    )
    updater.optimizer.load_state_dict(policy.state["learner"]["optimizer"])
    probe = Probe(run, network, clock=time.process_time)
    collectors = Collectors(
        policy.game, run, network, team=team, worker_index=WORKER, iteration=policy.iteration, precision=precision
    )
    spent = dict.fromkeys(("play", "learn", "probe"), 0.0)
    for rollout in _until_interrupted(rollouts):
        began = time.process_time()
        played = collectors.play(iteration=rollout, weights_version=0)
        middle = time.process_time()
        seed = (WORKER, rollout)
        updater.update(
            played.rollouts,
            learning_rate=0.0,
            seed=seed,
            split_shuffled=ride_along.split_shuffled(rollout),
            before_steps=lambda fresh, seed=seed: probe.measure(fresh, seed),  # type: ignore[misc]
        )
        spent["play"] += middle - began
        spent["probe"] += probe.seconds
        spent["learn"] += time.process_time() - middle - probe.seconds
    collectors.close()
    team.close()
    return probe, ride_along, spent


def _until_interrupted(rollouts: int) -> Iterator[int]:
    """Counts on standard error; after Ctrl-C the current rollout is the last."""
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    for rollout in range(rollouts):
        if asked:
            break
        sys.stderr.write(f"\r{rollout + 1} of {rollouts} rollouts ")
        sys.stderr.flush()
        yield rollout
    sys.stderr.write("\n")
    signal.signal(signal.SIGINT, before)


def table(policy: Policy, row: dict[str, Any], ride_along: RideAlong) -> str:
    """Returns the results in Markdown."""
    estimate = ride_along.estimate()
    lines = [
        "| view | noise scale | noise dimension | design effect | batches until it is resolved |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| ride-along, joint | {interval(estimate.noise_scale, estimate.low, estimate.high)} | {NOTHING} "
        f"| {rounded(ride_along.design_effect)} | {NOTHING} |",
    ]
    for name in VIEWS:
        scale, low, high, dimension, effect, updates = (
            row[f"noise/{name}/{key}"]
            for key in ("scale", "scale_low", "scale_high", "dimension", "design_effect", "updates_to_resolve")
        )
        lines.append(
            f"| {name} | {interval(scale, low, high)} | {rounded(dimension)} | {rounded(effect)} | {rounded(updates)} |"
        )
    layers = ", ".join(f"{entry['layer']} {rounded(entry['scale'])}" for entry in row["noise/layers"])
    rungs = ", ".join(f"{rung['steps']} steps {rounded(rung['trace'], 3)}" for rung in row["noise/time_ladder"])
    twice, low, high = (row[f"noise/twice_steps_noise{end}"] for end in ("", "_low", "_high"))
    return "\n".join(
        [
            f"{policy.game}, {policy.observations:,} observations of training, {row['noise/probes']} probes of "
            f"{policy.config.rollout_observations:,} observations\n",
            *lines,
            f"\nResolves first: {row['noise/resolves_first']}. Noise scale by layer: {layers}.",
            f"tr(Sigma) with segments as the unit (in units of the squared gradient): {rungs}. Twice the steps leave "
            f"{rounded(twice)} ({rounded(low)} to {rounded(high)}) of the noise.",
        ]
    )


def main() -> None:
    """Reads the command line and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rollouts", type=int, default=32)
    parser.add_argument(
        "--epochs", type=int, help="epochs per rollout; default: the run's, for the probe's relative cost"
    )
    arguments = parser.parse_args()
    policy = load_policy(arguments.checkpoint)
    probe, ride_along, spent = measure(policy, arguments.rollouts, arguments.epochs or policy.config.agent.epochs)
    print(table(policy, probe.report(policy.config.batch_observations), ride_along))
    share = spent["probe"] / (spent["play"] + spent["learn"])
    every = math.ceil(share * 0.98 / 0.02)
    print(
        f"Processor seconds: play {spent['play']:.1f}, learn {spent['learn']:.1f}, probe {spent['probe']:.1f}: a probe "
        f"is {share:.2f} of an iteration, and at 2 % of the time one comes every {every} iterations."
    )


if __name__ == "__main__":
    main()
