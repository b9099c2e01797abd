"""Several seeds of one configuration: means and bands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rlgns.config.load import resolve, to_dict
from rlgns.report.content import ReportContent
from rlgns.report.document import document, figures
from rlgns.report.run_data import RunData
from rlgns.report.seeds_figures import over_seeds, seed_groups, seeds_figures
from tests.rows import make_row


def run(seed: int, *, game: str = "pong", preset: str = "quick", rows: int = 200) -> RunData:
    config = to_dict(resolve([preset], {"run.seed": seed}))
    found = [make_row(number, game=game, seed=seed) for number in range(1, rows + 1)]
    return RunData(label=f"{game} {seed}", about={"game": game}, config=config, rows=found)


def test_groups_are_runs_that_differ_in_the_seed_alone() -> None:
    runs = [run(0), run(1), run(2), run(0, preset="ppo"), run(0, game="qbert"), run(1, game="qbert")]
    assert [[one.label for one in group] for group in seed_groups(runs)] == [
        ["pong 0", "pong 1", "pong 2"],
        ["qbert 0", "qbert 1"],
    ]
    assert seed_groups([run(0), run(0)]) == []


def test_mean_and_band_are_those_of_the_runs_at_each_observation() -> None:
    """The slow twin interpolates each run by hand; a mean over the wrong axis must fail."""
    runs = [run(seed, rows=100 + 20 * seed) for seed in range(3)]
    grid, values = over_seeds(runs, "score_mean")
    assert (grid[0], grid[-1]) == (4 * 1024, 100 * 1024)  # where all three have a score
    for point in (0, 57, 199):
        for one, value in zip(runs, values[:, point], strict=True):
            rows = [row for row in one.rows if row["score_mean"] is not None]
            after = next(row for row in rows if row["observations"] >= grid[point])
            before = rows[max(0, rows.index(after) - 1)]
            share = (grid[point] - before["observations"]) / max(1, after["observations"] - before["observations"])
            by_hand = before["score_mean"] + share * (after["score_mean"] - before["score_mean"])
            assert value == pytest.approx(after["score_mean"] if before is after else by_hand)
    score, scale = seeds_figures(runs)
    table = np.array(score.table, float)
    assert table[:, 1] == pytest.approx(values.mean(0))
    assert table[:, 2] == pytest.approx(values.min(0)) and table[:, 3] == pytest.approx(values.max(0))
    assert table[0, 1] != pytest.approx(values.mean())
    scales = np.array(scale.table, float)
    assert (scales[:, 2] <= scales[:, 1]).all() and (scales[:, 1] <= scales[:, 3]).all()
    assert "standard error over seeds" in score.sentence


def test_unresolved_noise_scales_are_not_drawn() -> None:
    runs = [run(seed) for seed in range(2)]
    wild = [
        replace(one, rows=[row if row["noise/resolved"] else row | {"noise/scale": 1e9} for row in one.rows])
        for one in runs
    ]
    assert any(not row["noise/resolved"] for row in wild[0].rows)
    table = seeds_figures(wild)[1].table
    assert table == seeds_figures(runs)[1].table
    gap = [
        replace(one, rows=[row | {"noise/resolved": not 30 < number < 60} for number, row in enumerate(one.rows)])
        for one in runs
    ]
    drawn = [row[1] is None for row in seeds_figures(gap)[1].table]
    assert not drawn[-1] and sum(drawn) > 25  # no line runs through it


def test_a_seed_without_a_score_draws_nothing() -> None:
    bare = replace(run(1), rows=[row | {"score_mean": None} for row in run(1).rows])
    assert [figure.name for figure in seeds_figures([run(0), bare])] == ["seeds-1-noise-scale"]
    assert seeds_figures([run(0), replace(run(1), rows=())]) == []


def test_the_page_and_the_files_have_them() -> None:
    content = ReportContent(runs=(run(0), run(1)))
    page = document(content)
    assert "pong: score over 2 seeds" in page and "pong: noise scale over 2 seeds" in page
    assert {"seeds-1-score", "seeds-1-noise-scale"} <= figures(content).keys()
