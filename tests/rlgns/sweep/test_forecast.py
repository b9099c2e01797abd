"""What the dry run says, from a pace that is known."""

from __future__ import annotations

from pathlib import Path

from rlgns.machine.hardware import usable_cores
from rlgns.sweep.config import Sweep, SweepConfig
from rlgns.sweep.forecast import Pace, at_once, calibrate, describe_plan, of_trials
from rlgns.sweep.load import resolve_sweep
from rlgns.sweep.plan import TrialProgress, make_plan
from tests.rlgns.engine.tiny import tiny
from tests.rows import make_row, make_run


def test_hours_are_those_of_what_is_left() -> None:
    sweep = resolve_sweep("breakout-quick", {"sweep.parallel": "1", "sweep.price": "2", "run.observations": "3600"})
    plan, pace = make_plan(sweep), Pace(observations_per_s=1.0, source="made up")
    trials = plan.initial_trials()
    cores = usable_cores()
    assert at_once(sweep) == (1, cores)
    text = describe_plan(sweep, plan, {}, pace)
    assert f"{len(trials)} so far, 0 of them done" in text
    assert "1 observations/s a trial (made up)" in text
    assert "75,600 observations, 21 hours" in text
    assert "   512    128     16     2,048          2      4  0.000707 0.00141 0.00283" in text
    done = {trial: TrialProgress(observations=3600) for trial in trials[:9]}
    assert "43,200 observations, 12 hours" in describe_plan(sweep, plan, done, pace)


def test_the_pace_of_earlier_trials_is_their_median(tmp_path: Path) -> None:
    runs = []
    for name, pace in (("a", 100.0), ("b", 300.0), ("c", 200.0)):
        rows = [{**make_row(number), "throughput/observations_per_s": pace} for number in (1, 2, 3)]
        runs.append(make_run(tmp_path / name, rows))
    found = of_trials([*runs, make_run(tmp_path / "d", [])])
    assert found == Pace(observations_per_s=200.0, source="measured in 3 earlier trials of this sweep")
    assert of_trials([make_run(tmp_path / "e", [])]) is None


def test_a_calibration_plays_and_learns() -> None:
    config = tiny()
    sweep = Sweep(settings=SweepConfig(batches=(16,), parallel=2), configs={16: config})
    pace = calibrate(sweep, seconds=0.1)
    assert pace.observations_per_s > 0
    assert "of pong at batch 16 with" in pace.source
