"""Measures what one iteration costs the driver beside playing and learning, by number of runners.

    python -m benchmarks.driver_overhead --markdown docs/results/driver-overhead.md

Runs the real training loop (`AtariPPO.step`: weights to the object store, a call to each runner, answers and rollouts
back, the row of metrics) with stubs at both ends: runners that only put a rollout of real size into the object store,
and a learner that returns the same numbers every time. 256 processes would need 40 GB, so several runners share one (an
actor with several threads); the driver still calls 256 actors. Wall-clock time includes the runners' copies into the
object store, on the same cores; CPU time is the driver's alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, final

import numpy as np
import ray
from ray.rllib.utils.actor_manager import FaultTolerantActorManager

from benchmarks.peers.settings import start_ray
from rlgns.agents.rollout import Rollout
from rlgns.config.load import resolve, to_dict
from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.collect import Played
from rlgns.engine.run_settings import TrialSpec
from rlgns.envs.vector import num_actions
from rlgns.machine.commit import source_commit
from rlgns.machine.hardware import detect, usable_cores
from rlgns.machine.placement import Node, Placement, TrialShare
from rlgns.storage.run_folder import RunFolder

PER_PROCESS = 16
"""Stub runners in one process."""


def rollout(envs: int, steps: int) -> Rollout:
    """Returns a rollout of zeros with the frame size of the preset `ppo`."""
    shape = (steps, envs)
    return Rollout(
        frames=np.zeros((steps + 3, envs, 84, 84), np.uint8),
        ages=np.ones(shape, np.uint8),
        actions=np.zeros(shape, np.int64),
        log_probs=np.zeros(shape, np.float32),
        values=np.zeros((steps + 1, envs), np.float32),
        final_values=np.zeros(shape, np.float32),
        rewards=np.zeros(shape, np.float32),
        terminal=np.zeros(shape, np.bool_),
        truncated=np.zeros(shape, np.bool_),
    )


class Stubs:
    """Several runners in one process."""

    def __init__(self, envs: int, steps: int) -> None:
        self._played = rollout(envs, steps)

    def apply(self, worker: int, func: Any) -> Any:
        """Calls `func` with one of the runners, as `apply` of RLlib's runners does."""
        return func(_Stub(self._played, worker))


@final
class _Stub:
    """Answers like AtariRunner without playing."""

    def __init__(self, played: Rollout, worker: int) -> None:
        self._played, self._worker = played, worker

    def play_ref(
        self, *, iteration: int, version: int, weights: ray.ObjectRef, num_envs: int
    ) -> tuple[ray.ObjectRef, int, int]:
        ray.get(weights)
        played = Played(rollouts=[self._played], episodes=[], weights_version=version, worker_index=self._worker)
        return ray.put(played), version, self._worker


@final
class _Handle:
    """The handle of a stub runner, which RLlib's actor manager calls by `handle.apply.remote(func=...)`."""

    def __init__(self, stubs: Any, worker: int) -> None:
        self._stubs, self._worker = stubs, worker
        self.apply = self

    def remote(self, func: Any) -> ray.ObjectRef:
        return self._stubs.apply.remote(self._worker, func)


def build(folder: Path, envs: int, steps: int) -> AtariPPO:
    """Builds the algorithm of the preset `ppo`. Its first update is real; all later ones return the same numbers."""
    run = resolve(
        ["ppo"],
        {
            "env.num_envs": envs,
            "agent.rollout_steps": steps,
            "run.observations": 2**40,
            "engine.checkpoint_every_s": 1e9,
            "engine.device": "cpu",
            "noise.overhead_budget": 0,
        },
    )
    RunFolder(folder).create(to_dict(run), {"game": "pong"})
    placement = Placement.of(run, TrialShare.of([Node(cpus=2)], 1))
    actions = num_actions("pong", run.env.protocol)
    trial = TrialSpec(game="pong", num_actions=actions, folder=str(folder), placement=placement)
    algorithm = AtariPPO.configured(run, trial).build_algo()
    assert isinstance(algorithm, AtariPPO)
    outcome: dict[str, Any] = {}
    update = algorithm.learner_group.update

    def update_once(**given: Any) -> list[dict[str, Any]]:
        if not outcome:
            outcome.update(update(**given)[0])
        return [outcome]

    algorithm.learner_group.update = update_once  # type: ignore[method-assign]
    algorithm.step()
    algorithm.config._is_frozen = False
    return algorithm


