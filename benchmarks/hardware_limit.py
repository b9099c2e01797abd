"""Measures the limit of a training run on this machine: environments alone, and the network's matrix products alone.

    python -m benchmarks.hardware_limit [--rounds 5] [--preset ppo] [--game pong]

Prints operations and least bytes per observation and layer, the rate of plain matrix products at exactly the network's
shapes (a thread's share of a batch; all threads at once, as in training), that rate as a share of the machine's peak at
a large square product, the environments' rate without any network, and the limit:

    1 / (1 / environments' rate + matrix seconds of all epochs + matrix seconds of inference)   observations/s

It leaves out everything else: gathering frames, activations, loss, optimizer, Python. In `throughput.py` the limit is a
contender that alternates with the training it bounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import final

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import Tensor

from benchmarks.operations import FORWARD, WEIGHT_GRADIENT, Layer, bytes_moved, layers_of, operations
from rlgns.agents.compute.flat_gradients import equal_parts
from rlgns.agents.compute.precision import choose_device, choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.config.load import resolve
from rlgns.config.schema import Config
from rlgns.envs.games import GAMES
from rlgns.envs.vector import AtariEnvs
from rlgns.machine import hardware

PRODUCT_S = 0.05
"""Seconds for which each product is repeated."""

SQUARE = 2048
"""Side of the square product whose rate counts as the machine's peak."""

COPIED_BYTES = 2**26
"""Bytes that each thread copies, far beyond its caches."""


