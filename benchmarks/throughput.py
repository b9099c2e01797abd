"""Throughput of rlgns against Stable-Baselines3's PPO and RLlib's own PPO, measured alternately in one run.

    make bench
    python -m benchmarks.throughput --markdown docs/results/throughput.md --json throughput.json
    python -m benchmarks.throughput --against ../before --rounds 60 --observations 8192 --starts 0

The last compares this checkout with another in alternating turns. The other needs its own benchmarks, and its kernels.

All contenders train the same game with the same network (Nature CNN, 84x84, stack of 4), 8 environments x 128 steps,
4 epochs of 4 batches of 256 and the same step size. Each runs in its own process.

1. Starts: contenders one after the other in fresh processes, until the end of their first iteration.
2. Turns: after two warm-up turns each, every round gives each contender one turn in random order while all others are
   stopped; ratios are taken within rounds. Rounds of only `ours` and `ours-no-noise` follow, since that difference is
   small; every fifth of them includes the other contenders of close comparisons.
3. Memory: what every contender holds, and whether the memory of ours grows while it trains alone.

The table at the end compares all results with the goals; rows about a GPU need a machine that has one.
Exit codes: 0 done, 1 a contender failed, 2 usage, 130 interrupted. A memory watch that ends early is still reported.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.operations import FLOAT32_BYTES, bytes_held, layers_of
from benchmarks.peers.ours import run_of
from benchmarks.peers.settings import Settings
from benchmarks.throughput_goals import goal_rows, goal_table
from benchmarks.throughput_memory import (
    MB,
    Growth,
    by_block,
    by_process_line,
    explanation,
    growth,
    growth_line,
    memory_table,
)
from benchmarks.throughput_options import parse, settings_of
from benchmarks.throughput_page import NOTES, describe, head, tables
from benchmarks.throughput_processes import ROOT, ContenderError, Memory, Process, environment_of
from benchmarks.throughput_results import Start, Turn, summarise
from rlgns.agents.compute import native
from rlgns.agents.compute.precision import choose_device, choose_precision
from rlgns.envs.vector import num_actions

NOISE_PAIR = ("ours", "ours-no-noise")
CLOSE = ("ours-2-runners", "limit")
"""Contenders of other close comparisons."""

CLOSE_EVERY = 5
"""They join every so many of the pair's rounds."""

STARTED = ("ours", "rllib-local", "rllib-local-encoder")
"""Contenders whose start is timed."""

BEGAN = time.monotonic()