def measure(algorithm: AtariPPO, stubs: list[Any], runners: int, rounds: int) -> list[tuple[float, float]]:
    """Returns wall-clock and CPU seconds of each iteration with so many runners, after two warm-up iterations."""
    manager = FaultTolerantActorManager(init_id=1)
    handles: list[Any] = [_Handle(stubs[number % len(stubs)], number + 1) for number in range(runners)]
    manager.add_actors(handles)
    algorithm.env_runner_group._worker_manager = manager
    algorithm.config.num_env_runners = runners
    times = []
    for _ in range(rounds + 2):
        wall, cpu = time.perf_counter(), time.process_time()
        algorithm.step()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return times[2:]


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runners", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--envs", type=int, default=8, help="environments of each runner")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--store-gib", type=float, default=5.0, help="size of the object store")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [
        "# What an iteration costs the driver",
        "",
        f"    python {' '.join(sys.argv)}",
        "",
        f"{time.strftime('%Y-%m-%d')}, {detect().describe()}, commit {source_commit()}.",
        "",
        "| rollouts | runners | wall-clock ms: median (lowest to highest) | driver's CPU ms: the same |",
        "| --- | ---: | ---: | ---: |",
    ]
    start_ray(usable_cores(), store_bytes=int(options.store_gib * 2**30))
    remote = ray.remote(num_cpus=0, max_concurrency=PER_PROCESS)(Stubs).remote  # type: ignore[call-overload]
    sizes = {"empty": (1, 1), "real": (options.envs, options.steps)}
    with tempfile.TemporaryDirectory(prefix="rlgns-overhead-") as scratch:
        algorithm = build(Path(scratch), envs=8, steps=16)
        own, fits = algorithm.env_runner_group._worker_manager, []
        for name, (envs, steps) in sizes.items():
            processes = -(-max(options.runners) // PER_PROCESS)
            stubs = [remote(envs, steps) for _ in range(processes)]
            megabytes = sum(value.nbytes for value in _arrays(rollout(envs, steps))) / 1e6
            medians = []
            for runners in options.runners:
                wall, cpu = zip(*measure(algorithm, stubs, runners, options.rounds), strict=True)
                medians.append((statistics.median(wall), statistics.median(cpu)))
                lines.append(f"| {name}, {megabytes:.2f} MB each | {runners} | {_spread(wall)} | {_spread(cpu)} |")
                print(lines[-1], flush=True)
            fits.append(_fit(name, options.runners, medians))
            for stub in stubs:
                ray.kill(stub)
        algorithm.env_runner_group._worker_manager = own  # RLlib cannot stop the stubs' handles
        algorithm.stop()
    lines += ["", *fits, ""]
    ray.shutdown()
    text = "\n".join(lines)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    return 0


def _arrays(played: Rollout) -> list[np.ndarray]:
    return [getattr(played, field.name) for field in dataclasses.fields(played)]


def _spread(seconds: tuple[float, ...]) -> str:
    low, middle, high = (1e3 * value for value in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def _fit(name: str, runners: list[int], medians: list[tuple[float, float]]) -> str:
    lines = []
    for number, kind in enumerate(("wall-clock", "driver's CPU")):
        slope, start = np.polyfit(runners, [1e3 * median[number] for median in medians], 1)
        lines.append(f"{kind} {start:.1f} ms + {slope:.2f} ms a runner")
    return f"- {name} rollouts, straight line through the medians: {', '.join(lines)}"


if __name__ == "__main__":
    sys.exit(main())
