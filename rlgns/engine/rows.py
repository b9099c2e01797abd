"""Builds one row of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlgns.config.schema import Config
from rlgns.critical.advice import twice_envs, twice_steps
from rlgns.envs.games import human_normalised
from rlgns.storage.files import plain


def make_row(
    run: Config,
    *,
    batch_mode: str,
    target_batch: float,
    game: str,
    iteration: int,
    observations: int,
    optimizer_steps: int,
    seconds: float,
    iteration_s: float,
    sample_s: float,
    learn_s: float,
    measure_s: float,
    scores: Sequence[float],
    episodes: int,
    learner: Mapping[str, Any],
) -> dict[str, Any]:
    """Joins what the loop counted, the clock said and the learner measured; keys and units in docs/metrics.md.

    Args:
        run: The configuration at the number of environments in use.
        batch_mode: `fixed` or `adaptive`.
        target_batch: What the noise scale asks an adaptive batch for, observations; NaN: not known.
        game: ROM name.
        iteration: Iterations done, this one included.
        observations: Observations so far.
        optimizer_steps: Optimizer steps so far.
        seconds: Wall-clock time in training so far.
        iteration_s: Of this iteration, as are sample_s, learn_s (with measuring) and measure_s.
        sample_s: Playing.
        learn_s: Learning.
        measure_s: The measurement's own arithmetic and the probe, within learning.
        scores: The last full games' scores, at most 100.
        episodes: Full games ended so far.
        learner: The learner's entries.
    """
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
        "iteration": iteration,
        "observations": observations,
        "frames": observations * run.env.frame_skip,
        "seconds": seconds,
        "batch_observations": run.batch_observations,
        "rollout_observations": run.rollout_observations,
        "batch_mode": batch_mode,
        "num_envs": run.env.num_envs,
        "target_batch_observations": target_batch,
        "score_mean": score,
        "score_episodes": episodes,
        "human_normalised_score": human_normalised(game, score),
        "throughput/observations_per_s": run.rollout_observations / iteration_s,
        "throughput/sample_s": sample_s,
        "throughput/learn_s": learn_s,
        "noise/overhead_fraction": measure_s / iteration_s,
        "critical_batch/predicted": predicted,
        "critical_batch/low": low,
        "critical_batch/high": high,
        "advice/twice_envs_step_ratio": advice.step_ratio,
        "advice/twice_envs_observation_ratio": advice.observation_ratio,
        **along_time,
        **learner,
        "optimizer_steps": optimizer_steps,
    }
    return plain(row)
