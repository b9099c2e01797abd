"""A sweep's queue, folder and displays, with rows written as trials would write them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from rlgns.critical.goals import GoalReached, shortfall
from rlgns.critical.points import COLUMNS, check_columns, fit_points, parse_point
from rlgns.errors import UserError
from rlgns.fit.missing_goals import why_not_reached
from rlgns.fit.points_file import read_points, read_table
from rlgns.fit.table import table as table_of_fits
from rlgns.storage.run_folder import RunFolder
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.config import Sweep
from rlgns.sweep.display import LiveDisplay, PlainDisplay, SweepStatus
from rlgns.sweep.load import resolve_sweep
from rlgns.sweep.plan import Cell, Trial, TrialProgress, Verdict, make_plan
from rlgns.sweep.queue import SweepQueue
from rlgns.sweep.records import check_settings, point_rows, sweep_file
from rlgns.sweep.table import results_table
from tests.rows import make_row


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Three learning rates at one batch size, goals that `play` reaches."""
    path = tmp_path / "mine.yaml"
    content = {
        "run": {"games": ["pong"], "observations": 100 * 128},
        "agent": {"rollout_steps": 16, "minibatches": 2},
        "sweep": {"batches": [64], "goals": [-19, 0], "learning_rate": 1.0, "learning_rate_batch": 0, "widenings": 0},
    }
    path.write_text(yaml.safe_dump(content))
    return resolve_sweep(path, {})


def make_queue(sweep: Sweep, out: Path) -> SweepQueue:
    folder = SweepFolder(out)
    out.mkdir(exist_ok=True)
    folder.write(sweep_file(sweep, {"created": "now"}, []))
    return SweepQueue(sweep, folder, about_of=lambda config, game: {"game": game, "wandb_id": "x"})


def play(queue: SweepQueue, out: Path, key: str, scores: list[float], *, first: int = 1) -> int:
    """Appends rows with these scores until the queue stops the trial; returns the last iteration."""
    folder = RunFolder(out / "runs" / key)
    for number, score in enumerate(scores, start=first):
        row = {
            **make_row(number, batch=64),
            "observations": number * 128,
            "optimizer_steps": number * 2,
            "rollout_observations": 128,
            "seconds": number * 1.0,
            "score_mean": score,
            "score_episodes": 100,
        }
        folder.append(row)
        if queue.enough(key, row):
            return number
    return first + len(scores) - 1


def test_a_sweep_from_the_first_trial_to_the_table(sweep: Sweep, tmp_path: Path) -> None:
    out = tmp_path / "out"
    queue = make_queue(sweep, out)
    seen: list[str] = []
    queue.began = lambda trial, start: seen.append(f"+{trial.learning_rate:g}")
    queue.stopped = lambda trial, verdict: seen.append(f"-{trial.learning_rate:g} {verdict.name}")
    starts = [queue.next() for _ in range(4)]
    assert starts[3] is None
    keys = [start.key for start in starts if start is not None]
    assert keys == ["pong-b64-lr1-s0", "pong-b64-lr0.5-s0", "pong-b64-lr2-s0"]
    assert RunFolder(out / "runs" / keys[1]).config()["agent"]["learning_rate"] == 0.5

    assert play(queue, out, keys[0], [-20.0, -18.0, -10.0, 1.0, 2.0]) == 4  # the last goal ends it
    queue.ended(keys[0], "")
    assert play(queue, out, keys[1], [-20.0, -20.0, -20.0, -20.0, -20.0]) == 4  # both goals were reached with fewer
    queue.ended(keys[1], "")
    assert play(queue, out, keys[2], [-18.0, -18.0, -18.0, -18.0, -18.0, -18.0]) == 4
    queue.ended(keys[2], "broken")
    assert queue.next() is None
    assert seen == ["+1", "+0.5", "+2", "-1 REACHED", "-0.5 LOST", "-2 LOST"]
    assert (out / "runs" / keys[2] / "fault.txt").read_text() == "broken\n"

    with open(out / "points.csv", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["run"], line["goal_score"]) for line in lines] == [
        (keys[0], "-19"),
        (keys[0], "0"),
        (keys[2], "-19"),
    ]
    assert (out / "points.csv").read_text().count("\n") == 4
    table = results_table(queue.plan, queue.progress, queue.reached, SweepFolder(out))
    assert [line.split() for line in table.splitlines()[1:3]] == [
        ["pong", "-19", "64", "2", "2", "128", "1", "of", "1"],
        ["pong", "0", "64", "1", "8", "500", "1", "of", "1"],
    ]


