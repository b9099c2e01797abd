"""What a row says beside the learner's entries."""

from __future__ import annotations

import pytest

from rlgns.config.schema import Config
from rlgns.engine.progress import Timing, TrainingProgress
from rlgns.engine.rows import make_row
from tests import rows as synthetic


@pytest.mark.parametrize(("mode", "expected"), [("fixed", (None, None)), ("adaptive", (300.0, 90.0))])
def test_keys_of_the_adaptive_batch_are_null_where_it_is_fixed(
    mode: str, expected: tuple[float | None, float | None]
) -> None:
    row = make_row(
        Config(),
        game="pong",
        batch_mode=mode,
        target_batch=300.0,
        exchange_rate=90.0,
        progress=TrainingProgress(num_envs=8),
        timing=Timing(iteration_s=2.0, sample_s=1.0, learn_s=1.0, measure_s=0.01),
        learner=synthetic.make_row(150),
    )
    assert (row["target_batch_observations"], row["exchange_rate"]) == expected
