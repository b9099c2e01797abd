"""The process of one size: plays and learns with and without the noise scale, and prints the times as JSON.

python -m benchmarks.sizes_worker SIZE SECONDS GAME
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from rlgns.agents.compute.precision import choose_device, choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.network import build_network
from rlgns.agents.rollout import Rollout
from rlgns.agents.update import Updater
from rlgns.config.load import resolve
from rlgns.config.schema import Config
from rlgns.engine.collect import Collectors
from rlgns.engine.ride_along import RideAlong
from rlgns.machine.hardware import usable_cores
from rlgns.noise.tracker import NoiseScaleEstimate

FEWEST_ROUNDS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """One point of one curve."""

    sweep: str
    """What is varied: `environments`, `batch` or `groups`."""
    num_envs: int
    rollout_steps: int
    minibatches: int
    groups: int
    """Most groups per batch."""

    def run(self, game: str) -> Config:
        """Returns the preset `ppo` with this size; environments start without stagger, which would take long."""
        return resolve(
            ["ppo"],
            {
                "run.games": [game],
                "env.num_envs": self.num_envs,
                "env.stagger_steps": 0,
                "agent.rollout_steps": self.rollout_steps,
                "agent.minibatches": self.minibatches,
                "noise.groups": self.groups,
            },
        )


@final
class Training:
    """An iteration of rlgns without RLlib: the same collectors, updater and ride-along."""

    def __init__(self, size: Size, game: str) -> None:
        """Starts the environments and builds one network with two updaters: with the noise scale, and without."""
        run = size.run(game)
        cores = usable_cores()
        prepare_process(cores)
        device = choose_device(run.engine.device)
        precision = choose_precision(run.engine.precision, device)
        team = Team(cores)
        self._run, self._iteration = run, 0
        actions = _num_actions(game, run)
        network = build_network(
            run.network, num_actions=actions, frame_stack=run.env.frame_stack, image_size=run.env.image_size
        ).to(device)
        self._collectors = Collectors(game, run, network, team=team, worker_index=0, iteration=0, precision=precision)
        self._measure = RideAlong(run.noise, minibatches=run.agent.minibatches)
        self._updaters = {
            measured: Updater(
                network,
                run.agent,
                groups=run.groups_per_batch,
                batch_observations=run.batch_observations,
                precision=precision,
                on_products=self._measure.on_products if measured else None,
                team=team if device.type == "cpu" else None,
            )
            for measured in (True, False)
        }

    def play(self) -> tuple[Sequence[Rollout], float]:
        """Plays one rollout; returns it and the seconds taken."""
        began = time.perf_counter()
        self._iteration += 1
        rollouts = self._collectors.play(iteration=self._iteration, weights_version=0).rollouts
        return rollouts, time.perf_counter() - began

    def learn(self, rollouts: Sequence[Rollout], *, measured: bool) -> float:
        """Learns from a rollout, with or without the noise scale; returns seconds."""
        began = time.perf_counter()
        stats = self._updaters[measured].update(
            rollouts, learning_rate=self._run.agent.learning_rate, seed=(0, self._iteration)
        )
        self.metrics = stats.metrics
        if measured:
            batch = self._run.batch_observations
            rate = self._run.agent.learning_rate
            self._measure.report(optimizer_steps=stats.optimizer_steps, batch_observations=batch, learning_rate=rate)
        return time.perf_counter() - began

    def noise_scale(self) -> NoiseScaleEstimate:
        """Returns the smoothed noise scale."""
        return self._measure.estimate()

    def close(self) -> None:
        """Stops the emulators."""
        self._collectors.close()


def measure(size: Size, seconds: float, game: str) -> dict[str, Any]:
    """Measures one size for about so many seconds, at least FEWEST_ROUNDS rounds after a warm-up.

    Every rollout is learned from twice, with and without the noise scale, in alternating order.

    Returns:
        start_s; play_s, on_s, off_s, a list each with one entry per round; peak_bytes of this process.
    """
    began = time.perf_counter()
    training = Training(size, game)
    start_s = time.perf_counter() - began
    training.learn(training.play()[0], measured=True)
    found: dict[str, list[float]] = {"play_s": [], "on_s": [], "off_s": []}
    began = time.perf_counter()
    while len(found["play_s"]) < FEWEST_ROUNDS or time.perf_counter() - began < seconds:
        rollouts, play_s = training.play()
        found["play_s"].append(play_s)
        order = (True, False) if len(found["play_s"]) % 2 else (False, True)
        for measured in order:
            found["on_s" if measured else "off_s"].append(training.learn(rollouts, measured=measured))
    training.close()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts kB
    return {"start_s": start_s, **found, "peak_bytes": peak}


def _num_actions(game: str, run: Config) -> int:
    from rlgns.envs.vector import num_actions

    return num_actions(game, run.env.protocol)


def main() -> None:
    """Measures the size given as JSON on the command line."""
    size = Size(**json.loads(sys.argv[1]))
    print(json.dumps({**asdict(size), **measure(size, float(sys.argv[2]), sys.argv[3])}))


if __name__ == "__main__":
    main()
