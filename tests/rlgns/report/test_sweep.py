"""The report of sweeps and tables of points: sections, sentences and numbers, for any outcome."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rlgns.commands import cli
from rlgns.critical.points import fit_points
from rlgns.errors import UserError
from rlgns.fit.paper import paper_goals
from rlgns.fit.points_file import read_points
from rlgns.report import report_data, write_report
from rlgns.report.against_score_figure import against_score_figure
from rlgns.report.pareto_figures import pareto_figure, speed_up_figure
from rlgns.report.planner import planner_goals
from rlgns.report.sweep_data import GameData, SweepData, make_games
from tests.pages import Page, read_page
from tests.rows import make_row, make_run
from tests.sweep_files import TRUTH, make_point, make_sweep, write_points

PAPER_POINTS = Path(__file__).parents[3] / "configs" / "paper" / "pareto_points.csv"
ADAPTIVE = {"batch_mode": "adaptive", "num_envs": 32, "target_batch_observations": 300.0}
WIDE = (32, 64, 128, 256, 512, 1024, 2048, 4096)


def page_of(*sources: Path, out: Path) -> Page:
    write_report(sources, out)
    return read_page(out)


def game_of(tmp_path: Path, points: list[dict[str, Any]]) -> GameData:
    goals = fit_points(read_points(write_points(tmp_path / "points.csv", points)))
    (game,) = make_games(goals, {}, paper_goals())
    return game


def test_a_sweep(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", batches=(64, 256, 1024, 2048), seeds=2, iterations=20)
    page = page_of(folder, out=tmp_path / "r.html")
    for part in (
        "7 score goals in 3 games; the critical batch is identified at 7 of them",
        "Noise scale against measured critical batch",
        "3 games of these runs and the paper's tasks",
        "Games from hard (top) to easy",
        "no significant order",
        "interquartile mean",
        "Dotted: what McCandlish et al. 2018 measured with A2C",
        "the noise scale grows",
        "24 runs in a table",
        "The best learning rate of each batch size and seed, in full:",
    ):
        assert part in page.text, part
    assert {"planner", "games", "game-1", "game-2", "game-3", "trials"} <= set(page.ids)
    assert len(page.data["planner-data"]) == sum(len(goals) for goals in TRUTH.values())
    header, *lines = page.downloads["Breakout-pareto.csv"]
    assert header[:4] == ["goal_score", "batch_observations", "optimizer_steps", "observations"]
    assert len(lines) == 3 * 4 * 2


def test_the_numbers_are_those_of_the_fit(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", games=("pong",), batches=WIDE, iterations=8)
    numbers = report_data([folder])
    json.dumps(numbers, allow_nan=False)
    (sweep,) = numbers["sweeps"]
    fits = fit_points(read_points(folder))
    assert [fit["critical_batch"] for fit in sweep["fits"]] == [goal.fit.critical_batch for goal in fits]
    for goal, planned in zip(fits, sweep["planner"], strict=True):
        assert planned["min_observations"] == pytest.approx(goal.fit.min_observations, rel=0.01)
        truth = TRUTH["pong"][goal.goal_score][1]
        assert goal.fit.critical_batch_low < truth < goal.fit.critical_batch_high
    assert len(sweep["runs"]) == len(WIDE)
    assert numbers["agreement"]["measured"]["tasks"] == 10  # Table 1 without Dota 5v5's bound, and Pong
    assert sweep["plan"]["games"] == ["pong"]


def test_the_papers_points(tmp_path: Path) -> None:
    page = page_of(PAPER_POINTS, out=tmp_path / "r.html")
    assert "30 score goals in 4 games" in page.text
    assert "These runs add nothing" in page.text
    assert "trials" not in page.ids
    found = {goal["name"]: goal["critical_batch"] for goal in page.data["planner-data"]}
    assert found["Pong, score 0"] == pytest.approx(292, rel=0.05)


def test_tasks_that_are_no_games_keep_their_names_and_losses(tmp_path: Path) -> None:
    tables = PAPER_POINTS.parents[2] / "docs" / "results" / "agreement"
    page = page_of(tables / "mnist-vae.csv", tables / "digits-sgd.csv", out=tmp_path / "r.html")
    assert "5 goals in 2 tasks; the critical batch is identified at 5 of them" in page.text
    assert "observations at loss 1 of digits-sgd to 71 (60 to 86) at loss 140 of mnist-vae" in page.text
    assert "Mnist" not in page.text and "mnist-vae (mnist-vae)" not in page.text
    assert "From loss 1 to 0.05 the critical batch" in page.text and "To loss 140, a batch of" in page.text
    assert "score -" not in page.text.lower()


def test_the_runs_that_a_fit_left_out_do_not_widen_its_range(tmp_path: Path) -> None:
    points = [make_point("pong", 0, batch) for batch in (*WIDE, 4 * WIDE[-1])]
    points[-1] |= {"optimizer_steps": "", "observations": ""}
    game = game_of(tmp_path, points)
    assert f"To score 0, a batch of {WIDE[-1]:,} takes by the fit" in speed_up_figure(game).sentence
    assert " to " in speed_up_figure(game).sentence.partition("x (")[2]
    (goal,) = planner_goals([SweepData(label="s", games=(game,))])
    assert (goal["smallest_batch"], goal["largest_batch"]) == (WIDE[0], WIDE[-1])


def test_runs_and_sweeps_share_a_page(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", games=("pong",), batches=(64, 512), iterations=8)
    page_of(folder, folder / "runs", PAPER_POINTS, out=tmp_path / "r.html")


def test_a_sweep_that_has_only_begun(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", games=("pong",), batches=(64,), iterations=2)
    write_points(folder / "points.csv", [])
    page = page_of(folder, out=tmp_path / "r.html")
    assert "No run has reached a score goal yet" in page.text
    assert "planner-data" not in page.data
    (folder / "points.csv").unlink()
    page_of(folder, out=tmp_path / "r.html")


def test_one_batch_is_not_a_front(tmp_path: Path) -> None:
    game = game_of(tmp_path, [make_point("pong", 0, 64)])
    assert "at score 0 is not identified: one batch size reached the goal" in pareto_figure(game).sentence
    assert "speed-up is not known" in speed_up_figure(game).sentence
    page = page_of(tmp_path / "points.csv", out=tmp_path / "r.html")
    assert "1 score goal in 1 game; the critical batch is not identified there" in page.text


def test_batches_below_the_bend_give_a_bound(tmp_path: Path) -> None:
    game = game_of(tmp_path, [make_point("qbert", 1000, batch, noise=0.01) for batch in (8, 16, 32, 64, 128)])
    (goal,) = game.goals
    assert not goal.fit.identified and math.isinf(goal.fit.critical_batch_high)
    figure = against_score_figure(game)
    assert "not identified at any goal" in figure.sentence
    assert "critical batch at least" in {trace["name"] for trace in figure.traces}
    page = page_of(tmp_path / "points.csv", out=tmp_path / "r.html")
    assert "at least" in page.text
    assert "not identified:" in page.text


def test_failed_and_slow_runs_are_listed(tmp_path: Path) -> None:
    points = [make_point("pong", 0, batch) for batch in WIDE]
    points[1] |= {"optimizer_steps": "", "observations": ""}
    for name in ("optimizer_steps", "observations"):
        points[4][name] *= 9
    game = game_of(tmp_path, points)
    assert "1 slow run was left out (open)" in pareto_figure(game).sentence
    page = page_of(tmp_path / "points.csv", out=tmp_path / "r.html")
    assert "Score 0: the run at batch 64 never reached it." in page.text
    assert "Score 0: the run at batch 512 is left out" in page.text


def test_a_noise_scale_that_is_only_bounded(tmp_path: Path) -> None:
    points = [make_point("pong", 0, batch, known=False) for batch in WIDE]
    game = game_of(tmp_path, points)
    figure = against_score_figure(game)
    assert "The noise scale is" not in figure.sentence
    assert "noise scale at least" in {trace["name"] for trace in figure.traces}
    assert "at least" in page_of(tmp_path / "points.csv", out=tmp_path / "r.html").text


def test_growth_and_ratio_are_in_the_captions(tmp_path: Path) -> None:
    game = game_of(tmp_path, [make_point("breakout", g, b) for g in TRUTH["breakout"] for b in WIDE])
    sentence = against_score_figure(game).sentence
    assert "From score 2 to 50 the critical batch grows" in sentence
    assert "(geometric mean over 3 goals" in sentence
    figure = speed_up_figure(game)
    assert "With these runs' noise scale as critical batch" in figure.sentence
    assert "if the critical batch were the noise scale" in {trace["name"] for trace in figure.traces}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "cannot read nowhere"),
        (["points.csv"], "no column 'game'"),
        (["--json", "--figures", "f", "points.csv"], "--json prints numbers and writes no file"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("points.csv").write_text("a,b\n1,2\n")
    assert cli.main(["report", *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert not Path("report.html").exists()


def test_a_plan_that_is_torn(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", games=("pong",), batches=(64,), iterations=2)
    (folder / "sweep.yaml").write_text("games: [")
    with pytest.raises(UserError, match="is not valid YAML"):
        write_report([folder], tmp_path / "r.html")


def test_an_adaptive_run_beside_a_sweep_has_a_section(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "s", games=("pong",), iterations=20)
    rows = [make_row(i, batch=128 if i < 100 else 512) | ADAPTIVE | {"score_episodes": 50 * i} for i in range(1, 201)]
    run = make_run(tmp_path / "adaptive", rows).path
    fixed = make_run(tmp_path / "fixed", [make_row(i) for i in range(1, 51)]).path
    page = page_of(sweep, run, out=tmp_path / "r.html")
    assert "adaptive" in page.ids
    for part in ("gamma predicted", "Score 0: ", "512 (adaptive)", "adaptive: 128 to 512 observations"):
        assert part in page.text, part
    found = report_data([sweep, run])
    assert [gain["goal_score"] for gain in found["adaptive"]] == [-19, 0]
    assert found["runs"][0]["batch_mode"] == "adaptive" and 0 < found["runs"][0]["adaptive_gamma"] < 1
    assert "adaptive" not in page_of(sweep, fixed, out=tmp_path / "f.html").ids
