"""`rlgns.train`: a real training of two games, and how keywords become the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlgns
from rlgns.commands import cli
from rlgns.commands import train as command
from rlgns.errors import ExitCode
from rlgns.python.train import _arguments

TINY: dict[str, Any] = {
    "config": "quick",
    "observations": np.int64(512),
    "seed": 3,
    "env": {"num_envs": 4, "image_size": 32, "stagger_steps": 4},
    "network": {"channels": [4], "kernels": (8,), "strides": np.array([8]), "hidden": 16},
    "agent": {"rollout_steps": 64, "epochs": 1, "minibatches": 2},
    "agent.learning_rate": 1e-3,
    "wandb.mode": "disabled",
}


def test_it_trains_and_returns_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], local_ray: None) -> None:
    """In the Ray that this process uses already, as in a notebook that has one."""
    out = tmp_path / "runs"
    runs = rlgns.train(["pong", "breakout"], out=out, quiet=True, **TINY)
    assert capsys.readouterr() == ("", "")
    assert list(runs) == ["breakout", "pong"]
    run = runs["pong"]
    assert (run.path, run.game) == (out / "pong", "pong")
    assert run["observations"].tolist() == [256, 512]
    assert (run.config.agent.learning_rate, run.config.run.seed, run.config.network.channels) == (1e-3, 3, (4,))
    assert np.isfinite(run["noise/grad_sq"]).all()
    assert str(run.estimate()).startswith("Critical batch ")
    assert (out / "report.html").is_file()

    again = rlgns.train(resume=run.path)  # nothing is left to do
    assert again.rows == run.rows == rlgns.load_run(run.path).rows
    assert f"report: {run.path / 'report.html'}" in capsys.readouterr().out
    with pytest.raises(rlgns.UserError, match="is not empty; resume its run"):
        rlgns.train("pong", out=run.path)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"game": "breakot"}, "--game breakot"),
        ({"timesteps": 10}, "--timesteps=10"),
        ({"observations": "many"}, "--observations many"),
        ({"agent": {"learning_rat": 1e-3}}, "--agent.learning_rat 1e-3"),
        ({"agent": {"minibatches": 7}}, "--agent.minibatches 7"),
        ({"batch": "fixed", "agent.batch": "adaptive"}, "--batch fixed --agent.batch adaptive"),
        ({"resume": "nowhere"}, "--resume nowhere"),
        ({"seeds": [1, 1]}, "--seeds 1 1"),
        ({"resume": "nowhere", "seed": 1}, "--resume nowhere --seed 1"),
    ],
)
def test_mistakes_have_the_line_of_the_command(
    settings: dict[str, Any], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *line.split()]) == ExitCode.USER_ERROR
    with pytest.raises(rlgns.UserError) as caught:
        rlgns.train(**settings)
    assert capsys.readouterr().err == f"rlgns: {caught.value}\n"
    assert not list(tmp_path.iterdir())


def test_keywords_become_arguments() -> None:
    assert _arguments(
        {
            "game": ["pong", "breakout"],
            "seeds": range(2),
            "async_lag": 1,
            "out": Path("x"),
            "seed": None,
            "flag": True,
            "other_flag": False,
            "noise": {"enabled": False, "level": np.float64(0.9)},
            "network.channels": (16, 32),
        }
    ) == [
        *("--game", "pong", "breakout", "--seeds", "0", "1", "--async-lag=1", "--out=x", "--flag"),
        *("--noise.enabled=False", "--noise.level=0.9", "--network.channels=16,32"),
    ]


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (ExitCode.FAULT, rlgns.FaultError, "pong: the disk is full; resume from the newest checkpoint with: rlgns."),
        (ExitCode.INTERRUPTED, KeyboardInterrupt, "saved; resume with: rlgns.train(resume='x')"),
        (143, SystemExit, "143"),
    ],
)
def test_a_run_that_was_stopped_raises(
    code: int, error: type[BaseException], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> int:
        print("rlgns: pong: the disk is full", file=sys.stderr)
        return code

    monkeypatch.setattr(command, "run", stopped)
    with pytest.raises(error) as caught:
        rlgns.train(resume="x", quiet=True)
    assert words in str(caught.value)