@dataclass(slots=True)
class Results:
    """Everything that was measured."""

    starts: list[Start] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    memory: dict[str, Memory] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)
    growth: Growth | None = None
    own: list[dict[str, int]] = field(default_factory=list)
    """Private memory of our processes after every watched turn, by process; written to file as means of 20 blocks."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(words, __doc__ or "")
    about = describe(options, settings_of(options, ""), words)
    results, code = Results(), 0
    try:
        with tempfile.TemporaryDirectory(prefix="rlgns-throughput-") as scratch:
            settings = settings_of(options, scratch)
            for start in starts(settings, options):
                results.starts.append(start)
                _say(f"start {start.round:>4}  {start.contender:<28}{start.seconds:8.1f} s")
            with started(options.only, settings, options) as processes:
                for turn in play(processes, options):
                    results.turns.append(turn)
                    name = f"round {turn.round:>3}" if turn.round else "warm-up  "
                    _say(f"{name}  {turn.contender:<28}{turn.rate:8.0f} observations/s")
                hold(processes, results, options)
    except ContenderError as failure:
        print(f"throughput: {failure}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("throughput: interrupted", file=sys.stderr)
        code = 130
    if results.memory:  # all turns are done: a memory watch that ends early must not lose them
        about["minutes"] = round((time.monotonic() - BEGAN) / 60, 1)
        report(about, results, options)
    return code


def starts(settings: Settings, options: argparse.Namespace) -> Iterator[Start]:
    """Starts contenders one after the other, each in a fresh process, and ends each after its first iteration."""
    order, names = random.Random(options.seed), [name for name in STARTED if name in options.only]
    for number in range(1, options.starts + 1):
        order.shuffle(names)
        for name in names:
            process = _process(name, f"start-{number}-{name}", settings, options)
            try:
                built_s, seconds = process.first_turn(settings.rollout_observations)
                yield Start(round=number, contender=name, built_s=built_s, seconds=seconds)
            finally:
                _end([process])


def play(processes: dict[str, Process], options: argparse.Namespace) -> Iterator[Turn]:
    """Yields every turn as it ends, after two warm-up turns of each contender."""
    for _ in range(2):
        for name, process in processes.items():
            yield Turn.of(0, name, process.turn(options.observations))
    order = schedule(list(processes), rounds=options.rounds, pairs=options.pairs, seed=options.seed)
    for number, names in enumerate(order, start=1):
        for name in names:
            yield Turn.of(number, name, processes[name].turn(options.observations))


def schedule(names: Sequence[str], *, rounds: int, pairs: int, seed: int) -> list[list[str]]:
    """Returns the contenders of each round in random order: rounds of all, then of the noise pair and few others."""
    order = random.Random(seed)
    drawn = [list(names) for _ in range(rounds)]
    if set(NOISE_PAIR) <= set(names):
        others = [name for name in CLOSE if name in names]
        for number in range(1, pairs - rounds + 1):
            drawn.append([*NOISE_PAIR, *(others if number % CLOSE_EVERY == 0 else [])])
    for members in drawn:
        order.shuffle(members)
    return drawn


@contextlib.contextmanager
def started(names: Sequence[str], settings: Settings, options: argparse.Namespace) -> Iterator[dict[str, Process]]:
    """Starts all contenders, two at a time, and stops each once it is built; ends them all afterwards."""
    processes: dict[str, Process] = {}
    try:
        for first in range(0, len(names), 2):
            starting = names[first : first + 2]
            for name in starting:
                processes[name] = _process(name, name, settings, options)
            for name in starting:
                processes[name].wait_until_ready()
                processes[name].pause()
                _say(f"built      {name}")
        yield processes
    finally:
        _end(list(processes.values()))


def hold(processes: dict[str, Process], results: Results, options: argparse.Namespace) -> None:
    """Measures the memory of all contenders, ends all but ours, and watches its memory while it trains."""
    results.memory = {name: process.memory() for name, process in processes.items()}
    ours = processes.get("ours")
    if ours is None:
        return
    _end([process for process in processes.values() if process is not ours])
    began, at = time.monotonic(), []
    try:
        while time.monotonic() - began < 60 * options.memory_minutes or not results.resident:
            results.resident = ours.turn(options.observations)["resident"]
            results.own.append(ours.memory().own)
            at.append(time.monotonic() - began)
            if len(at) % 100 == 0:
                _say(f"memory     {at[-1] / 60:.1f} minutes, {sum(results.own[-1].values()) / MB:,.0f} MB")
    finally:
        results.growth = growth(at, [sum(own.values()) for own in results.own[: len(at)]])


def report(about: dict[str, Any], results: Results, options: argparse.Namespace) -> None:
    """Prints the results and writes the files that were asked for."""
    summary = summarise(results.turns, results.starts)
    settings = settings_of(options, "")
    held = held_bytes(settings)
    lines = [*tables(summary)]
    if results.memory:
        lines += ["", "## Memory", "", *memory_table(results.memory), ""]
    if results.resident:
        lines += explanation(results.resident, held)
    if results.growth:
        lines += [growth_line("all our processes, their own", results.growth), by_process_line(results.own)]
    rows = goal_rows(summary, gpu=about["gpu"], memory=results.memory, held=sum(held.values()), growth=results.growth)
    page = "\n".join([*head(about), "", *lines, "", NOTES, "", "## Goals", "", *goal_table(rows), ""])
    print(page)
    if options.markdown:
        options.markdown.write_text(page, encoding="utf-8")
    if options.json:
        measured = {**dataclasses.asdict(results), "own": by_block(results.own) if results.own else []}
        content = {"about": about, "summary": summary, "goals": rows, **measured}
        parts = (
            f"{json.dumps(key)}: {json.dumps(value, default=dataclasses.asdict)}" for key, value in content.items()
        )
        options.json.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def held_bytes(settings: Settings) -> dict[str, int]:
    """Returns the bytes that training must hold, by purpose."""
    run, device = run_of(settings), choose_device("auto")
    width = 2 if choose_precision("auto", device) == "bfloat16" else FLOAT32_BYTES
    network = layers_of(run, num_actions(settings.game, run.env.protocol))
    on_cpu = device.type == "cpu"
    kernels = on_cpu and width == 2 and native.library() is not None
    return bytes_held(run, network, threads=settings.threads if on_cpu else 1, value_bytes=width, kernels=kernels)


def _end(processes: Sequence[Process]) -> None:
    """Ends processes, also those that have ended already."""
    for process in processes:
        process.ask_to_end()
    for process in processes:
        process.end()


def _process(name: str, folder_name: str, settings: Settings, options: argparse.Namespace) -> Process:
    folder = Path(settings.scratch) / folder_name
    folder.mkdir()
    own = dataclasses.replace(settings, scratch=str(folder))
    environment = environment_of(name, options.peers_omp)
    checkout = options.against if "@" in name else ROOT
    return Process(name, own, environment=environment, timeout_s=options.timeout, checkout=checkout)


def _say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
