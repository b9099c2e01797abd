"""Evaluation of a checkpoint: real games, a real checkpoint, a real video."""

from __future__ import annotations

import math
import resource
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import build_network
from rlgns.config.load import to_dict
from rlgns.config.schema import Config
from rlgns.envs.config import EnvConfig
from rlgns.envs.games import human_normalised
from rlgns.envs.protocols import PROTOCOLS
from rlgns.envs.vector import Episode
from rlgns.errors import FaultError, UserError
from rlgns.evaluate import EvaluationResult, evaluate
from rlgns.storage import checkpoint

CONFIG = Config(
    env=EnvConfig(image_size=16, frame_stack=2, stagger_steps=500),
    network=NetworkConfig(channels=(4,), kernels=(8,), strides=(4,), hidden=8),
)


def save_policy(folder: Path, config: Config = CONFIG, num_actions: int = 4) -> Path:
    torch.manual_seed(0)
    network = build_network(config.network, num_actions=num_actions, frame_stack=2, image_size=16)
    state = {
        "config": to_dict(config),
        "game": "breakout",
        "num_actions": num_actions,
        "iteration": 3,
        "observations": 3072,
        "learner": {"network": network.state_dict()},
    }
    checkpoint.save(folder / "checkpoints", 3, state, kept=1)
    return folder


def test_scores_of_full_games(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlgns.evaluate.MAX_ENVS", 3)
    run = save_policy(tmp_path)
    result = evaluate(run, episodes=8, seed=1)
    assert len(result.episodes) == 8
    games_of_env = np.bincount([episode.env for episode in result.episodes])
    assert games_of_env.tolist() == [3, 3, 2], "as many games of each environment, however long they are"
    scores = [episode.score for episode in result.episodes]
    assert result.mean == pytest.approx(np.mean(scores))
    assert result.median == np.median(scores)
    assert result.standard_error == pytest.approx(np.std(scores, ddof=1) / math.sqrt(8))
    assert result.human_normalised == human_normalised("breakout", result.mean)
    assert 0 <= result.mean < 6, "an untrained policy plays about as well as random actions (1.7)"
    text = result.table()
    for part in (
        "breakout",
        "3,072 observations",
        "full games        8, of",
        "standard error",
        "median",
        "protocol baselines",
    ):
        assert part in text
    again = evaluate(run / "checkpoints" / "00000003", episodes=8, seed=1)
    assert again.episodes == result.episodes
    assert evaluate(run, episodes=8, seed=2).episodes != result.episodes


def test_the_policy_s_protocol_is_used(tmp_path: Path) -> None:
    config = replace(CONFIG, env=replace(CONFIG.env, protocol="machado"))
    result = evaluate(save_policy(tmp_path, config, num_actions=18), episodes=1)
    assert result.protocol.name == "machado"
    assert math.isnan(result.standard_error)
    assert "nan" not in result.table()


def test_video(tmp_path: Path) -> None:
    path = tmp_path / "game.mp4"
    result = evaluate(save_policy(tmp_path), episodes=1, video=path)
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    frame = np.frombuffer(next(reader), np.uint8)
    reader.close()
    assert about["codec"] == "h264"
    assert about["size"] == (480, 630)
    assert about["fps"] == 60
    assert about["duration"] > 3
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) > 10, "in colour"
    assert str(path) in result.table()
    assert math.isfinite(result.video_score)
    assert [file.name for file in tmp_path.glob("*.mp4")] + [file.name for file in tmp_path.glob(".*.mp4")] == [
        "game.mp4"
    ]


@pytest.mark.parametrize("episodes", [0, -3])
def test_episodes_must_be_positive(tmp_path: Path, episodes: int) -> None:
    with pytest.raises(UserError, match="--episodes must be positive, got"):
        evaluate(tmp_path, episodes=episodes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("game.avi", "must end in .mp4"),
        ("game", "must end in .mp4"),
        ("missing/game.mp4", "cannot be written: No such file"),
        ("file.txt/game.mp4", "cannot be written: Not a directory"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_bad_video_paths_fail_before_anything_is_played(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        evaluate(tmp_path, episodes=1, video=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_and_torn_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        evaluate(tmp_path, episodes=1)
    run = save_policy(tmp_path / "run")
    state = run / "checkpoints" / "00000003" / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(UserError, match="torn") as caught:
        evaluate(run, episodes=1)
    assert "\n" not in str(caught.value)


def test_a_video_that_does_not_fit_on_the_disk(tmp_path: Path) -> None:
    run = save_policy(tmp_path)
    path = tmp_path / "game.mp4"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))  # kills ffmpeg as it goes beyond 8 kB
    try:
        with pytest.raises(FaultError, match=r"cannot write .*game\.mp4: ffmpeg stopped early") as caught:
            evaluate(run, episodes=1, video=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert {file.name for file in tmp_path.iterdir()} == {"checkpoints"}, "no torn video is left"


def test_table() -> None:
    episodes = tuple(Episode(env, score, 100) for env, score in enumerate([1.0, 2.0, 6.0]))
    result = EvaluationResult(
        checkpoint=Path("runs/a"), game="pong", protocol=PROTOCOLS["machado"], observations=10, episodes=episodes
    )
    lines = result.table().splitlines()
    assert lines[2].split(maxsplit=2)[2] == "3 +- 1.528 (standard error over games)"
    assert lines[3].split(maxsplit=2)[2] == "2, from 1 to 6"
    assert lines[4].split()[1:] == ["67.1", "%"]
    assert lines[-1].startswith("protocol machado")
