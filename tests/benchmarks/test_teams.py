"""Teams: the game's rules, the arithmetic of the page on made-up runs, and a rehearsal."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import teams_page
from benchmarks.teams_page import RESULTS, by_size, exponent, growth, mean_of, page, read_tables, readings


def test_the_page_is_that_of_its_table() -> None:
    rows = read_tables([RESULTS / "teams.csv"])
    assert (RESULTS / "teams.md").read_text() == page(rows), "run python -m benchmarks.teams DIR --add"


def made_up(power: float, sizes: tuple[int, ...] = (1, 2, 4), seeds: int = 4, spread: float = 0.1) -> list[dict]:
    """Rows whose noise scale at the second, where the score is enough for all levels, is 100 players^power."""
    rng = np.random.default_rng(5)
    rows = []
    for players in sizes:
        for seed in range(seeds):
            noise = 100 * players**power * math.exp(spread * rng.standard_normal())
            for score, value in ((0.1, 1.0), (0.9, noise), (0.9, 1e9)):
                numbers = dict.fromkeys(teams_page.Reading.__dataclass_fields__, value)
                moments = {"grad_sq": 1.0, "trace": value, "batch_observations": 512.0}
                rows.append(numbers | moments | {"players": players, "seed": seed, "score": score})
    return rows


def test_a_run_is_read_where_it_first_has_the_score() -> None:
    found = readings(made_up(1.0, spread=0.0), 0.8)
    assert [reading.run_average for reading in found] == pytest.approx([100] * 4 + [200] * 4 + [400] * 4)
    assert readings(made_up(1.0), 0.95) == []


def test_growth_is_the_largest_team_over_the_smallest() -> None:
    logs = by_size(readings(made_up(1.0), 0.8))
    factor, slope, middle = growth(logs), exponent(logs), mean_of(logs, 2)
    assert factor.low < 4 < factor.high and factor.high / factor.low < 2
    assert slope.low < 1 < slope.high and slope.high - slope.low < 0.4
    assert middle.low < 200 < middle.high
    none = growth(by_size(readings(made_up(0.0), 0.8)))
    assert none.low < 1 < none.high


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 2,000 draws of 4 sizes and 3 seeds; the twin that must fail takes the normal's 1.96."""
    rng, held, twin = np.random.default_rng(11), np.zeros(2), 0
    for _ in range(2000):
        logs = {players: list(math.log(players) + 0.4 * rng.standard_normal(3)) for players in (1, 2, 3, 4)}
        factor, slope = growth(logs), exponent(logs)
        held += [factor.low < 4 < factor.high, slope.low < 1 < slope.high]
        two = {players: logs[players][:2] for players in (1, 4)}
        half = math.log(growth(two).high / growth(two).value) / 4.303 * 1.96
        twin += abs(math.log(growth(two).value / 4)) < half
    assert (held / 2000 > 0.935).all() and (held / 2000 < 0.965).all()
    assert twin / 2000 < 0.9


def test_a_run_without_an_upper_end_is_left_out_of_the_mean() -> None:
    rows = made_up(0.0, spread=0.0)
    rows[1]["run_average_high"] = math.nan
    assert len(by_size(readings(rows, 0.8))[1]) == 3
    assert "at least 100" in "\n".join(teams_page.table_of_levels(rows))


def test_moments_of_all_runs_are_pooled_up_to_the_score_each_measurement_once() -> None:
    rows = []
    for seed, grad_sq in ((0, 3.0), (1, -1.0)):  # the second run alone resolves nothing
        for score, value, trace in ((0.1, 1.0, 100.0), (0.2, grad_sq, 200.0), (0.3, grad_sq, 200.0), (0.9, 1.0, 100.0)):
            numbers = {"players": 2, "seed": seed, "score": score, "grad_sq": value, "trace": trace}
            rows.append(numbers | {"batch_observations": 1e9})
        rows.append(rows[-1] | {"grad_sq": 1e6})
    (average,) = teams_page.pooled(rows, 0.8).values()
    # the first only sets the size; then moments are over the mean |G|^2 of the rows before
    sizes = (1.0, 2.0, 5 / 3, 6 / 4, 5 / 5)
    used = zip((3.0, 1.0, 1.0, -1.0, 1.0), (200.0, 100.0, 100.0, 200.0, 100.0), sizes, strict=True)
    grad_sq, trace = np.sum([(g / size, t / size) for g, t, size in used], axis=0)
    assert average.value == pytest.approx(trace / grad_sq, rel=1e-6)


def foraging(players: int) -> object:
    pytest.importorskip("lbforaging", reason="needs the extra bench")
    pytest.importorskip("ray.rllib", reason="needs RLlib")
    from benchmarks.teams_game import Foraging

    return Foraging({"players": players})


def test_food_takes_two_players_at_the_same_time_and_pays_all() -> None:
    game = foraging(3)
    game.reset(seed=0)
    inner = game._game
    inner.field[:] = 0
    inner.field[2, 2] = 2
    inner._food_spawned = 2
    for player, place in zip(inner.players, ((1, 2), (2, 1), (4, 4)), strict=True):
        player.position = place
    inner._gen_valid_moves()
    wait, load = 0, 5
    first, second, third = game.agents
    _, paid, over, _, _ = game.step({first: load, second: wait, third: wait})
    assert set(paid.values()) == {0.0} and not over["__all__"]
    _, paid, over, _, _ = game.step({first: load, second: load, third: wait})
    assert paid == {first: 1.0, second: 1.0, third: 1.0} and over["__all__"]


@pytest.mark.parametrize("players", [1, 2, 3, 4])
def test_every_size_has_one_observation_space_and_scores_up_to_one(players: int) -> None:
    game = foraging(players)
    rng = np.random.default_rng(players)
    best = 0.0
    for seed in range(30):
        seen, _ = game.reset(seed=seed)
        score, over, steps = 0.0, False, 0
        while not over:
            for observation in seen.values():
                assert observation.shape == (19,) and game.observation_spaces[game.agents[0]].contains(observation)
                assert (observation[6 + 3 * players : 18].reshape(-1, 3) == np.float32([-0.2, -0.2, 0])).all()
            seen, paid, ends, _, _ = game.step({agent: int(rng.integers(6)) for agent in game.agents})
            assert len(set(paid.values())) == 1
            score, over, steps = score + paid[game.agents[0]], ends["__all__"], steps + 1
        assert score <= 1 + 1e-6 and steps <= 25
        best = max(best, score)
    assert best >= 0.5


def test_a_rehearsal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foraging(2)
    from benchmarks import teams

    words = [str(tmp_path), "--sizes", "2", "--seeds", "0", "--most-steps", "3000"]
    assert teams.main(words) == 0
    (path,) = tmp_path.glob("*.csv")
    made = path.stat().st_mtime_ns
    rows = list(csv.DictReader(path.open()))
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3]
    assert int(rows[-1]["game_steps"]) >= 3000 and float(rows[-1]["trace"]) > 0
    assert teams.main(words) == 0 and path.stat().st_mtime_ns == made, "a finished run is kept"
    assert "| 0.8 | 2 | 0 of 1 |" in capsys.readouterr().out
