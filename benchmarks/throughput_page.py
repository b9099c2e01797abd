"""The benchmark's page in Markdown, which the terminal shows too: command, machine, method and results."""

from __future__ import annotations

import argparse
import datetime
import platform
import shlex
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from benchmarks.peers.settings import Settings
from benchmarks.throughput_results import FEWEST_FOR_INTERVAL, Spread
from rlgns.machine import hardware
from rlgns.machine.commit import source_commit

PACKAGES = ("rlgns", "torch", "ray", "stable-baselines3", "gymnasium", "ale-py", "numpy")
DESCRIPTIONS = {
    "ours": "rlgns, local mode, noise scale measured in every iteration",
    "ours-no-noise": "the same with noise.enabled false",
    "ours-float32": "ours, engine.precision float32",
    "ours-2-runners": "ours with engine.runners 2 on the same cores",
    "ours-learner": "our learner alone on one rollout from memory, again and again",
    "limit": "1 / (1 / environments alone + matrix products of all epochs and of inference): nothing else",
    "sb3-dummy": "PPO CnnPolicy, make_atari_env, DummyVecEnv",
    "sb3-subproc": "the same with SubprocVecEnv",
    "rllib-local": "PPO, new API stack, 0 env runners, frames stacked in the environment",
    "rllib-2-runners": "the same with 2 env runners",
    "rllib-local-connectors": "PPO, 0 env runners, frames stacked in connectors",
    "rllib-2-runners-connectors": "the same with 2 env runners",
    "rllib-local-encoder": "as rllib-local with RLlib's default encoder, which is larger (padded; two hidden layers)",
    "rllib-2-runners-encoder": "the same with 2 env runners",
}

NOTES = """\
## What "RLlib" means here

`rllib-local-encoder` and `rllib-2-runners-encoder` are RLlib as it comes: its own encoder with the same filters and
hidden size. It pads its convolutions and adds a hidden layer, so it computes more. `rllib-local` and `rllib-2-runners`
give RLlib a module of this benchmark with exactly our network, which RLlib users would have to write. The
goal refers to RLlib as it comes; both ratios are above."""


def describe(options: argparse.Namespace, sizes: Settings, words: Sequence[str]) -> dict[str, Any]:
    """Returns command, commit, machine, versions and method, as needed to repeat the run."""
    machine = hardware.detect()
    network = f"preset {sizes.preset}, " + ("Nature CNN, 84x84" if sizes.preset == "ppo" else "its own network")
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", "-m", "benchmarks.throughput", *words]),
        "commit": (source_commit() or "unknown")
        + (f" against {source_commit(options.against) or 'unknown'}" if options.against else ""),
        "machine": f"{machine.describe()}, Python {platform.python_version()}",
        "gpu": machine.gpu,
        "versions": {name: _version(name) for name in PACKAGES},
        "training": (
            f"{options.game}, {network}, stack of 4; {sizes.num_envs} environments x {sizes.rollout_steps} "
            f"steps, {sizes.epochs} epochs x {sizes.minibatches} batches of {sizes.batch_observations}, "
            f"learning rate {sizes.learning_rate:g}; {sizes.threads} torch threads"
        ),
        "method": (
            f"{options.starts} starts; {options.rounds} rounds of all, {max(options.pairs, options.rounds)} of the "
            f"noise scale's pair; turns of at least {options.observations} observations in random order after two "
            f"warm-up turns each (the noise scale's first probe falls into the second); no checkpoints, no W&B; ours "
            f"in the hardware's best precision, peers in float32, their default; OMP_WAIT_POLICY PASSIVE for "
            f"ours, {options.peers_omp} for peers; RLlib's wrapper does not clip rewards"
        ),
    }


