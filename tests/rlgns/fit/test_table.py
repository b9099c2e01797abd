"""`rlgns fit`: tables of points on disk, what is printed, mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlgns.commands import cli
from rlgns.fit.paper import paper_goals, paper_tasks
from rlgns.fit.points_file import read_points
from tests.rows import make_row, make_run

HEAD = "game,goal_score,batch_observations,optimizer_steps,observations"
PAPER = Path(__file__).parents[3] / "configs" / "paper" / "pareto_points.csv"
KEYS = {
    "game",
    "goal_score",
    "critical_batch",
    "critical_batch_low",
    "critical_batch_high",
    "min_steps",
    "min_observations",
    "identified",
    "reason",
    "rms",
    "r_squared",
    "points_used",
    "noise_scale",
    "noise_scale_low",
    "noise_scale_high",
}


def sweep_csv(folder: Path, *, noise_scale: bool = False, critical: float = 300) -> Path:
    """A sweep's points.csv with one failed run, one that never reached the goal, and a second learning rate."""
    sizes = [40 * 2**k for k in range(8)]
    lines = [f"{HEAD},learning_rate,noise_scale,noise_scale_low,noise_scale_high"]
    for place, size in enumerate(sizes):
        steps = 1000 * (1 + critical / size) * (5 if place == 2 else 1) * (1.02 if place % 2 else 0.98)
        scale = "600,500,700" if noise_scale else ",,"
        reached = ",," if place == 5 else f",{steps},{steps * size}"
        lines.append(f"Pong,0,{size}{reached},0.1,{scale}")
        if place != 5:
            lines.append(f"Pong,0,{size},{2 * steps},{2 * steps * size},0.2,{scale}")
    file = folder / "points.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def test_json_has_stable_keys_and_null_for_what_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep_csv(tmp_path, noise_scale=True)
    assert cli.main(["fit", str(tmp_path), "--json"]) == 0
    (fit,) = json.loads(capsys.readouterr().out)["fits"]
    assert fit.keys() >= KEYS
    assert fit["identified"] and fit["critical_batch"] == pytest.approx(300, rel=0.1)
    assert (fit["failed_batches"], fit["outlier_batches"]) == ([1280.0], [160.0])
    assert fit["noise_over_critical"] == pytest.approx(600 / fit["critical_batch"])
    sweep_csv(tmp_path, critical=1e6)
    assert cli.main(["fit", str(tmp_path), "--json", "--level", "0.9"]) == 0
    (fit,) = json.loads(capsys.readouterr().out)["fits"]
    assert not fit["identified"] and fit["critical_batch_high"] is None and fit["noise_scale"] is None
    assert fit["reason"].startswith("not identified") and fit["level"] == 0.9


def test_the_papers_points_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", str(PAPER)]) == 0
    text = capsys.readouterr().out
    assert "Space Invaders\n" in text and "74 (62 to 89)" in text and "noise scale" not in text
    assert cli.main(["fit", str(PAPER), "--json"]) == 0
    fits = json.loads(capsys.readouterr().out)["fits"]
    assert {(fit["game"], fit["goal_score"]) for fit in fits} == {(g.game, g.goal_score) for g in paper_goals()}


