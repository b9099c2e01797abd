"""Builds one row of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlgns.config.schema import Config
from rlgns.critical.advice import twice_envs, twice_steps
from rlgns.engine.progress import Timing, TrainingProgress
from rlgns.envs.games import human_normalised
from rlgns.storage.files import plain


def make_row(
    run: Config,
    *,
    game: str,
    batch_mode: str,
    target_batch: float,
    progress: TrainingProgress,
    timing: Timing,
    learner: Mapping[str, Any],
) -> dict[str, Any]:
    """Joins counters, times and the learner's entries into one row; docs/metrics.md has keys and units.

    Args:
        run: The configuration at the number of environments that this iteration used.
        game: ROM name.
        batch_mode: `fixed` or `adaptive`.
        target_batch: Batch that an adaptive run aims at by its noise scale, observations; NaN where not known.
        progress: Of the run, this iteration included.
        timing: Of this iteration.
        learner: The learner's entries.
    """
    scores = progress.scores
    score = sum(scores) / len(scores) if scores else math.nan
    scale, low, high = learner["noise/scale"], learner["noise/scale_low"], learner["noise/scale_high"]
    predicted = scale if learner["noise/resolved"] else None
    advice = twice_envs(low, predicted, high, run.batch_observations)
    along_time = {}
    if "noise/twice_steps_noise" in learner:
        longer = twice_steps(low, predicted, high, run.batch_observations, noise=learner["noise/twice_steps_noise"])
        along_time = {
            "advice/twice_steps_step_ratio": longer.step_ratio,
            "advice/twice_steps_observation_ratio": longer.observation_ratio,
        }
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
        "critical_batch/predicted": predicted,
        "critical_batch/low": low,
        "critical_batch/high": high,
        "advice/twice_envs_step_ratio": advice.step_ratio,
        "advice/twice_envs_observation_ratio": advice.observation_ratio,
        **along_time,
        **learner,
        "optimizer_steps": progress.optimizer_steps,
    }
    return plain(row)
