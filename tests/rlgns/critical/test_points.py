"""Points: what a row may hold, the best learning rate of each, the noise scale beside each fit."""

from __future__ import annotations

import math

import pytest

from rlgns.critical.points import Point, average_noise_scale, best_points, check_columns, fit_points, parse_point

CELLS = {
    "game": "pong",
    "goal_score": "-19",
    "batch_observations": "40",
    "optimizer_steps": "1000",
    "observations": "10000",
}


def point(batch: float, steps: float, **more: object) -> Point:
    values = {"game": "pong", "goal_score": 0.0, "observations": steps * batch / 4, **more}
    return Point(batch_observations=batch, optimizer_steps=steps, **values)  # type: ignore[arg-type]


def test_a_row_becomes_a_point() -> None:
    full = parse_point({**CELLS, "learning_rate": "1e-3", "seed": "0", "run": " a ", "noise_scale_high": "inf"})
    assert (full.goal_score, full.learning_rate, full.seed, full.run) == (-19, 1e-3, 0, "a")
    assert full.noise_scale_high is None and full.noise_scale is None
    for steps in ("", "nan", "inf"):
        assert math.isinf(parse_point({**CELLS, "optimizer_steps": steps, "observations": ""}).optimizer_steps)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"batch_observations": "0"}, "batch_observations must be positive, got '0'"),
        ({"optimizer_steps": "-3"}, "optimizer_steps must be positive, got '-3'"),
        ({"optimizer_steps": "many"}, "optimizer_steps must be a number, got 'many'"),
        ({"optimizer_steps": "-inf"}, "optimizer_steps must be a finite number, got '-inf'"),
        ({"goal_score": ""}, "goal_score is empty"),
        ({"game": " "}, "game is empty"),
        ({"seed": "-1"}, "seed must be zero or positive"),
    ],
)
def test_bad_cells(cells: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_point({**CELLS, **cells})


def test_a_missing_column_fails_with_the_nearest_name() -> None:
    check_columns([*CELLS, "other"])
    with pytest.raises(ValueError, match=r"no column 'optimizer_steps' \(is it optimiser_steps\?\)"):
        check_columns(["game", "goal_score", "batch_observations", "optimiser_steps", "observations"])


def test_the_best_learning_rate_per_batch_and_seed() -> None:
    points = [
        point(80, 500, learning_rate=0.1),
        point(40, math.inf, learning_rate=0.1, seed=0),
        point(40, 900, learning_rate=0.2, seed=0),
        point(40, 950, learning_rate=0.3, seed=0),
        point(40, 1100, learning_rate=0.2, seed=1),
    ]
    assert [(p.batch_observations, p.optimizer_steps) for p in best_points(points)] == [
        (40, 900),
        (40, 1100),
        (80, 500),
    ]


def test_goals_are_fitted_apart_and_reuse_is_found() -> None:
    points = [
        point(b, 1000 * (1 + critical / b), goal_score=goal)
        for goal, critical in ((0.0, 300), (19.0, 900))
        for b in (40, 80, 160, 320, 640, 1280, 2560)
    ]
    first, second = fit_points(points)
    assert (first.goal_score, second.goal_score) == (0, 19)
    assert first.fit.critical_batch == pytest.approx(300, rel=1e-5)
    assert second.fit.critical_batch == pytest.approx(900, rel=1e-5)
    assert first.reuse == 4  # Four epochs: every observation is in four steps.
    assert first.min_observations == pytest.approx(1000 * 300 / 4, rel=1e-5)


def scaled(low: float | None, mid: float | None, high: float | None) -> Point:
    return point(40, 900, noise_scale_low=low, noise_scale=mid, noise_scale_high=high)


def test_average_noise_scale() -> None:
    assert all(map(math.isnan, average_noise_scale([point(40, 900)])[:2]))
    assert average_noise_scale([scaled(300, 400, 500)]) == pytest.approx((400, 300, 500))
    assert average_noise_scale([scaled(300, 400, 500), scaled(80, 100, 120)]) == pytest.approx((200, 80, 500))
    mid, low, high = average_noise_scale([scaled(1, x, 1e6) for x in (100, 200, 400)])
    assert mid == pytest.approx(200) and low == pytest.approx(
        200 / math.exp(4.303 * math.log(2) / math.sqrt(3)), rel=0.01
    )
    assert high == pytest.approx(200**2 / low)
    mid, low, high = average_noise_scale([scaled(300, 400, 500), scaled(900, None, None), scaled(700, 5000, None)])
    assert math.isnan(mid) and (low, high) == (700, math.inf)
    assert all(map(math.isnan, average_noise_scale([point(40, math.inf, noise_scale=3.0, noise_scale_high=4.0)])[:2]))
