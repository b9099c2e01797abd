"""The comparison of hosts: its arithmetic, and tiny rehearsals of what it measures."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")
pytest.importorskip("ray.rllib", reason="needs RLlib")

from benchmarks import hosts
from benchmarks.host_runs import same_rollouts as comparison
from benchmarks.host_runs.page import page
from benchmarks.host_runs.rows import (
    measured,
    noise_scale,
    number,
    over_seeds,
    ratio_of,
    ratio_over_seeds,
    row_of,
    run_average,
)
from benchmarks.host_runs.same_rollouts import same_rollouts
from benchmarks.host_runs.sb3 import run_sb3
from benchmarks.host_runs.settings import GAMES, HostRun, make_env
from rlgns.agents.rollout import Rollout
from rlgns.config.load import resolve, to_dict
from rlgns.noise.interval import Ratio
from rlgns.storage import checkpoint as checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    """A policy of Pong with random weights whose value and actions are not all alike."""
    config = resolve(["quick"], {"run.games": ["pong"]})
    torch.manual_seed(0)
    network = checkpoints.build_network(config.network, num_actions=6, frame_stack=4, image_size=64)
    with torch.no_grad():
        network.policy_head.weight.mul_(100)
    state = {
        "config": to_dict(config),
        "game": "pong",
        "num_actions": 6,
        "num_envs": config.env.num_envs,
        "observations": 2048,
        "iteration": 1,
        "learner": {"network": network.state_dict()},
    }
    return str(checkpoints.save(tmp_path, 1, state, kept=1))


def test_all_hosts_measure_the_same_number_of_the_same_rollouts(
    checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two games end in each rollout, as far as its readers can tell."""
    shortened = comparison._without_last_step

    def with_ends(rollout: Rollout) -> Rollout:
        found = shortened(rollout)
        found.terminal[5, 0] = found.terminal[-1, 1] = True
        return found

    monkeypatch.setattr(comparison, "_without_last_step", with_ends)
    run = replace(GAMES["pong"].frozen(checkpoint, 4), num_envs=6, rollout_steps=16, stagger_steps=20)
    rows = same_rollouts(run)
    assert len(rows) == 2
    for row in rows:
        for name in ("grad_sq", "trace"):
            scale = row["ours_trace"] if name == "trace" else max(row["ours_grad_sq"], row["ours_trace"] / 96)
            assert abs(row[f"sb3_{name}"] - row[f"ours_{name}"]) < 1e-3 * scale
            assert abs(row[f"changed_{name}"] - row[f"grouped_{name}"]) < 1e-3 * scale
        assert row["rllib_trace"] != pytest.approx(row["changed_trace"], rel=1e-3), "else neither proves anything"


def test_a_run_of_stable_baselines3_has_a_row_per_rollout() -> None:
    run = replace(GAMES["cartpole"], iterations=6, num_envs=4, rollout_steps=16, minibatches=2)
    rows = run_sb3(run)
    assert [row["observations"] for row in rows] == [64 * k for k in range(1, 7)]
    found = measured(rows)
    assert len(found) == 4 and all(row["trace"] > 0 for row in found)
    all_of_them = run_average(rows[1:], run.batch_observations)  # the adapter counts the second rollout too
    assert rows[-1]["run_average"] == pytest.approx(all_of_them.value, rel=1e-9, nan_ok=True)


def test_lunar_lander_has_its_environment() -> None:
    pytest.importorskip("Box2D", reason="needs Box2D")
    pytest.importorskip("pygame", reason="needs pygame")
    env = make_env("lunarlander")
    assert env.reset(seed=0)[0].shape == (8,)


def test_rows_that_repeat_the_newest_measurement_are_left_out() -> None:
    def row(updates: float | None) -> dict[str, float]:
        return row_of({"noise/updates": updates}, observations=1, score=0.0)

    rows = [row(None), row(1), row(2), row(2), row(3)]
    assert measured(rows) == [rows[2], rows[4]]
    assert math.isnan(number(None)) and number(2) == 2.0


