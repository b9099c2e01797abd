"""Compares the score curves of the fast and the plain path of training, seed by seed, without Ray.

    python -m benchmarks.equal_learning --games breakout pong --seeds 3 --markdown docs/results/equal-learning.md

`fast` is what training uses: bfloat16 where the hardware has it, the compiled kernels, packed weights for playing, Adam
shared by threads. `torch` is `fast` without the kernels, the first layer in blocks of pixels; `float32` is `torch` in
float32. `plain` is float32 with the module as torch runs it, on one thread. Environments, seeds, batches and settings
are the same. Each training has about one core. With --keep, trainings whose curves are in that folder are not repeated.
Exit codes: 0 done, 1 a training failed, 2 usage.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from scipy import stats

import rlgns.agents.compute.inference
import rlgns.agents.compute.native
import rlgns.agents.network
from rlgns.agents.compute.precision import choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.network import build_network
from rlgns.agents.update import Updater
from rlgns.config.load import resolve
from rlgns.config.schema import Config
from rlgns.engine.collect import Collectors
from rlgns.envs.vector import num_actions
from rlgns.machine import hardware
from rlgns.machine.commit import source_commit

VARIANTS = ("fast", "torch", "float32", "plain")
"""The last one is the reference."""

OBSERVATIONS = {"breakout": 250_000, "pong": 500_000}
"""Per training, by game: enough to score far above random play."""

WINDOW = 100
"""The score is the mean over so many games."""

LAST = 4
"""The last 1 / LAST of each training is compared."""


def settings(game: str, seed: int) -> Config:
    """Returns `quick` with a first layer whose stride allows blocks, and a constant learning rate."""
    return resolve(
        ["quick"],
        {
            "run.games": [game],
            "run.seed": seed,
            "network.kernels": [8, 4, 3],
            "network.strides": [4, 2, 1],
            "agent.rollout_steps": 32,
            "agent.minibatches": 8,
            "agent.anneal": False,
            "agent.learning_rate": 1e-3,
        },
    )


def train(variant: str, game: str, seed: int, observations: int) -> list[dict[str, float]]:
    """Trains once. Returns the mean score of the last games after every iteration, with the observations so far."""
    prepare_process(1)
    if variant != "fast":
        rlgns.agents.compute.native.library = lambda: None  # type: ignore[assignment]
    if variant == "plain":
        rlgns.agents.compute.inference.can_pack = lambda: False
        rlgns.agents.network.block_of = lambda *_: 1
    run = settings(game, seed)
    device = torch.device("cpu")
    precision = choose_precision("auto", device) if variant in ("fast", "torch") else "float32"
    torch.manual_seed(seed)
    actions = num_actions(game, run.env.protocol)
    network = build_network(
        run.network, num_actions=actions, frame_stack=run.env.frame_stack, image_size=run.env.image_size
    )
    # In every variant two threads play the same games, with one torch thread each.
    collectors = Collectors(game, run, network, team=Team(2), worker_index=0, iteration=0, precision=precision)
    updater = Updater(network, run.agent, groups=1, precision=precision, team=Team(1 if variant == "plain" else 2))
    scores: deque[float] = deque(maxlen=WINDOW)
    rows = []
    for iteration in range(observations // run.rollout_observations):
        played = collectors.play(iteration=iteration, weights_version=iteration)
        updater.update(played.rollouts, learning_rate=run.agent.learning_rate, seed=(seed, iteration))
        scores.extend(episode.score for episode in played.episodes)
        if scores:
            rows.append({"observations": (iteration + 1) * run.rollout_observations, "score": fmean(scores)})
    return rows


def last_score(rows: list[dict[str, float]]) -> float:
    """Mean score over the last part of a training."""
    start = rows[-1]["observations"] * (1 - 1 / LAST)
    return fmean(row["score"] for row in rows if row["observations"] > start)


def table(found: dict[tuple[str, str, int], list[dict[str, float]]], options: argparse.Namespace) -> list[str]:
    """Returns a Markdown table: each variant's scores, and their difference from the last's with Welch's interval."""
    lines = [
        "| game | observations | variant | last score, mean +- sd (by seed) | minus that of the last variant (95 %) |",
        "| --- | ---: | --- | --- | --- |",
    ]
    for game in options.games:
        scores = {v: [last_score(found[v, game, seed]) for seed in range(options.seeds)] for v in options.variants}
        plain = scores[options.variants[-1]]
        for variant, values in scores.items():
            interval = stats.ttest_ind(values, plain, equal_var=False).confidence_interval(0.95)
            text = f"{fmean(values):.2f} +- {stdev(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"
            reference = variant == options.variants[-1]
            difference = (
                ""
                if reference
                else f"{fmean(values) - fmean(plain):+.2f} ({interval.low:+.2f} to {interval.high:+.2f})"
            )
            observations = f"{found[variant, game, 0][-1]['observations']:,.0f}"
            lines.append(f"| {game} | {observations} | {variant} | {text} | {difference} |")
    return lines