def head(about: dict[str, Any]) -> list[str]:
    """Returns the page's first lines; `about` is what `describe` returned, and minutes."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return [
        f"# Throughput against peers, {about['date']}",
        "",
        f"- Command: `{about['command']}` ({about['minutes']} minutes), commit {about['commit']}",
        f"- Machine: {about['machine']}",
        f"- Versions: {versions}",
        f"- Training: {about['training']}",
        f"- Method: {about['method']}",
    ]


def tables(summary: dict[str, Any]) -> list[str]:
    """Returns the results as Markdown."""
    lines = [
        "| contender | observations/s, median | lowest to highest | turns |",
        "| --- | ---: | ---: | ---: |",
    ]
    described = {**DESCRIPTIONS, **{name: "ours of the other checkout" for name in summary["rates"] if "@" in name}}
    for name, rate in sorted(summary["rates"].items(), key=lambda item: list(described).index(item[0])):
        what = f"{name}: {described[name]}"
        lines.append(f"| {what} | {rate.median:.0f} | {rate.low:.0f} to {rate.high:.0f} | {rate.count} |")
    if summary["ratios"] or summary["comparisons"]:
        lines += [
            "",
            "| ours against | ratio, median of paired rounds | lowest to highest | rounds |",
            "| --- | ---: | ---: | ---: |",
        ]
    for peer, settings in summary["ratios"].items():
        for name, ratio in settings.items():
            best = " (its best setting)" if name == summary["settings"][peer] and len(settings) > 1 else ""
            lines.append(_ratio_line(f"{peer}, {name}{best}", ratio))
    lines += [_ratio_line(what, ratio) for what, ratio in summary["comparisons"].items()]
    return [
        *lines,
        "",
        *_against_lines(summary),
        *_noise_lines(summary),
        *_overhead_lines(summary),
        *_limit_lines(summary),
        *_start_lines(summary),
        *_foreign_lines(summary),
    ]


def _ratio_line(what: str, ratio: Spread) -> str:
    return f"| {what} | {ratio.median:.2f} | {ratio.low:.2f} to {ratio.high:.2f} | {ratio.count} |"


def _against_lines(summary: dict[str, Any]) -> list[str]:
    """Says how this checkout compares with another, in time, since that is what a change costs."""
    lines = []
    for what, ratio in summary["comparisons"].items():
        if "@" in what:
            interval = (
                "too few rounds for an interval"
                if ratio.count < FEWEST_FOR_INTERVAL
                else f"95 % interval of the median {100 * (1 / ratio.median_high - 1):+.1f} to "
                f"{100 * (1 / ratio.median_low - 1):+.1f}"
            )
            lines.append(
                f"- Time of this checkout against {what}: median {100 * (1 / ratio.median - 1):+.1f} % ({interval}, "
                f"{ratio.count} paired rounds)."
            )
            if "comparison_cpu_percent" in summary:
                total, low, high = summary["comparison_cpu_percent"]
                lines[-1] += f" Processor time of all together {total:+.1f} % ({low:+.1f} to {high:+.1f})."
    return lines


def _noise_lines(summary: dict[str, Any]) -> list[str]:
    riding: Spread | None = summary.get("noise_riding_percent")
    if riding is None:
        return []
    interval = (
        "too few rounds for an interval"
        if riding.count < FEWEST_FOR_INTERVAL
        else f"95 % interval of the median {riding.median_low:+.1f} to {riding.median_high:+.1f}"
    )
    total, low, high = summary["noise_riding_total_percent"]
    line = (
        f"- Cost of the noise scale (time on / time off - 1): riding along, median {riding.median:+.1f} % ({interval}, "
        f"quartiles {riding.lower_quartile:+.1f} to {riding.upper_quartile:+.1f}, {riding.count} paired rounds without "
        f"a probe), their time together {total:+.1f} % (95 % by resampling the pairs {low:+.1f} to {high:+.1f})."
    )
    if "noise_riding_cpu_percent" in summary:
        total, low, high = summary["noise_riding_cpu_percent"]
        line += f" By processor time {total:+.1f} % ({low:+.1f} to {high:+.1f})."
    if "noise_probe" in summary:
        probe, (total, low, high) = summary["noise_probe"], summary["noise_cost_percent"]
        line += (
            f" A probe takes {probe['seconds']:.2f} s, one in {probe['every']} iterations as `noise.overhead_budget` "
            f"allows: {probe['percent']:+.1f} %. Both together {total:+.1f} % ({low:+.1f} to {high:+.1f})."
        )
    return [line]


def _overhead_lines(summary: dict[str, Any]) -> list[str]:
    if "overhead_ms" not in summary:
        return []
    ms, percent = summary["overhead_ms"], summary["overhead_percent"]
    return [
        f"- RLlib's own overhead (time of algo.train() that is neither sampling nor learning): median {ms.median:.1f} "
        f"ms an iteration (quartiles {ms.lower_quartile:.1f} to {ms.upper_quartile:.1f}), {percent.median:.2f} % "
        f"(quartiles {percent.lower_quartile:.2f} to {percent.upper_quartile:.2f}), {ms.count} iterations."
    ]


def _limit_lines(summary: dict[str, Any]) -> list[str]:
    found = summary.get("details")
    if not found:
        return []
    middle = {key: spread.median for key, spread in found.items()}
    line = (
        f"- The limit, microseconds per observation: environments alone {1e6 / middle['env_rate']:.0f} "
        f"({middle['env_rate']:.0f} observations/s), matrix products of all epochs {1e6 * middle['learn_s']:.0f}, of "
        f"inference {1e6 * middle['inference_s']:.0f}. At the network's shapes the machine does "
        f"{middle['learn_rate'] / 1e9:.0f} x 10^9 operations/s, "
        f"{100 * middle['learn_rate'] / middle['peak_rate']:.0f} % of the {middle['peak_rate'] / 1e9:.0f} x 10^9 of a "
        f"large square product; at that peak the limit would be {middle['peak_limit']:.0f} observations/s"
    )
    if "peak_share" in summary:
        line += f", of which ours is {100 * summary['peak_share'].median:.0f} %"
    return [line + "."]


def _start_lines(summary: dict[str, Any]) -> list[str]:
    lines = []
    for name, seconds in summary["start_s"].items():
        built = summary["built_s"][name].median
        lines.append(
            f"- Start of {name}: {seconds.median:.1f} s from a fresh process to the end of the first iteration "
            f"({seconds.low:.1f} to {seconds.high:.1f}, {seconds.count} starts), {built:.1f} s of it until built."
        )
    return lines


def _foreign_lines(summary: dict[str, Any]) -> list[str]:
    foreign: Spread | None = summary.get("foreign_cores")
    if foreign is None:
        return []
    return [
        f"- Everything else on the machine kept {foreign.median:.2f} cores busy meanwhile (median over turns; highest "
        f"{foreign.high:.2f}). Contenders were stopped (SIGSTOP) outside their turns."
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
