"""Noise scale by width of the Atari network, from made-up runs whose noise scale goes as a power of the width."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.evidence_atari_widths import add_widths, atari_width_answer, atari_widths, noise_near, slope

POWER = 0.5


def sweep_of(path: Path, hidden: int, seeds: int = 3) -> Path:
    """Runs of 4 steps a row whose noise scale is hidden^POWER; the score passes 300 and, for all but one, 500."""
    for seed in range(seeds):
        run = path / "runs" / f"qbert-b256-s{seed}"
        run.mkdir(parents=True)
        best = 520 if seed else 450
        rows = [
            {
                "optimizer_steps": 4 * number,
                "observations": 1024 * number,
                "seconds": float(number),
                "iteration": number,
                "batch_observations": 256,
                "num_envs": 8,
                "score_mean": 100 + (best - 100) * number / 600,
                "score_episodes": 100 + number,
                "noise/grad_sq": 1 + 0.1 * math.sin(number),
                "noise/trace": hidden**POWER * (1 + 0.1 * math.cos(number)),
            }
            for number in range(1, 601)
        ]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {"network": {"channels": [hidden // 16], "hidden": hidden}, "run": {"seed": seed}}
        (run / "config.yaml").write_text(yaml.safe_dump({"about": {"game": "qbert"}, "config": settings}))
    (path / "sweep.yaml").write_text("sweep: {seeds: [0]}\nconfig: {}\nabout: {git: abc}\n")
    return path


def test_runs_become_a_table_and_a_slope(tmp_path: Path) -> None:
    add_widths([sweep_of(tmp_path / str(hidden), hidden) for hidden in (512, 128, 256)], tmp_path)
    text = "\n".join(atari_widths(tmp_path))
    assert "| score 300 | 11 (3 of 3) | 16 (3 of 3) | 23 (3 of 3) | 0.50 (0.50 to 0.50) |" in text
    assert "| score 500 | 11 (2 of 3) |" in text and "| step 2,000 | 11 (3 of 3) |" in text
    (answer,) = atari_width_answer(tmp_path)
    assert "score 300 0.50 (0.50 to 0.50); score 500" in answer
    assert atari_widths(tmp_path / "none") == atari_width_answer(tmp_path / "none") == []


def test_a_slope_has_students_interval() -> None:
    rng, hits = np.random.default_rng(3), 0
    hidden = [128.0, 256.0, 512.0] * 3
    for _ in range(400):
        found = slope(hidden, [h**POWER * math.exp(0.3 * rng.normal()) for h in hidden])
        hits += found.low <= POWER <= found.high
    assert 0.93 <= hits / 400 <= 0.97
    assert math.isnan(slope([128.0, 128.0, 128.0], [1.0, 2.0, 3.0]).value)


def test_a_run_that_ended_before_the_step_has_no_value() -> None:
    rows = [{"optimizer_steps": step, "noise/grad_sq": 2.0, "noise/trace": 10.0} for step in range(10, 300, 10)]
    assert noise_near(rows, 200) == pytest.approx(5.0)
    assert math.isnan(noise_near(rows, 300))
    assert math.isnan(noise_near([row | {"noise/grad_sq": -1.0} for row in rows], 200))