def test_ratios_and_their_intervals() -> None:
    same = ratio_of(Ratio(value=2.0, low=1.0, high=4.0), Ratio(value=2.0, low=1.0, high=4.0))
    assert (same.value, same.high) == (1.0, pytest.approx(2 ** math.sqrt(2)))
    open_end = ratio_of(Ratio(value=2.0, low=1.0, high=math.inf), Ratio(value=1.0, low=0.5, high=2.0))
    assert open_end.high == math.inf and 0 < open_end.low < 2
    seeds = over_seeds([1.0, 4.0])
    assert seeds.value == pytest.approx(2.0) and seeds.low < 1 and seeds.high > 4
    assert math.isnan(over_seeds([1.0, math.nan]).value)
    assert ratio_over_seeds([2.0, 2.2, 1.9], [1.0, 1.1, 0.95]).low > 1
    assert math.isnan(ratio_over_seeds([2.0, math.nan], [1.0, 1.1]).value)


def test_intervals_over_seeds_hold_the_truth() -> None:
    """400 draws of 3 seeds each; the twin takes the normal quantile."""
    rng = np.random.default_rng(1)
    held = twin = 0
    for _ in range(400):
        one, other = np.exp(rng.normal(0, 0.2, (2, 3)))
        ratio = ratio_over_seeds(list(one), list(other))
        held += ratio.low <= 1 <= ratio.high
        half = 1.96 * math.sqrt((np.log(one).var(ddof=1) + np.log(other).var(ddof=1)) / 3)
        twin += abs(math.log(ratio.value)) <= half
    assert 0.93 <= held / 400 <= 0.99 and twin / 400 < 0.92


def rows_of_run(rng: np.random.Generator, scale: float) -> list[dict[str, float]]:
    rows = []
    for k in range(1, 31):
        moments = {"noise/at_rollout/grad_sq": 1.0 + 0.1 * rng.normal(), "noise/at_rollout/trace": scale}
        rows.append(row_of(moments | {"noise/updates": k}, observations=2048 * k, score=-20.0))
    return rows


def write(folder: Path, kind: str, run: HostRun, found: Any, name: str = "") -> None:
    text = {"piece": kind, "run": asdict(run), "wall_s": 1.0, "processor_s": 60.0, "found": found}
    (folder / f"{name or run.name}.json").write_text(json.dumps(text))


def test_the_page_says_who_agrees(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pong = GAMES["pong"]
    frozen = pong.frozen("somewhere", 30)
    write(tmp_path, "sb3", replace(frozen, host="sb3"), rows_of_run(rng, 500))
    write(tmp_path, "rllib", replace(frozen, host="rllib"), rows_of_run(rng, 900))
    truth = {"observations": 2048 * 100, "grad_sq": 1.0, "grad_sq_error": 0.02, "trace": 500.0, "trace_error": 1.0}
    write(tmp_path, "calibrate", frozen, truth | {"scale": 500, "scale_low": 480, "scale_high": 520}, "calibrate")
    moments = {
        f"{host}_{name}": 1.0
        for host in ("ours", "sb3", "rllib", "changed", "grouped", "games")
        for name in ("grad_sq", "trace")
    }
    write(tmp_path, "same", frozen, [moments | {"rllib_trace": 1.1}] * 5, "same")
    for seed in range(2):
        for host in ("sb3", "rllib"):
            write(tmp_path, host, replace(GAMES["cartpole"], host=host, seed=seed), rows_of_run(rng, 40 + seed))
    text, table = page(tmp_path, "abc")
    assert "| RLlib | 1.0000 | 1.1000 |" in text and "| Stable-Baselines3 | 1.0000 | 1.0000 |" in text
    (pair,) = (line for line in text.splitlines() if line.startswith("| RLlib / Stable-Baselines3 |"))
    assert "| no | no |" in pair
    (pair,) = (line for line in text.splitlines() if line.startswith("| Stable-Baselines3 / rlgns, brute force |"))
    assert "| yes | yes |" in pair
    assert "| early | Stable-Baselines3 / RLlib |" in text and "| whole run | Stable-Baselines3 / RLlib |" in text
    assert "Processor time of all pieces: 8 minutes." in text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {row["piece"] for row in rows} >= {"same", "calibrate", "cartpole-sb3-0", "frozen-pong-rllib-0"}


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    found = hosts.pieces("somewhere", ("same", "frozen", *GAMES), 2)
    assert len({piece.name for piece in found}) == len(found) == 1 + 7 + 2 * (2 + 2 + 3)
    piece = next(piece for piece in found if piece.name == "cartpole-sb3-0")
    write(tmp_path, "sb3", piece.run, [])
    hosts.measure(piece, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cartpole-sb3-0.json"]


def test_scales_of_few_rows_are_not_known() -> None:
    assert math.isnan(noise_scale([{"trace": 1.0, "grad_sq": 1.0}]).value)
