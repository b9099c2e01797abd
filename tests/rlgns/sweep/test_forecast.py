"""The text of a dry run, and the throughput behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgns.formatting import compact
from rlgns.machine.hardware import usable_cores
from rlgns.machine.placement import Node
from rlgns.sweep import forecast
from rlgns.sweep.config import Sweep, SweepConfig
from rlgns.sweep.forecast import TrialThroughput, concurrent_trials, format_plan, measure_throughput, throughput_of_runs
from rlgns.sweep.game_length import GameLength, games_lines, measure_game_length
from rlgns.sweep.load import resolve_sweep
from rlgns.sweep.plan import TrialProgress, make_plan
from tests.rlgns.engine.tiny import tiny
from tests.rows import make_row, make_run


def test_hours_are_those_of_the_remaining_observations() -> None:
    sweep = resolve_sweep("breakout-quick", {"sweep.parallel": "1", "sweep.price": "2", "run.observations": "3600"})
    plan, throughput = make_plan(sweep), TrialThroughput(observations_per_s=1.0, source="made up")
    trials = plan.initial_trials()
    cores = usable_cores()
    assert concurrent_trials(sweep) == (1, cores)
    text = format_plan(sweep, plan, {}, throughput, {})
    assert f"{len(trials)} so far, 0 of them done" in text
    assert "1 observations/s a trial (made up)" in text
    assert "75,600 observations, 21 hours" in text
    assert "   512    128     16     2,048          2      4  0.000707 0.00141 0.00283" in text
    done = {trial: TrialProgress(observations=3600) for trial in trials[:9]}
    assert "43,200 observations, 12 hours" in format_plan(sweep, plan, done, throughput, {})


def test_trials_share_a_gpu_in_the_forecast_as_they_do_in_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "this_machine", lambda: Node(cpus=16.0, gpus=1.0))
    assert concurrent_trials(resolve_sweep("breakout-quick", {})) == (4, 4)
    assert concurrent_trials(resolve_sweep("breakout-quick", {"sweep.parallel": "2"})) == (2, 8)


def test_the_throughput_of_earlier_trials_is_their_median(tmp_path: Path) -> None:
    runs = []
    for name, speed in (("a", 100.0), ("b", 300.0), ("c", 200.0)):
        rows = [{**make_row(number), "throughput/observations_per_s": speed} for number in (1, 2, 3)]
        runs.append(make_run(tmp_path / name, rows))
    found = throughput_of_runs([*runs, make_run(tmp_path / "d", [])])
    assert found == TrialThroughput(observations_per_s=200.0, source="measured in 3 earlier trials of this sweep")
    assert throughput_of_runs([make_run(tmp_path / "e", [])]) is None


def test_throughput_is_measured_by_training() -> None:
    config = tiny()
    sweep = Sweep(settings=SweepConfig(batches=(16,), parallel=2), configs={16: config})
    throughput = measure_throughput(sweep, seconds=0.1)
    assert throughput.observations_per_s > 0
    assert "of pong at batch 16 with" in throughput.source


def test_a_budget_in_which_too_few_games_end_is_a_warning() -> None:
    sweep = resolve_sweep("pong-quick", {"run.observations": "95k", "sweep.batches": "64,1024,4096"})
    length = GameLength(observations=900.0, at_least=False)
    enough = 2 * 900 * sweep.configs[4096].env.num_envs
    assert games_lines(sweep, {"pong": length}) == [
        "length         pong: about 900 observations each at random play;",
        "               no goal counts before 100 of them, about 90,000",
        "WARNING        pong: then too few games end in the budget for any goal at batch 1,024, 4,096;",
        f"               give --observations {compact(enough)} or more",
    ]
    longer = resolve_sweep("pong-quick", {"run.observations": "10M", "sweep.batches": "64,1024,4096"})
    assert len(games_lines(longer, {"pong": length})) == 2
    assert "at least 900" in games_lines(longer, {"pong": GameLength(observations=900.0, at_least=True)})[0]


def test_games_are_as_long_as_random_play_makes_them() -> None:
    """Breakout's five lives last 100 to 400 observations at random."""
    sweep = Sweep(settings=SweepConfig(batches=(16,)), configs={16: tiny()})
    found = measure_game_length(sweep, "breakout", seconds=300)
    assert not found.at_least
    assert 100 < found.observations < 400
    cut = measure_game_length(sweep, "breakout", seconds=0)
    assert (cut.at_least, cut.observations < 100) == (True, True)
