"""The coverage benchmark runs and prints its table."""

from __future__ import annotations

import numpy as np

from benchmarks.pareto_coverage import BENDS, Cell, critical_batch, draw_sweep, grid, measure, table


def test_a_line_of_the_table() -> None:
    cell = Cell(sizes=5, noise=0.05, seeds=3, failed=True)
    result = measure(cell, 10)
    assert result.identified == 1 and result.outliers == 1 and result.covered >= 0.7
    assert "| 3 | one | middle |" in table({cell: result})
    assert measure(cell, 10).error == result.error


def test_the_grid_and_its_truths() -> None:
    assert len(grid()) == 144 and len(set(grid((1,)))) == 72
    batch, steps = draw_sweep(Cell(seeds=3), np.random.default_rng(0))
    assert len(batch) == len(steps) == 24
    low, high = batch.min(), batch.max()
    middle, edge, beyond, below = (critical_batch(Cell(bend=bend)) for bend in BENDS)
    assert below < low < middle < edge < high < beyond
