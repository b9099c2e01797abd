"""Builds one row of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlgns.config.calibrations import run_calibrations
from rlgns.config.schema import Config
from rlgns.critical.predicted import critical_batch_entries
from rlgns.engine.progress import Timing, TrainingProgress
from rlgns.envs.games import human_normalised
from rlgns.storage.files import plain


def make_row(
    run: Config,
    *,
    game: str,
    batch_mode: str,
    target_batch: float,
    exchange_rate: float,
    progress: TrainingProgress,
    timing: Timing,
    learner: Mapping[str, Any],
) -> dict[str, Any]:
    """Joins counters, times and the learner's entries into one row; docs/metrics.md has keys and units.

    Args:
        run: The configuration at the number of environments that this iteration used.
        game: ROM name.
        batch_mode: `fixed` or `adaptive`.
        target_batch: Batch that an adaptive run aims at by its noise scale, observations; NaN where not known or fixed.
        exchange_rate: Observations that one optimizer step less is worth; NaN where not known, or the batch is fixed.
        progress: Of the run, this iteration included.
        timing: Of this iteration.
        learner: The learner's entries.
    """
    scores = progress.scores
    score = sum(scores) / len(scores) if scores else math.nan
    calibrations = run_calibrations(algorithm=run.agent.algorithm, epochs=run.agent.epochs)
    row = {
        "game": game,
        "iteration": progress.iteration,
        "observations": progress.observations,
        "frames": progress.observations * run.env.frame_skip,
        "seconds": progress.seconds,
        "batch_observations": run.batch_observations,
        "rollout_observations": run.rollout_observations,
        "batch_mode": batch_mode,
        "num_envs": run.env.num_envs,
        "target_batch_observations": target_batch,
        "score_mean": score,
        "score_episodes": progress.episodes,
        "human_normalised_score": human_normalised(game, score),
        "throughput/observations_per_s": run.rollout_observations / timing.iteration_s,
        "throughput/sample_s": timing.sample_s,
        "throughput/learn_s": timing.learn_s,
        "noise/overhead_fraction": timing.measure_s / timing.iteration_s,
        "exchange_rate": exchange_rate,
        **learner,
        "optimizer_steps": progress.optimizer_steps,
    }
    return plain(row | critical_batch_entries(row, calibrations, run.noise.level))
