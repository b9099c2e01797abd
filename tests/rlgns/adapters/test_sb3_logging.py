"""Stable-Baselines3's callback: its budget, what its logger gets, and its state."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from rlgns.config.calibrations import calibration_for
from rlgns.metrics.registry import KEYS

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")

from stable_baselines3.common.logger import configure

from rlgns.adapters.measurement import AT_ROLLOUT
from rlgns.adapters.sb3 import NoiseScaleCallback
from tests.rlgns.adapters.sb3_cases import build, quiet


class Clock:
    """A second per observation and pass, forward or backward, of a policy."""

    def __init__(self) -> None:
        self.played = self.measured = self.trained = 0.0
        self.measuring = False

    def __call__(self) -> float:
        return self.played + self.measured + self.trained

    def count(self, policy: Any, callback: NoiseScaleCallback) -> None:
        forward, evaluate, measure = policy.forward, policy.evaluate_actions, callback._measure

        def counted_forward(observations: torch.Tensor, *more: Any) -> Any:
            self.played += len(observations)
            return forward(observations, *more)

        def counted_evaluate(observations: torch.Tensor, actions: torch.Tensor) -> Any:
            cost = 3.0 * len(observations)
            self.measured += cost * self.measuring
            self.trained += cost * (not self.measuring)
            return evaluate(observations, actions)

        def flagged(measurement: Any) -> None:
            self.measuring = True
            measure(measurement)
            self.measuring = False

        policy.forward, policy.evaluate_actions, callback._measure = counted_forward, counted_evaluate, flagged


@pytest.mark.parametrize(("overhead", "iterations"), [(0.0, 3), (0.1, 40)])
def test_passes_stay_inside_the_budget(overhead: float, iterations: int) -> None:
    clock = Clock()
    model, callback = build("PPO on CartPole"), quiet(overhead=overhead, clock=clock)
    clock.count(model.policy, callback)
    model.learn(64 * iterations, callback=callback)
    assert clock.measured <= overhead * clock()
    assert clock.measured >= 0.8 * overhead * clock() - 3 * 64
    assert clock.trained == 3 * 64 * iterations * 2


def test_the_logger_gets_documented_entries_and_the_verdict_is_printed(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build("PPO on CartPole")
    model.set_logger(configure(str(tmp_path), ["json", "csv", "stdout"]))
    model.learn(64 * 12, callback=NoiseScaleCallback(overhead=0.9))
    rows = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    logged = {name for row in rows for name in row if name.startswith(("noise/", "critical_batch/"))}
    documented = set(KEYS)
    assert logged <= documented
    assert {"noise/at_rollout/scale_low", "noise/updates", "noise/overhead_fraction"} <= logged
    assert {"critical_batch/low", "critical_batch/calibration", "noise/run_average_low"} <= logged
    assert rows[-1]["noise/updates"] >= 8
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Critical batch ") and "calibrated on A2C" in last


def test_the_critical_batch_of_now_is_predicted_from_the_interval_of_now() -> None:
    model, callback = build("A2C on CartPole"), quiet()
    model.learn(64 * 12, callback=callback)
    row, estimate = callback._started().row(), callback.estimate()
    assert estimate.now_low < estimate.low  # drift widens it
    calibration = calibration_for(algorithm="a2c", epochs=1, definition=AT_ROLLOUT)
    scale, high = (estimate.noise_scale, estimate.now_high) if estimate.resolved else (math.nan, math.inf)
    expected = calibration.predict(scale, estimate.now_low, high)
    assert (row["critical_batch/now_low"], row["critical_batch/now_high"]) == (expected.low, expected.high)


def test_a_state_is_restored_and_training_continues_its_sums() -> None:
    model, first, second = build("A2C on CartPole"), quiet(), quiet()
    model.learn(64 * 6, callback=first)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.init_callback(model)
    assert second.estimate() == first.estimate()
    assert second.verdict() == first.verdict()
    model.learn(64 * 4, callback=second)
    assert second.estimate().updates > first.estimate().updates
