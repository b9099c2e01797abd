"""Checkpoints that play while training continues: real games, a real video, W&B offline."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import imageio_ffmpeg
import pytest

from rlgns.config.schema import Config, RunConfig, WandbConfig
from rlgns.monitor import checkpoint_games
from rlgns.monitor.checkpoint_games import CheckpointGames
from rlgns.monitor.listener import CompositeListener, RunStart
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.monitor.wandb_transaction_log import history
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.test_evaluate import save_policy
from tests.rows import make_row, make_run

pytestmark = pytest.mark.usefixtures("no_login")

WANDB = WandbConfig(mode="offline", video_every_observations=3000)


def start_of(folder: RunFolder) -> RunStart:
    config = Config(run=RunConfig(games=("breakout",), name="quick"), wandb=WANDB)
    return RunStart(game="breakout", folder=folder, config=config, wandb_id="idbreakout")


def session(folder: RunFolder, iterations: range, outcome: str) -> list[str]:
    lines: list[str] = []
    wandb = WandbLogger(WANDB, lines.append)
    listener = CompositeListener([CheckpointGames(lines.append, wandb.media), wandb])
    listener.start([start_of(folder)])
    for iteration in iterations:
        row = make_row(iteration, game="breakout")
        folder.append(row)
        listener.row("breakout", row)
    listener.end(outcome)
    return lines


def test_scores_and_video_come_with_a_later_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_games, "EPISODES", 2)
    folder = make_run(tmp_path / "run", [], game="breakout")
    save_policy(folder.path)  # at 3,072 observations
    (line,) = session(folder, range(1, 6), "done")  # due at the third row
    assert line.startswith("W&B: offline")
    (video,) = (folder.path / "videos").iterdir()
    assert video.name == "00000003-3072.mp4"
    filmed = video.stat().st_mtime_ns
    assert imageio_ffmpeg.count_frames_and_secs(str(video))[0] > 100
    (path,) = folder.path.glob("wandb/offline-run-*/*.wandb")
    found = {key: value for row in history(path) for key, value in row.items() if key.startswith("evaluation/")}
    assert found["evaluation/observations"] == 3072
    assert 0 <= found["evaluation/score_mean"] < 8
    assert found["evaluation/video/_type"] == "video-file"
    assert list(path.parent.glob("files/media/videos/**/*.mp4"))

    assert len(session(folder, range(6, 7), "done")) == 1  # resumed: no newer checkpoint, no second film of it
    (video,) = (folder.path / "videos").iterdir()
    assert video.stat().st_mtime_ns == filmed


def test_an_interrupted_run_waits_for_no_game(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [], game="breakout")
    save_policy(folder.path)
    listener = CheckpointGames(print, lambda key, values: None)
    listener.start([start_of(folder)])
    listener.row("breakout", make_row(3, game="breakout"))
    process = listener._runs["breakout"]._process
    assert process is not None and process.poll() is None
    listener.end("interrupted")
    assert process.returncode is not None
    assert list((folder.path / "videos").iterdir()) == []


def test_a_checkpoint_that_cannot_play_is_reported_once(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [], game="breakout")
    (folder.checkpoints_path / "00000003").mkdir()
    (folder.checkpoints_path / "00000003" / "state.pt").write_bytes(b"torn")
    lines: list[str] = []
    listener = CheckpointGames(lines.append, lambda key, values: None)
    listener.start([start_of(folder)])
    listener.row("breakout", make_row(3, game="breakout"))
    process = listener._runs["breakout"]._process
    assert process is not None
    process.wait()
    for iteration in (4, 5):
        listener.row("breakout", make_row(iteration, game="breakout"))
    (line,) = lines
    assert line.startswith("breakout: no more videos of checkpoints (wandb.video_every_observations): ")
    assert "torn" in line


def test_it_is_off_unless_asked_for(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [], game="breakout")
    save_policy(folder.path)
    listener = CheckpointGames(print, lambda key, values: None)
    listener.start([dataclasses.replace(start_of(folder), config=Config())])
    listener.row("breakout", make_row(3, game="breakout"))
    listener.end("done")
    assert not (folder.path / "videos").exists()
