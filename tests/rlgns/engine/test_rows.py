"""A row's two critical batches: the run's from the calibration of run averages, the moment's from its own."""

from __future__ import annotations

import dataclasses

import pytest

from rlgns.config.calibrations import run_calibrations
from rlgns.engine.progress import Timing, TrainingProgress
from rlgns.engine.rows import make_row
from tests.rlgns.engine.tiny import tiny

SCALE = (2000.0, 1500.0, 2600.0)


def test_each_noise_scale_has_its_own_calibration() -> None:
    """Under PPO the smoothed scale is another definition than the run average, so its interval is wider."""
    ends = dict(zip(("", "_low", "_high"), SCALE, strict=True))
    learner = {f"noise/{name}{end}": value for name in ("now", "run_average") for end, value in ends.items()}
    run = dataclasses.replace(tiny(), agent=dataclasses.replace(tiny().agent, epochs=4))
    row = make_row(
        run,
        game="pong",
        batch_mode="fixed",
        target_batch=1.0,
        exchange_rate=1.0,
        progress=TrainingProgress(num_envs=4),
        timing=Timing(iteration_s=1.0, sample_s=0.5, learn_s=0.5, measure_s=0.0),
        learner=learner | {"noise/resolved": True, "noise/run_average_resolved": True},
    )
    both = run_calibrations(algorithm="ppo", epochs=run.agent.epochs)
    for calibration, keys in ((both.average, ("predicted", "low", "high")), (both.now, ("now", "now_low", "now_high"))):
        found = calibration.predict(*SCALE)
        assert [row[f"critical_batch/{key}"] for key in keys] == pytest.approx([found.value, found.low, found.high])
    assert row["critical_batch/now_high"] > row["critical_batch/high"]
