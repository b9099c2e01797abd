"""`rlgns calibrate` on a checkpoint of a real, tiny run."""

import math
from pathlib import Path

import pytest

from rlgns.calibrate import SETS, calibrate
from rlgns.errors import UserError
from tests.rlgns.engine.tiny import build, tiny


def test_measures_a_checkpoint_twice(tmp_path: Path, local_ray: None) -> None:
    algorithm = build(tiny(), tmp_path)
    algorithm.train()
    algorithm.stop()
    result = calibrate(tmp_path, observations=16 * 32)
    assert result.truth.observations == 16 * 32
    assert result.truth.environments == 4 * SETS
    assert result.estimate_observations == 16 * 32
    # 16 rollouts of 2 batches; the first batch has no size to compare with, and every second rollout has one shuffled.
    assert result.estimate.updates == 16 * 2 - 1 - 8
    assert math.isfinite(result.truth.trace_error)
    text = result.describe()
    assert "brute force" in text
    assert ("inside this interval" in text) == result.agrees


def test_refuses_no_observations(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--observations must be positive, got 0"):
        calibrate(tmp_path, observations=0)
