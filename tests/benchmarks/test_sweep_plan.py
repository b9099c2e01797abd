"""The simulated plan of pong-quick."""

from __future__ import annotations

from benchmarks.sweep_plan import BATCH_PER_ENVIRONMENT, EPOCHS, Plan, measure
from rlgns.sweep.load import resolve_sweep


def test_the_shipped_grid_is_the_one_that_was_planned() -> None:
    sweep = resolve_sweep("pong-quick", {})
    assert sweep.settings.batches == tuple(64 << place for place in range(7)) and len(sweep.settings.seeds) == 2
    assert sweep.base.run.observations == 6_000_000
    assert all(config.env.num_envs * BATCH_PER_ENVIRONMENT == batch for batch, config in sweep.configs.items())
    assert sweep.base.agent.epochs == EPOCHS


def test_three_batches_do_not_identify_the_bend_and_seven_do() -> None:
    old = measure(Plan(batches=(64, 256, 1024), seeds=1, budget=1e6), 0, 800.0, 20)
    new = measure(Plan(batches=tuple(64 << place for place in range(7)), seeds=2, budget=6e6), 0, 800.0, 20)
    assert old.identified == 0 and new.identified > 0.8 and new.covered > 0.8
