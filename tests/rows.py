"""Synthetic rows of metrics.jsonl: a run with a known course, for tests of displays and reports."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from rlgns.metrics.registry import KEYS, REQUIRED
from rlgns.storage.run_folder import RunFolder

EXAMPLES: dict[type, Any] = {str: "any", bool: True, int: 1, float: 0.5, list: []}


def make_row(iteration: int, *, of: int = 200, game: str = "pong", batch: int = 256, seed: int = 0) -> dict[str, Any]:
    """Returns one plausible row: nothing known at first, then a lower bound, then a narrowing interval; scores rise."""
    draw = random.Random(1000 * seed + iteration)
    done = iteration / of
    scale = 150 * 12**done * math.exp(draw.gauss(0, 0.05))
    width = 0.15 + 1.5 / math.sqrt(iteration)
    resolved = iteration > of // 10
    measured = iteration > 2
    grad_sq = 1e-3 * 20**-done
    trace = scale * grad_sq
    ladder = [
        {"batch_observations": size, "grad_sq_norm": (grad_sq + trace / size) * math.exp(draw.gauss(0, 0.1))}
        for size in (batch // 8, batch // 4, batch // 2, batch)
    ]
    low = scale * math.exp(-width) if measured else None
    any_value = {name: EXAMPLES[KEYS[name].kind] for name in REQUIRED}  # for keys that no display needs by name
    return any_value | {
        "game": game,
        "iteration": iteration,
        "observations": iteration * 4 * batch,
        "frames": iteration * 16 * batch,
        "optimizer_steps": iteration * 16,
        "seconds": 3.2 * iteration,
        "batch_observations": batch,
        "rollout_observations": 4 * batch,
        "learning_rate": 2.5e-4 * (1 - done),
        "score_mean": -21 + 30 / (1 + math.exp(6 - 10 * done)) + draw.gauss(0, 0.2) if iteration > 3 else None,
        "score_episodes": iteration,
        "human_normalised_score": 0.9 * done if iteration > 3 else None,
        "loss/policy": draw.gauss(0, 0.01),
        "loss/value": 0.5,
        "entropy": 1.79 * (1 - done / 2),
        "approx_kl": 0.01,
        "clip_fraction": 0.1,
        "explained_variance": done,
        "grad_norm": 0.5,
        "throughput/observations_per_s": 4 * batch / 3.2,
        "throughput/sample_s": 1.3,
        "throughput/learn_s": 1.8,
        "noise/overhead_fraction": 0.012,
        "noise/grad_sq": grad_sq,
        "noise/trace": trace,
        "noise/scale": scale if resolved else None,
        "noise/scale_low": low,
        "noise/scale_high": scale * math.exp(width) if resolved else None,
        "noise/resolved": resolved,
        "noise/updates": 4 * iteration,
        "noise/skipped": 0,
        "noise/design_effect": 4.2 if measured else None,
        "noise/ladder": ladder,
        "num_envs": batch // 8,
        "noise/run_average": 0.7 * scale,
        "noise/run_average_low": 0.7 * low if low else None,
        "noise/run_average_high": 0.7 * scale * math.exp(width) if resolved else None,
        "noise/run_average_resolved": resolved,
        "noise/run_average_share": min(1.0, 0.5 / done),
        "noise/run_average_learning_rate": 2.5e-4 * (1 - min(done, 0.5) / 2),
        "noise/run_average_missing": 0.0 if resolved else 0.8 if measured else None,
        "critical_batch/calibration": "calibrated on A2C",
        "critical_batch/predicted": 0.5 * scale if resolved else None,
        "critical_batch/low": low / 4 if low else None,
        "critical_batch/high": scale * math.exp(width) if resolved else None,
        "critical_batch/now": 0.6 * scale if resolved else None,
        "critical_batch/now_low": low / 3 if low else None,
        "critical_batch/now_high": 1.2 * scale * math.exp(width) if resolved else None,
        "advice/twice_envs_step_ratio": 0.6 if resolved else None,
        "advice/twice_envs_observation_ratio": 1.2 if resolved else None,
    }


def make_probed_row(iteration: int, **more: Any) -> dict[str, Any]:
    """Returns the row of an iteration with a probe: by loss, by layer, along time; and with moments by step."""
    row = make_row(iteration, **more)
    for view, factor in (("policy", 0.4), ("value", 2.5), ("preconditioned", 1.3)):
        for end in ("", "_low", "_high"):
            whole = row[f"noise/scale{end}"]
            row[f"noise/{view}/scale{end}"] = None if whole is None else factor * whole
        row[f"noise/{view}/resolved"] = row["noise/resolved"]
        row[f"noise/{view}/dimension"] = 150.0
    row["noise/resolves_first"] = "policy"
    row["noise/by_step"] = [{"step": s, "grad_sq": g, "trace": 110.0} for s, g in ((0, 0.012), (1, 0.09), (2, 0.28))]
    layers = (("conv1", 0.1, 800.0), ("hidden", 0.8, 1200.0), ("policy", 0.05, None), ("value", 0.3, 4000.0))
    row["noise/layers"] = [{"layer": n, "grad_sq": 1e-4, "trace": t, "scale": s} for n, t, s in layers]
    row["noise/time_ladder"] = [{"steps": s, "trace": s * v} for s, v in ((32, 0.4), (64, 0.23), (128, 0.15))]
    row |= {"noise/twice_steps_noise": 0.73, "noise/twice_steps_noise_low": 0.6, "noise/twice_steps_noise_high": 0.9}
    return row


def noise_share(value: float, low: float, high: float) -> dict[str, float]:
    """Returns the entries of the value's share of the noise, with its interval."""
    ends = {"": value, "_low": low, "_high": high}
    return {f"noise/by_loss/value/noise_share{end}": number for end, number in ends.items()}


def make_null_row(iteration: int = 1) -> dict[str, Any]:
    """Returns a row in which every nullable value is null."""
    row = make_row(iteration)
    return {name: None if KEYS[name].nullable else row[name] for name in REQUIRED} | {
        "noise/resolved": False,
        "noise/ladder": [],
        "critical_batch/calibration": "calibrated on A2C",
        "noise/run_average_resolved": False,
    }


def make_run(path: Path, rows: list[dict[str, Any]], *, game: str = "pong", seed: int = 0) -> RunFolder:
    """Creates a run's folder with these rows."""
    folder = RunFolder(path)
    about = {
        "game": game,
        "wandb_id": "abc123",
        "created": "2026-01-02 03:04:05",
        "preset": "quick",
        "protocol": "baselines: no sticky actions, up to 30 no-ops, a lost life ends the return, raw score",
        "versions": {"rlgns": "0.1.0", "torch": "2.13.0", "ray": "2.60.0"},
        "hardware": {"cpu": "Some CPU </script> & co", "cores": 2, "gpu": None},
    }
    folder.create({"run": {"seed": seed}, "env": {"protocol": "baselines"}}, about)
    for row in rows:
        folder.append(row)
    return folder