def test_text_says_what_was_left_out_and_what_is_only_bounded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fit", str(sweep_csv(tmp_path, noise_scale=True))]) == 0
    text = capsys.readouterr().out
    assert "6 of 8" in text and "the run at batch 1,280 never reached it" in text
    assert "the run at batch 160 took 4.9x the steps that the other runs predict; left out as failed" in text
    assert "600 (600 to 600)" in text and "ratio" in text
    assert cli.main(["fit", str(sweep_csv(tmp_path, critical=1e6))]) == 0
    text = capsys.readouterr().out
    assert "at least" in text and "0: not identified: the largest batch is below the bend" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (HEAD + "\n", "has no rows below its header"),
        (HEAD.replace("goal_score", "goal_scor") + "\nPong,0,40,9,360\n", "no column 'goal_score' (is it goal_scor?)"),
        (HEAD + "\nPong,0,40,900,36000\nPong,0,80,x,36000\n", "line 3: optimizer_steps must be a number, got 'x'"),
        (HEAD + "\nPong,0,-40,900,36000\n", "line 2: batch_observations must be positive, got '-40'"),
        (HEAD + "\nPong,0,40,900,36000,7\n", "line 2: more cells than the 5 columns"),
        ("\x00\xff", "points.csv"),
    ],
)
def test_a_bad_table_is_one_line(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "points.csv"
    file.write_text(text, encoding="latin-1")
    code = cli.main(["fit", str(file)])
    output = capsys.readouterr()
    assert code == 2 and output.out == ""
    assert words in output.err and output.err.count("\n") == 1 and "Traceback" not in output.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.csv"], "cannot read none.csv: No such file or directory"),
        (["."], "points.csv: No such file or directory"),
        ([str(PAPER), "--level", "95"], "--level must lie between 0 and 1, got 95"),
        ([str(PAPER), "--jsn"], "did you mean --json?"),
        ([str(PAPER), "--adaptive", "nowhere"], "cannot read nowhere: No such file or directory"),
    ],
)
def test_mistakes(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", *arguments]) == 2
    output = capsys.readouterr()
    assert words in output.err and output.err.count("\n") == 1


def adaptive_run(path: Path, *, game: str = "pong", steps: float = 2.5, observations: float = 0.6) -> Path:
    """Reaches 0 after steps x 1,000 and observations x 1,000,000; the sweep has the minima 1,000 and 300,000."""
    rows = [
        {
            **make_row(number, game=game),
            "score_mean": float(number - 4),
            "score_episodes": 100 * number,
            "optimizer_steps": round(250 * steps * number),
            "observations": round(250_000 * observations * number),
            "batch_mode": "adaptive",
            "noise/resolved": True,
            "noise/scale": 100.0 * 3**number,
        }
        for number in range(1, 7)
    ]
    return make_run(path, rows, game=game).path


def test_an_adaptive_run_beside_the_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points, run = str(sweep_csv(tmp_path)), str(adaptive_run(tmp_path / "run"))
    assert cli.main(["fit", points, "--adaptive", run, "--json"]) == 0
    (gain,) = json.loads(capsys.readouterr().out)["adaptive"]
    assert (gain["optimizer_steps"], gain["observations"]) == (pytest.approx(2500), pytest.approx(600_000))
    assert gain["gamma"] == pytest.approx(1.5, rel=0.15)
    assert gain["gamma_low"] < gain["gamma"] < gain["gamma_high"]
    assert 0 < gain["gamma_predicted"] < 1 < gain["fewer_steps_predicted"]
    assert gain["fewer_steps"] == pytest.approx(2000 / 2500, rel=0.1)
    assert cli.main(["fit", points, "--adaptive", run]) == 0
    text = capsys.readouterr().out
    assert "Pong, adaptive batch" in text and "gamma measured (interval)" in text
    assert "0: at equal observations 1.3x more steps than the best fixed batch" in text


def test_a_gain_is_not_measured_where_the_front_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points, run = str(sweep_csv(tmp_path, critical=1e6)), str(adaptive_run(tmp_path / "run"))
    assert cli.main(["fit", points, "--adaptive", run]) == 0
    text = capsys.readouterr().out
    assert "0: gain not measured: the front is not identified: the largest batch" in text
    assert "2.5k" in text  # what the run needed is still shown
    assert cli.main(["fit", points, "--adaptive", run, "--json"]) == 0
    (gain,) = json.loads(capsys.readouterr().out)["adaptive"]
    assert gain["gamma"] is None and gain["fewer_steps"] is None and gain["gamma_predicted"] is not None


def test_a_run_of_another_game_or_without_rows_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = str(sweep_csv(tmp_path))
    empty = make_run(tmp_path / "empty", []).path
    for run, words in (
        (adaptive_run(tmp_path / "run", game="breakout"), "--adaptive: a run of breakout, and the points are of pong"),
        (empty, "nothing was trained there yet"),
    ):
        assert cli.main(["fit", points, "--adaptive", str(run)]) == 2
        output = capsys.readouterr()
        assert words in output.err and output.err.count("\n") == 1 and output.out == ""


def test_the_papers_data() -> None:
    assert len(read_points(PAPER)) == 253 and len(paper_goals()) == 30
    tasks = {task.task: task for task in paper_tasks()}
    assert tasks["Atari"].critical_batch_end == pytest.approx((400 * 8000) ** 0.5)
    assert tasks["Dota 5v5"].bound and tasks["Dota 5v5"].critical_batch_end == 8e6
    assert not tasks["MNIST"].bound
