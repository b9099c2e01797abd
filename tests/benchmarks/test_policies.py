"""Tables about calibrated policies, from files as `rlgns calibrate --json` writes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import policies
from tests.rows import make_row

TRUTH = 100.0


def write(folder: Path, scale: float, *, game: str = "pong", high: float | None = 200.0) -> Path:
    """A run whose rows have the noise scale `scale`, and what its checkpoint 20 says: TRUTH, or only its lower end."""
    run = folder / game
    (run / "checkpoints").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [make_row(number) | {"iteration": number} for number in range(1, 37)]
    for row in rows:
        for prefix in ("noise", "noise/at_rollout"):
            row |= {f"{prefix}/grad_sq": 1 + 0.02 * rng.normal(), f"{prefix}/trace": scale + rng.normal()}
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    known = {"noise_scale": TRUTH, "noise_scale_low": 60.0, "noise_scale_high": high}
    over = {"value": 0.8, "low": 0.5, "high": 1.2}
    estimator = {"truth": "at_rollout", "at_rollout": {"noise_scale": over}}
    measured = {
        "checkpoint": str(run / "checkpoints" / "00000020"),
        "game": game,
        "trained_observations": 40_960,
        "along_steps": known,
        "at_rollout": {**known, "noise_scale": 900.0},
        "run": {"along_steps": {"over_truth": over}, "at_rollout": {"over_truth": {**over, "high": None}}},
        "live_sets": {
            "along_steps": {"sets_that_hold_truth": 5, "sets": [{}] * 5},
            "at_rollout": {"sets_that_hold_truth": 7, "sets": [{}] * 8},
        },
        "estimators": {"probe": estimator},
    }
    file = folder / f"{game}.json"
    file.write_text(json.dumps(measured))
    return file


def test_tables_have_both_noise_scales_and_count_what_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path / "a", TRUTH), write(tmp_path / "b", 3 * TRUTH, game="space_invaders")]
    monkeypatch.setattr(sys, "argv", ["policies", *map(str, files)])
    policies.main()
    lines = capsys.readouterr().out.splitlines()
    assert "| Pong, 40,960 | 100 (60 to 200) | 0.8 (0.5 to 1.2) | 900 (60 to 200) | at least 0.5 | 9 |" in lines
    assert "| Pong, 40,960 | 5 of 5 | 7 of 8 | 4 of 4 | 0 of 4 |" in lines, "its rows are at 100, not at 900"
    assert "| Space Invaders, 40,960 | 5 of 5 | 7 of 8 | 0 of 4 | 0 of 4 |" in lines, "its rows are at 300"
    assert "| all, goal 93 % | 10 of 10, met | 14 of 16, not met | 4 of 8, not met | 0 of 8, not met |" in lines
    assert "| probe (as played) | 0.8 (0.5 to 1.2) | 0.8 (0.5 to 1.2) |" in lines


def test_a_truth_with_one_end_needs_an_overlap_alone(tmp_path: Path) -> None:
    above, below = write(tmp_path / "a", 3 * TRUTH, high=None), write(tmp_path / "b", 0.3 * TRUTH, high=None)
    assert policies.Policy.read(above).blocks_that_hold("along_steps") == (4, 4)
    assert policies.Policy.read(below).blocks_that_hold("along_steps") == (0, 4)