def test_fit_reads_the_points(sweep: Sweep, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    goal = GoalReached(
        goal=2.0,
        observations=1234.5678,
        optimizer_steps=12.25,
        seconds=3.5,
        noise_scale=100.0,
        noise_scale_low=50.0,
        noise_scale_high=None,
    )
    trial, plan = Trial(Cell(1, "breakout", 64), 5e-4), replace(make_plan(sweep), goals={"breakout": (2.0,)})
    folder.write_points(point_rows({trial: [goal]}, plan, {trial: TrialProgress(observations=9, reached={2.0: 9})}))
    (line,) = csv.DictReader(io.StringIO(folder.points_path.read_text()))
    assert line["observations"] == "1234.57"
    assert (line["learning_rate"], line["seed"], line["noise_scale_high"]) == ("0.0005", "1", "")
    (point,) = read_points(folder.points_path)
    assert (point.game, point.batch_observations, point.run) == ("breakout", 64, "breakout-b64-lr0.0005-s1")


def test_a_new_queue_reads_the_state_from_the_files(sweep: Sweep, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = make_queue(sweep, out)
    one, two = (first.next() for _ in range(2))
    assert one is not None
    assert two is not None
    play(first, out, one.key, [-20.0, 1.0])
    play(first, out, two.key, [-20.0])
    second = make_queue(sweep, out)
    assert second.reached == {**first.reached, **{trial: [] for trial in second.progress if trial not in first.reached}}
    assert second.verdict(Trial(Cell(0, "pong", 64), 1.0)) is Verdict.REACHED
    again = second.next()
    assert again is not None
    assert (again.key, again.resumed, again.first_row is not None) == (two.key, True, True)
    assert (again.first_row or {})["observations"] == 128


def test_a_failed_trial_is_retried_by_the_next_queue_only(sweep: Sweep, tmp_path: Path) -> None:
    first = make_queue(sweep, tmp_path)
    start = first.next()
    assert start is not None
    first.ended(start.key, "out of memory")
    others = [first.next() for _ in range(3)]
    assert start.key not in {other.key for other in others if other is not None}
    again = make_queue(sweep, tmp_path).next()
    assert again is not None
    assert again.key == start.key
    assert not (start.folder.path / "fault.txt").exists()


def test_settings_may_add_trials_but_not_change_them(sweep: Sweep, tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine.yaml", SweepFolder(tmp_path / "out")
    make_queue(sweep, folder.path)
    more = {"sweep.batches": "32,64,128", "sweep.seeds": "0,1", "sweep.price": "2", "sweep.goals": "-19,0,10"}
    check_settings(folder, resolve_sweep(mine, more))
    for key, value in (("agent.gamma", "0.5"), ("run.observations", "7"), ("sweep.learning_rate", "0.1")):
        with pytest.raises(UserError, match=f"with other settings: {key} is .* there and {value} here"):
            check_settings(folder, resolve_sweep(mine, {key: value}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(UserError, match="is not empty and holds no sweep"):
        check_settings(SweepFolder(tmp_path / "other"), sweep)


def test_a_folder_has_one_process_at_a_time(sweep: Sweep, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    with (
        folder.claimed(),
        pytest.raises(UserError, match="another rlgns sweep is at work"),
        SweepFolder(tmp_path / "out").claimed(),
    ):
        pass
    with folder.claimed():
        pass
    with pytest.raises(UserError, match="cannot be written"), SweepFolder("/proc/rlgns").claimed():
        pass


def test_plain_lines_report_counts_cost_and_time_left(sweep: Sweep, tmp_path: Path) -> None:
    out, stream, now = tmp_path / "out", io.StringIO(), [0.0]
    queue = make_queue(sweep, out)
    status = SweepStatus(queue, price=0.5, clock=lambda: now[0])
    display = PlainDisplay(status, stream, clock=lambda: now[0])
    queue.began, queue.stopped = display.began, display.stopped
    queue.shared(2, 2.0)
    start = queue.next()
    assert start is not None
    play(queue, out, start.key, [-20.0] * 10)
    now[0] = 36.0
    queue.training_seconds = dict.fromkeys(queue.training_seconds, 3600.0)
    display.row(start.key, {**make_row(10, batch=64), "observations": 1280, "rollout_observations": 1280})
    begins, stands = stream.getvalue().splitlines()
    assert begins == "pong-b64-lr1-s0: begins"
    # 3 x 12,800 - 1,280 observations remain, at 1,280 in 36 seconds
    assert stands == "0 of 3 trials done; 2.0 core-hours, 1.00 in money; at most 17 min left"
    play(queue, out, start.key, [1.0], first=11)
    queue.ended(start.key, "")
    assert "pong-b64-lr1-s0: reached its last goal after 1,280 observations" in stream.getvalue()
    assert "1 of 3 trials done" in stream.getvalue().splitlines()[-1]


@pytest.mark.parametrize("width", [60, 120])
def test_the_live_display_shows_running_trials_within_its_width(sweep: Sweep, tmp_path: Path, width: int) -> None:
    out = tmp_path / "out"
    queue = make_queue(sweep, out)
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    status = SweepStatus(queue, price=1000)
    display = LiveDisplay(status, console)
    queue.began, queue.stopped = display.began, display.stopped
    one, two = (queue.next() for _ in range(2))
    assert one is not None
    assert two is not None
    display.row(one.key, {**make_row(50, batch=64), "rollout_observations": 128})
    display.starting(two.key, 3, 8)
    queue.training_seconds[Trial(Cell(0, "pong", 64), 1.0)] = 7200.0
    shown = Console(file=io.StringIO(), width=width, color_system=None)
    shown.print(display.render())
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    assert "in money" in status.line() and status.line() in " ".join(line.rstrip() for line in lines)  # whole
    assert any(line.startswith(one.key) and not line.rstrip().endswith("starting") for line in lines)
    assert any(line.startswith(two.key) and "starting 3/8" in line for line in lines)
    queue.ended(two.key, "")
    queue.ended(one.key, "")
    shown.print(display.render())
    assert shown.file.getvalue().count("noise scale") == 1  # no head of a table without trials
    display.end("interrupted")
    assert f"{two.key}: stopped" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_larger_budget_continues_the_trials_that_used_theirs_up(sweep: Sweep, tmp_path: Path) -> None:
    constant = with_run(sweep, anneal=False)
    queue = make_queue(constant, tmp_path)
    start = queue.next()
    assert start is not None
    play(queue, tmp_path, start.key, [-20.5] * 100)
    assert queue.verdict(Trial(Cell(0, "pong", 64), 1.0)) is Verdict.BUDGET
    larger = with_run(constant, anneal=False, observations=200 * 128)
    check_settings(SweepFolder(tmp_path), larger)
    again = make_queue(larger, tmp_path).next()
    assert again is not None
    assert (again.key, again.config.run.observations) == (start.key, 200 * 128)
    for smaller_or_annealed in (with_run(constant, anneal=False, observations=128), with_run(larger, anneal=True)):
        with pytest.raises(UserError, match="with other settings"):
            check_settings(SweepFolder(tmp_path), smaller_or_annealed)


def with_run(sweep: Sweep, *, anneal: bool, observations: int = 100 * 128) -> Sweep:
    return replace(
        sweep,
        configs={
            batch: replace(
                config,
                agent=replace(config.agent, anneal=anneal),
                run=replace(config.run, observations=observations),
            )
            for batch, config in sweep.configs.items()
        },
    )


def test_a_table_and_fit_say_why_no_goal_was_reached(sweep: Sweep, tmp_path: Path) -> None:
    queue = make_queue(sweep, tmp_path)
    start = queue.next()
    assert start is not None
    play(queue, tmp_path, start.key, [-20.5] * 100)
    queue.ended(start.key, "")
    folder = SweepFolder(tmp_path)
    table = results_table(queue.plan, queue.progress, queue.reached, folder)
    why = "the best mean score over 100 games was -20.5 in 12,800 observations"
    assert f"pong, batch 64: -19 and 0 not reached: {why}" in table
    assert f"rlgns sweep --resume {tmp_path} --observations N" in table
    with pytest.raises(UserError, match="has no rows below its header: no run reached a goal"):
        read_points(tmp_path)  # other rates may still reach them
    for other in (queue.next(), queue.next()):
        assert other is not None
        play(queue, tmp_path, other.key, [-20.0] * 100)
        queue.ended(other.key, "")
    with pytest.raises(UserError, match=r"no run reached a goal .pong at batch 64: the best mean score"):
        read_points(tmp_path)
    missed = read_table(tmp_path, check_columns, parse_point)
    assert [(point.goal_score, point.reached) for point in missed] == [(-19.0, False), (0.0, False)] * 3
    reached = [
        replace(missed[0], batch_observations=batch, optimizer_steps=9, observations=99) for batch in (8, 16, 32)
    ]
    assert "-19: the run at batch 64 never reached it" in table_of_fits(fit_points([*missed, *reached]), 0.95)
    seeds = [replace(point, seed=seed) for point in missed for seed in (0, 1, 2)]
    assert "-19: the runs at batch 64 (3) never reached it" in table_of_fits(fit_points([*seeds, *reached]), 0.95)


def test_a_sweep_that_resumes_with_fewer_games_keeps_quiet_of_the_others(sweep: Sweep, tmp_path: Path) -> None:
    queue = make_queue(sweep, tmp_path)
    start = queue.next()
    assert start is not None
    play(queue, tmp_path, start.key, [-20.5] * 100)
    path = tmp_path / "fewer.yaml"
    path.write_text(yaml.safe_dump({"run": {"games": ["breakout"]}, "sweep": {"batches": [256], "goals": [2]}}))
    fewer = resolve_sweep(path, {})
    assert list(SweepQueue(fewer, SweepFolder(tmp_path), about_of=lambda config, game: {}).points()) == []


def test_a_goal_passed_before_scores_counted_is_named(sweep: Sweep, tmp_path: Path) -> None:
    queue = make_queue(sweep, tmp_path)
    start = queue.next()
    assert start is not None
    play(queue, tmp_path, start.key, [-18.0, -17.0])
    queue.ended(start.key, "")
    lines = results_table(queue.plan, queue.progress, queue.reached, SweepFolder(tmp_path)).splitlines()
    (named,) = [line for line in lines if "above it" in line]
    assert named.startswith("pong, goal -19: at batch 64 the best run was above it when its score first counted")


def test_too_few_games_are_counted() -> None:
    rows = [make_row(number) | {"score_episodes": 3 * number, "score_mean": -20.0} for number in range(1, 31)]
    assert why_not_reached([shortfall(rows)]) == (
        "90 of the 100 games that a score must be the mean of were played in 30,720 observations"
    )
    many = [row | {"num_envs": 256} for row in rows]
    assert "90 of the 256 games" in why_not_reached([shortfall(many)])
    more = [*rows, make_row(31) | {"score_episodes": 100, "score_mean": -19.5}]
    assert "was -19.5 in" in why_not_reached([shortfall(rows), shortfall(more)])
    assert why_not_reached([shortfall([])]) == "nothing was trained"
