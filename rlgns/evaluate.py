"""Scores of a trained policy on full games under the protocol that it was trained with, and a video of one game."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import torch

from rlgns.config import random_streams
from rlgns.envs.games import human_normalised
from rlgns.envs.protocols import PROTOCOLS, Protocol
from rlgns.envs.vector import AtariEnvs, Episode
from rlgns.envs.video import FRAMES_PER_SECOND, FilmedGame
from rlgns.errors import FaultError, UserError
from rlgns.machine.hardware import usable_cores
from rlgns.monitor.progress_bars import ProgressBars
from rlgns.storage.checkpoint import Policy, load_policy

MAX_ENVS = 10
"""Games played side by side."""

VIDEO_SCALE = 3

Actor = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.int64]]
"""Returns a sampled action for each of N observations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """Scores of full games."""

    checkpoint: Path
    game: str
    protocol: Protocol
    observations: int
    """Observations that the policy was trained for."""
    episodes: tuple[Episode, ...]
    video: Path | None = None
    video_score: float = math.nan
    """Raw score of the filmed game, which is not one of `episodes`; NaN without a video."""

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Raw scores, [episodes]."""
        return np.array([episode.score for episode in self.episodes])

    @property
    def mean(self) -> float:
        """Mean raw score."""
        return float(self.scores.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over games of this one policy, not over training seeds. NaN for one game."""
        return float(self.scores.std(ddof=1) / math.sqrt(len(self.episodes))) if len(self.episodes) > 1 else math.nan

    @property
    def median(self) -> float:
        """Median raw score."""
        return float(np.median(self.scores))

    @property
    def human_normalised(self) -> float:
        """Human-normalised mean score (see `rlgns.envs.games.human_normalised`)."""
        return human_normalised(self.game, self.mean)

    def table(self) -> str:
        """Returns the scores as a table of several lines."""
        error = f" +- {self.standard_error:.4g} (standard error over games)" if len(self.episodes) > 1 else ""
        lengths = [episode.length for episode in self.episodes]
        rows = [
            ("checkpoint", f"{self.checkpoint} ({self.game}, {self.observations:,} observations)"),
            ("full games", f"{len(self.episodes)}, of {np.mean(lengths):,.0f} observations on average"),
            ("mean score", f"{self.mean:.6g}{error}"),
            ("median score", f"{self.median:.6g}, from {self.scores.min():.6g} to {self.scores.max():.6g}"),
            ("human-normalised", f"{100 * self.human_normalised:.1f} %"),
        ]
        if self.video is not None:
            rows.append(("video", f"{self.video} (one more game, score {self.video_score:.6g})"))
        return "\n".join([f"{name:<18}{value}" for name, value in rows] + [self.protocol.describe()])


def evaluate(checkpoint: Path, *, episodes: int, video: Path | None = None, seed: int = 0) -> EvaluationResult:
    """Plays full games with a trained policy, which samples its actions as in training.

    Each environment plays a fixed number of games. (Taking the first N games to end anywhere would favour short ones.)

    Args:
        checkpoint: A run's folder or one of its checkpoints.
        episodes: Number of games.
        video: Where to write a film of one more game (.mp4, H.264), or None.
        seed: Of games and actions. Whatever the seed, the games differ from those of training.

    Raises:
        UserError: Number out of range, or unusable path or checkpoint.
        FaultError: The video could not be encoded.
    """
    if episodes <= 0:
        raise UserError(f"--episodes must be positive, got {episodes}")
    if seed < 0:
        raise UserError(f"--seed must be zero or positive, got {seed}")
    if video is not None:
        _check_video(video)
    policy = load_policy(checkpoint)
    protocol = PROTOCOLS[policy.config.env.protocol]
    act = _actor(policy, seed)
    played = _play(policy, act, episodes, seed)
    video_score = _film(policy, act, video, seed) if video is not None else math.nan
    return EvaluationResult(
        checkpoint=checkpoint,
        game=policy.game,
        protocol=protocol,
        observations=policy.observations,
        episodes=tuple(played),
        video=video,
        video_score=video_score,
    )


def _play(policy: Policy, act: Actor, episodes: int, seed: int) -> list[Episode]:
    num_envs = min(episodes, MAX_ENVS)
    games_left = np.full(num_envs, episodes // num_envs)
    games_left[: episodes % num_envs] += 1
    envs = AtariEnvs(
        policy.game,
        replace(policy.config.env, stagger_steps=0),
        num_envs=num_envs,
        seed=seed,
        worker_index=random_streams.EVALUATION,
        threads=usable_cores(),
    )
    played: list[Episode] = []
    try:
        observations = envs.reset()
        with ProgressBars() as progress:
            while games_left.any():
                step = envs.step(act(observations))
                observations = step.observations
                for episode in step.episodes:
                    if games_left[episode.env]:
                        games_left[episode.env] -= 1
                        played.append(episode)
                        progress("games", episodes)
    finally:
        envs.close()
    return played


def _actor(policy: Policy, seed: int) -> Actor:
    device = next(policy.network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)

    @torch.inference_mode()
    def act(observations: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        logits, _ = policy.network(torch.from_numpy(observations).to(device))
        return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1).cpu().numpy()

    return act


def _film(policy: Policy, act: Actor, path: Path, seed: int) -> float:
    """Plays one game, films every frame, and returns its raw score. The file appears once it is complete."""
    game = FilmedGame(policy.game, policy.config.env, seed=seed)
    observation, score, ended, frames = game.reset(), 0.0, False, 0
    partial = _partial(path)
    try:
        with _writer(partial, game.screen_size) as writer:
            while not ended:
                observation, screens, reward, terminated, truncated = game.step(int(act(observation)[0]))
                for screen in screens:
                    writer.send(screen.tobytes())
                frames += len(screens)
                score, ended = score + reward, terminated or truncated
        if not _is_whole(partial, frames):
            raise OSError
        os.replace(partial, path)
    except OSError as error:  # imageio-ffmpeg's own has no strerror, and ffmpeg's command line as its text
        raise FaultError(
            f"cannot write {path}: {error.strerror or 'ffmpeg stopped early; is the disk full?'}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return score


@contextmanager
def _writer(path: Path, size: tuple[int, int]) -> Iterator[Generator[None, bytes, None]]:
    """Starts ffmpeg and yields the generator that takes frames as RGB bytes."""
    writer = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=FRAMES_PER_SECOND,
        codec="libx264",
        macro_block_size=2,  # H.264 needs even sizes; 16 would blur the screen by scaling it
        ffmpeg_log_level="quiet",
        output_params=["-vf", f"scale=iw*{VIDEO_SCALE}:ih*{VIDEO_SCALE}:flags=neighbor"],
    )
    writer.send(None)
    try:
        yield writer
    finally:
        writer.close()


def _is_whole(path: Path, frames: int) -> bool:
    """Returns whether all frames are there: a disk may fill at the very end, and imageio-ffmpeg hides exit codes."""
    try:
        return bool(imageio_ffmpeg.count_frames_and_secs(str(path))[0] == frames)
    except RuntimeError:
        return False


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial.mp4")


def _check_video(path: Path) -> None:
    """Raises UserError where a video cannot be written, before any game is played."""
    if path.suffix.lower() != ".mp4":
        raise UserError(f"--video must end in .mp4, got {path}")
    if path.is_dir():
        raise UserError(f"--video {path}: is a folder")
    try:
        _partial(path).touch()
        _partial(path).unlink()
    except OSError as error:
        raise UserError(f"--video {path}: cannot be written: {error.strerror}") from error