@final
class EnvironmentsAlone:
    """The run's environments, divided among threads as in training, under random actions; no network."""

    def __init__(self, run: Config, game: str, team: Team, *, shares: int) -> None:
        """Starts the environments."""
        threads = max(1, hardware.usable_cores() // shares)
        count = run.env.num_envs // shares

        def start(share: int) -> AtariEnvs:
            envs = AtariEnvs(game, run.env, num_envs=count, seed=run.run.seed, worker_index=share, threads=threads)
            envs.reset()
            return envs

        self._team, self._rng = team, np.random.default_rng(run.run.seed)
        self._sets = team.map(start, range(shares))

    def rate(self, observations: int) -> float:
        """Plays at least so many observations and returns observations per second."""
        played = sum(envs.num_envs for envs in self._sets)
        steps = max(1, -(-observations // played))
        drawn = [self._rng.integers(0, envs.num_actions, (steps, envs.num_envs)) for envs in self._sets]

        def play(share: int) -> None:
            for actions in drawn[share]:
                self._sets[share].step(actions)

        began = time.perf_counter()
        self._team.map(play, range(len(self._sets)))
        return steps * played / (time.perf_counter() - began)

    def close(self) -> None:
        """Stops the emulators."""
        for envs in self._sets:
            envs.close()


@final
class Limit:
    """Measures what bounds a run on this machine: its environments and its network's matrix products."""

    def __init__(self, run: Config, game: str, *, threads: int, precision: str = "auto") -> None:
        """Builds environments and operands.

        Args:
            run: Sizes.
            game: ROM name.
            threads: Threads that share a batch and the environments on a processor; an accelerator has one.
            precision: As engine.precision.
        """
        self._run, self._device = run, choose_device(run.engine.device)
        self._dtype = getattr(torch, choose_precision(precision, self._device))
        on_cpu = self._device.type == "cpu"
        self._team = Team(threads if on_cpu else 1)
        shares = equal_parts(run.env.num_envs, self._team.size)
        self._envs = EnvironmentsAlone(run, game, Team(shares), shares=shares)
        self.layers = layers_of(run, self._envs._sets[0].num_actions)
        self.learned = max(1, run.batch_observations // self._team.size)
        """Observations of a batch per thread."""
        self.played = run.env.num_envs // shares
        """Observations of a step per thread."""
        self.shares = self._team.size

    @property
    def value_bytes(self) -> int:
        """Bytes of a value in the network's body."""
        return self._dtype.itemsize

    def measure(self, observations: int) -> dict[str, float]:
        """Measures once.

        Args:
            observations: Least number to play.

        Returns:
            env_rate, observations/s; learn_s, inference_s, matrix seconds per observation; limit, observations/s;
            learn_rate, peak_rate, operations/s; peak_limit, the limit if every product ran at the peak; copy_rate,
            bytes/s read and written; and NAME, KIND: operations/s of every product.
        """
        epochs = self._run.agent.epochs
        found: dict[str, float] = {"env_rate": self._envs.rate(observations)}
        learn_s = inference_s = 0.0
        for layer in self.layers:
            for kind in layer.kinds():
                seconds = self._product_s(layer, kind, self.learned)
                found[f"{layer.name}, {kind}"] = layer.operations(kind) / seconds
                learn_s += epochs * seconds
            seconds = self._product_s(layer, FORWARD, self.played)
            found[f"{layer.name}, inference"] = layer.operations(FORWARD) / seconds
            inference_s += seconds
        counted = operations(self.layers, epochs=epochs)
        peak = self._peak_rate()
        alone_s = 1 / found["env_rate"]
        return found | {
            "learn_s": learn_s,
            "inference_s": inference_s,
            "limit": 1 / (alone_s + learn_s + inference_s),
            "learn_rate": counted["learning"] / learn_s,
            "peak_rate": peak,
            "peak_limit": 1 / (alone_s + sum(counted.values()) / peak),
            "copy_rate": self._copy_rate(),
        }

    def bytes_moved(self) -> dict[str, float]:
        """Returns the least bytes per observation, by purpose."""
        return bytes_moved(self._run, self.layers, shares=self.shares, value_bytes=self.value_bytes)

    def close(self) -> None:
        """Stops the emulators."""
        self._envs.close()

    def _product_s(self, layer: Layer, kind: str, observations: int) -> float:
        """Returns seconds per observation of one product, with all threads computing it on separate operands."""
        dtype = torch.float32 if layer.is_head else self._dtype
        jobs = [self._product(*self._operands(layer, kind, observations, dtype)) for _ in range(self.shares)]
        return self._seconds(jobs) / (observations * self.shares)

    def _peak_rate(self) -> float:
        jobs = [
            self._product(*(self._random(SQUARE, SQUARE, self._dtype) for _ in range(2))) for _ in range(self.shares)
        ]
        return 2 * SQUARE**3 * self.shares / self._seconds(jobs)

    def _copy_rate(self) -> float:
        def job() -> Callable[[], object]:
            source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=self._device)
            target = torch.zeros_like(source)
            return lambda: target.copy_(source)

        return 2 * COPIED_BYTES * self.shares / self._seconds([job() for _ in range(self.shares)])

    def _operands(self, layer: Layer, kind: str, observations: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns a product's operands with their layout in memory: values [rows, ...] and weights [outputs, inner]."""
        rows = observations * layer.pixels
        if kind == FORWARD:
            return self._random(rows, layer.inner, dtype), self._random(layer.outputs, layer.inner, dtype).t()
        if kind == WEIGHT_GRADIENT:
            return self._random(rows, layer.outputs, dtype).t(), self._random(rows, layer.inner, dtype)
        return self._random(rows, layer.outputs, dtype), self._random(layer.outputs, layer.inner, dtype)

    def _random(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        return torch.randn(rows, columns, device=self._device).to(dtype)

    def _product(self, left: Tensor, right: Tensor) -> Callable[[], object]:
        result = torch.empty(left.shape[0], right.shape[1], device=self._device, dtype=left.dtype)
        return lambda: torch.mm(left, right, out=result)

    def _seconds(self, jobs: Sequence[Callable[[], object]]) -> float:
        """Returns seconds of one repetition while each thread repeats its job."""

        def repeat(job: Callable[[], object], times: int) -> None:
            for _ in range(times):
                job()

        def timed(times: int) -> float:
            began = time.perf_counter()
            self._team.map(lambda job: repeat(job, times), jobs)
            if self._device.type == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - began

        timed(1)  # the first call chooses a kernel
        times = max(2, round(PRODUCT_S / max(timed(1), 1e-6)))
        return timed(times) / times


def table(limit: Limit, measured: Sequence[dict[str, float]]) -> list[str]:
    """Returns operations, bytes and rates by layer as Markdown, medians over the measurements."""

    def median(key: str) -> float:
        return statistics.median(found[key] for found in measured)

    lines = [
        "| layer | product | rows x K x columns | 10^6 operations | kB moved | 10^9 operations/s | of peak |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for layer in limit.layers:
        for label, kind, count in (
            *((kind, kind, limit.learned) for kind in layer.kinds()),
            ("inference", FORWARD, limit.played),
        ):
            rate = median(f"{layer.name}, {label}")
            shape = " x ".join(f"{side:,}" for side in layer.shape(kind, count))
            moved = layer.bytes_moved(kind, count, limit.value_bytes) / 1e3
            lines.append(
                f"| {layer.name} | {label} | {shape} | {layer.operations(kind) / 1e6:.2f} | {moved:.1f} "
                f"| {rate / 1e9:.0f} | {100 * rate / median('peak_rate'):.0f} % |"
            )
    return lines


def main() -> None:
    """Prints operations, bytes, rates and the limit of a preset on this machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measurements (%(default)s)")
    parser.add_argument("--preset", default="ppo", help="whose network and sizes (%(default)s)")
    parser.add_argument("--game", choices=list(GAMES), default="pong", metavar="GAME", help="ROM name (%(default)s)")
    options = parser.parse_args()
    machine = hardware.detect()
    prepare_process(machine.cores)
    run = resolve([options.preset])
    limit = Limit(run, options.game, threads=machine.cores)
    measured = [limit.measure(run.rollout_observations) for _ in range(max(1, options.rounds))]
    counted, moved = operations(limit.layers, epochs=run.agent.epochs), limit.bytes_moved()
    print(f"{machine.describe()}; preset {options.preset}, {options.game}; {len(measured)} measurements\n")
    print("\n".join(table(limit, measured)))
    print(
        f"\noperations per observation: {counted['learning'] / 1e6:.1f} million to learn ({run.agent.epochs} epochs), "
        f"{counted['inference'] / 1e6:.1f} million to act"
        f"\nleast bytes per observation: {', '.join(f'{name} {size / 1e3:,.0f} kB' for name, size in moved.items())}"
    )
    for found in measured:
        found["bytes_s"] = sum(moved.values()) / found["copy_rate"]
    for key, unit, scale in (
        ("env_rate", "observations/s of the environments alone", 1),
        ("learn_s", "us of matrix products per observation to learn", 1e6),
        ("inference_s", "us of matrix products per observation to act", 1e6),
        ("learn_rate", "10^9 operations/s at the network's shapes", 1e-9),
        ("peak_rate", f"10^9 operations/s at {SQUARE} x {SQUARE} x {SQUARE}", 1e-9),
        ("copy_rate", "10^9 bytes/s read and written by copies", 1e-9),
        ("bytes_s", "us per observation if all those bytes moved between memory and empty caches", 1e6),
        ("limit", "observations/s: the limit", 1),
        ("peak_limit", "observations/s: the same if every product ran at the peak", 1),
    ):
        values = sorted(scale * found[key] for found in measured)
        print(f"{statistics.median(values):>10,.1f} {unit} ({values[0]:,.1f} to {values[-1]:,.1f})")
    limit.close()


if __name__ == "__main__":
    main()
