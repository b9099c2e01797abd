"""Games that the newest checkpoint plays while training continues: scores, and a video of one, for W&B."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from rlgns.errors import last_line
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.storage.checkpoint import STATE, numbered
from rlgns.storage.files import link_or_copy

EPISODES = 10
"""Full games that are scored, beside the one that is filmed."""

END_PATIENCE_S = 120.0
"""Seconds that the end of a finished run waits for games under way."""

PROGRAM = """
import json, sys
from pathlib import Path
from rlgns.evaluate import evaluate
checkpoint, episodes, video, seed = sys.argv[1:]
found = evaluate(Path(checkpoint), episodes=int(episodes), video=Path(video), seed=int(seed))
print(json.dumps({"score_mean": found.mean, "video_score": found.video_score, "observations": found.observations}))
"""
"""What the process runs: this package is below `rlgns.evaluate` and does not import it."""


@final
class _Games:
    """One run's games: at most one process at a time."""

    def __init__(self, start: RunStart) -> None:
        self.every = start.config.wandb.video_every_observations
        self._start = start
        self._videos = start.folder.path / "videos"
        # A resumed run goes on behind its newest video, ITERATION-OBSERVATIONS.mp4
        filmed = max([("", 0), *(_filmed(path) for path in self._videos.glob("*-*.mp4"))])
        self._checkpoint, self._next = filmed[0], filmed[1] + self.every
        self._process: subprocess.Popen[str] | None = None
        self._scratch = self._video = Path()

    def due(self, row: Row) -> bool:
        """Returns whether a newer checkpoint is to play."""
        saved = numbered(self._start.folder.checkpoints_path)
        newer = bool(saved) and saved[-1].name != self._checkpoint
        return self._process is None and row["observations"] >= self._next and newer

    def begin(self, row: Row) -> None:
        """Starts a process in which the newest checkpoint plays. Raises OSError."""
        newest = numbered(self._start.folder.checkpoints_path)[-1]
        self._checkpoint = newest.name
        self._next = row["observations"] + self.every
        self._videos.mkdir(exist_ok=True)
        # Training removes old checkpoints
        self._scratch = Path(tempfile.mkdtemp(prefix=".playing-", dir=self._videos))
        (self._scratch / newest.name).mkdir()
        link_or_copy(newest / STATE, self._scratch / newest.name / STATE)
        self._video = self._scratch / "game.mp4"
        arguments = [str(self._scratch / newest.name), str(EPISODES), str(self._video), str(int(newest.name))]
        # Training comes first, and the GPU is training's
        aside = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            ["nice", "-n", "19", sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | aside,
            start_new_session=True,  # Ctrl-C is training's too
        )

    def ended(self, patience_s: float = 0.0) -> dict[str, Any] | None:
        """Returns what the games gave, once they have ended; None: no games, or not yet.

        Raises:
            OSError: They ended with an error.
        """
        if self._process is None or (patience_s <= 0 and self._process.poll() is None):
            return None
        try:
            said, errors = self._process.communicate(timeout=max(patience_s, 1.0))
        except subprocess.TimeoutExpired:
            return None
        code, self._process = self._process.returncode, None
        try:
            if code:
                raise OSError(last_line(errors))
            found: dict[str, Any] = json.loads(said)
            kept = self._videos / f"{self._checkpoint}-{found['observations']}.mp4"
            os.replace(self._video, kept)
            return found | {"video": kept}
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def stop(self) -> None:
        """Stops games under way."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            shutil.rmtree(self._scratch, ignore_errors=True)


def _filmed(path: Path) -> tuple[str, int]:
    """Returns checkpoint and observations of a video's name; of another file, those of none."""
    checkpoint, _, observations = path.stem.partition("-")
    return (checkpoint, int(observations)) if checkpoint.isdigit() and observations.isdigit() else ("", 0)


@final
class CheckpointGames(Listener):
    """Has the newest checkpoint of each run play every `wandb.video_every_observations`, in a separate process.

    Training's random streams know nothing of it: the games have their own.

    Args:
        say: Prints one line for the user.
        log: Takes a run's key and values, to be logged in W&B with its next row.
    """

    def __init__(self, say: Callable[[str], None], log: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._say, self._log = say, log
        self._runs: dict[str, _Games] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Notes the runs that want videos."""
        self._runs |= {run.key: _Games(run) for run in runs if run.config.wandb.video_every_observations}

    def row(self, game: str, row: Row) -> None:
        """Logs games that have ended, and starts new ones where they are due."""
        games = self._runs.get(game)
        if games is None:
            return
        try:
            self._take(game, games.ended())
            if games.due(row):
                games.begin(row)
        except OSError as error:
            self._fail(game, error)

    def end(self, outcome: str) -> None:
        """Waits for games under way where the run is done; stops them where it was interrupted."""
        give_up = time.monotonic() + END_PATIENCE_S
        for key, games in list(self._runs.items()):
            with suppress(OSError):
                self._take(key, games.ended(give_up - time.monotonic() if outcome == "done" else 0.0))
            games.stop()

    def _take(self, key: str, found: Mapping[str, Any] | None) -> None:
        if found is None:
            return
        import wandb

        values = {f"evaluation/{name}": found[name] for name in ("observations", "score_mean", "video_score")}
        with suppress(Exception):  # without W&B the file in DIR/videos is all there is
            values["evaluation/video"] = wandb.Video(str(found["video"]), format="mp4")
        self._log(key, values)

    def _fail(self, key: str, error: OSError) -> None:
        self._runs.pop(key).stop()
        self._say(f"{key}: no more videos of checkpoints (wandb.video_every_observations): {error}")
