"""The noise scale now on small runs of the benchmark's simulation: it covers, and the fixed horizon does not."""

from __future__ import annotations

import pytest

from benchmarks.horizon import READ_AT, cell, table

RUNS = 40
"""Per truth, fixed before looking: with coverage 95 %, 34 or fewer of 40 come up once in 70."""


@pytest.mark.parametrize("truth", ["constant", "tenfold", "pong", "jump up"])
def test_the_interval_of_now_covers_and_that_of_the_fixed_horizon_does_not(truth: str) -> None:
    reads = {read.at: read for read in cell(60_000, truth, (2, 200), RUNS)}
    assert list(reads) == list(READ_AT)
    late = [reads[0.5], reads[1.0]]
    assert all(read.covered > 34 / RUNS for read in late)
    if truth == "constant":
        assert all(read.width < 1.75 and read.mean_width < read.width and read.twin_covered > 0.8 for read in late)
    else:
        assert reads[1.0].twin_covered < 0.2
        assert reads[1.0].horizon < 0.2
    assert table(list(reads.values())).count("\n") == 2