def curves(found: dict[tuple[str, str, int], list[dict[str, float]]], options: argparse.Namespace) -> list[str]:
    """Returns the score curves as a table: mean over the seeds at ten points of training."""
    lines = []
    for game in options.games:
        places = np.linspace(0.1, 1, 10) * found[options.variants[0], game, 0][-1]["observations"]
        lines += ["", f"Mean score of the last {WINDOW} games in {game} over the seeds, by observations:", ""]
        lines += ["| | " + " | ".join(f"{place:,.0f}" for place in places) + " |", "| --- " + "| ---: " * 10 + "|"]
        for variant in options.variants:
            at = [
                np.interp(places, [row["observations"] for row in rows], [row["score"] for row in rows])
                for rows in (found[variant, game, seed] for seed in range(options.seeds))
            ]
            lines.append(f"| {variant} | " + " | ".join(f"{value:.2f}" for value in np.mean(at, axis=0)) + " |")
    return lines


def main() -> int:
    """Runs all trainings, two at a time, and prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=list(OBSERVATIONS), default=list(OBSERVATIONS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["fast", "plain"])
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the curves of single trainings")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each variant (%(default)s)")
    parser.add_argument("--observations", type=int, help="per training (by game: %(default)s)")
    parser.add_argument("--parallel", type=int, default=hardware.usable_cores(), help="trainings at once")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page")
    parser.add_argument("--worker", nargs=3, metavar=("VARIANT", "GAME", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error(f"--seeds must be at least 2, got {options.seeds}")
    rollout = settings(options.games[0], 0).rollout_observations
    if options.observations is not None and options.observations < rollout:
        parser.error(f"--observations must be at least {rollout}, one iteration, got {options.observations}")
    if options.worker:
        variant, game, seed = options.worker
        print(json.dumps(train(variant, game, int(seed), options.observations or OBSERVATIONS[game])))
        return 0

    def work(job: tuple[str, str, int]) -> list[dict[str, float]]:
        observations = options.observations or OBSERVATIONS[job[1]]
        kept = options.keep / f"{'-'.join(map(str, job))}-{observations}.json" if options.keep else None
        rows: list[dict[str, float]]
        if kept and kept.is_file() and (rows := json.loads(kept.read_text())):
            return rows
        words = [sys.executable, "-m", "benchmarks.equal_learning", "--worker", *map(str, job)]
        words += ["--observations", str(observations)]
        rows = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
        if not rows:
            raise SystemExit(
                f"{job[1]}, {job[0]}, seed {job[2]}: no game ended within {observations:,} observations; "
                "raise --observations"
            )
        if kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(rows))
        print(f"{job[1]}, {job[0]}, seed {job[2]}: {last_score(rows):.2f}", file=sys.stderr, flush=True)
        return rows

    jobs = [
        (variant, game, seed) for game in options.games for seed in range(options.seeds) for variant in options.variants
    ]
    with ThreadPoolExecutor(options.parallel) as pool:
        try:
            found: dict[tuple[str, str, int], list[dict[str, float]]] = dict(
                zip(jobs, pool.map(work, jobs), strict=True)
            )
        except subprocess.CalledProcessError as failure:
            print(failure.stderr.decode(errors="replace"), file=sys.stderr)
            return 1
        finally:
            pool.shutdown(cancel_futures=True)
    commit: Any = source_commit()
    page = [
        "# Equal learning: the fast path against the plain one",
        "",
        f"- Command: `python -m benchmarks.equal_learning {shlex.join(sys.argv[1:])}`, commit {commit}",
        f"- Machine: {hardware.detect().describe()}",
        f"- Scores: mean of the last {WINDOW} games, averaged over the last quarter of a training; mean +- standard "
        "deviation over seeds; difference with Welch's interval",
        "",
        *table(found, options),
        *curves(found, options),
        "",
    ]
    print("\n".join(page))
    if options.markdown:
        options.markdown.write_text("\n".join(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
