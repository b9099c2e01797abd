"""Interquartile mean and performance profiles over games."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.critical.scores import iqm, performance_profile
from tests.reference.critical import slow_iqm

scores = st.dictionaries(
    st.sampled_from(["pong", "qbert", "alien", "seaquest"]),
    st.lists(st.floats(-5, 50), min_size=1, max_size=5),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(scores)
def test_iqm_is_the_trimmed_mean(runs: dict[str, list[float]]) -> None:
    estimate = iqm(runs, resamples=20)
    assert estimate.value == pytest.approx(slow_iqm(runs), abs=1e-9)
    assert np.isnan(estimate.low) == all(len(of_game) == 1 for of_game in runs.values())


def test_one_far_game_does_not_move_it() -> None:
    runs = {f"game{i}": [0.1 * i] * 3 for i in range(8)}
    assert iqm({**runs, "game7": [1e6] * 3}).value == pytest.approx(iqm(runs).value)


def test_the_interval_covers_and_is_stratified() -> None:
    """200 sets of 8 games x 5 seeds of known spread; games far apart do not widen it, as they would unstratified."""
    rng = np.random.default_rng(0)
    centres = np.linspace(0, 10, 8)
    truth = iqm({str(c): rng.normal(c, 0.2, 4000).tolist() for c in centres}, resamples=1).value
    estimates = [iqm({str(c): rng.normal(c, 0.2, 5).tolist() for c in centres}, resamples=300) for _ in range(200)]
    assert np.mean([e.low <= truth <= e.high for e in estimates]) > 0.82  # Percentiles over 5 seeds fall short of 95 %.
    assert np.mean([e.high - e.low for e in estimates]) < 0.3
    assert iqm({"a": [1.0, 2.0]}) == iqm({"a": [1.0, 2.0]})


def test_profile() -> None:
    profile = performance_profile({"a": [0.0, 1.0], "b": [2.0]}, [-1.0, 0.0, 1.0, 2.0])
    assert profile.share == (1, 0.75, 0.5, 0)  # More than the threshold; games weigh alike.
    assert all(low <= mid <= high for low, mid, high in zip(profile.low, profile.share, profile.high, strict=True))
    everywhere = performance_profile({"a": [0.5, 1.0, 3.0]})
    assert len(everywhere.thresholds) == 101 and everywhere.share[-1] == 0


@pytest.mark.parametrize("runs", [{}, {"a": []}, {"a": [1.0], "b": [float("nan")]}])
def test_bad_scores(runs: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        iqm(runs)
