"""Uploads report and checkpoints of a run as W&B artifacts, each version once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from rlgns.monitor.listener import Row, RunStart
from rlgns.storage.files import link_or_copy
from rlgns.storage.run_folder import RunFolder

CHECKPOINT_EVERY_S = 3600.0
"""Seconds between two checkpoint uploads during a run. The last checkpoint is always uploaded."""

_METADATA = ("game", "iteration", "observations", "optimizer_steps", "score_mean", "human_normalised_score")


class UploadRecord:
    """Numbers kept for later sessions in a JSON file beside W&B's own; without the file all are 0."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        self._path = folder.wandb_path / name

    def read(self, name: str) -> int:
        """Returns one number."""
        try:
            return int(json.loads(self._path.read_text())[name])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def write(self, numbers: Mapping[str, int]) -> None:
        """Replaces the file atomically."""
        self._path.parent.mkdir(exist_ok=True)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(numbers))
        temporary.replace(self._path)


@final
class ArtifactUploader:
    """Uploads report and checkpoints of one run.

    The client stages files in the user's home, which a container loses before `wandb sync`. So each file is first
    linked (or copied) into DIR/wandb/artifacts, where neither a newer report nor the removal of old checkpoints
    reaches it. W&B reads it from there.

    Args:
        wanted: `none`, `report` or `all`.
        run: W&B's run.
        start: The same run as rlgns knows it.
        say: Prints one line for the user.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        wanted: str,
        run: Any,
        start: RunStart,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._run, self._start, self._say, self._clock = wanted, run, start, say, clock
        self._record = UploadRecord(start.folder, "artifacts.json")
        self._uploaded = {kind: self._record.read(kind) for kind in ("checkpoint", "report")}
        self._row: Row | None = None
        self._checked_s = clock()

    def row(self, row: Row) -> None:
        """Remembers the newest row; uploads the newest checkpoint every hour."""
        self._row = row
        if self._wanted == "all" and self._clock() - self._checked_s >= CHECKPOINT_EVERY_S:
            self._checked_s = self._clock()
            self._safely(self._checkpoint)

    def end(self) -> None:
        """Uploads the session's last checkpoint and its report."""
        if self._wanted == "all":
            self._safely(self._checkpoint)
        if self._wanted != "none":
            self._safely(self._report)

    def _checkpoint(self) -> None:
        from rlgns.storage.checkpoint import STATE, numbered

        saved = numbered(self._start.folder.checkpoints_path)
        if saved:
            self._upload("checkpoint", "model", saved[-1] / STATE, int(saved[-1].name))

    def _report(self) -> None:
        report, iteration = self._start.folder.report_path, self._start.folder.last_iteration()
        if report.is_file():
            self._upload("report", "report", report, iteration)

    def _upload(self, kind: str, type_: str, path: Path, iteration: int) -> None:
        """Uploads a file that belongs to an iteration, unless a file of that iteration or a later one was uploaded."""
        if iteration <= self._uploaded[kind]:
            return
        import wandb

        kept = self._start.folder.wandb_path / "artifacts" / f"{kind}-{iteration:08d}{path.suffix}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, kept)
        row = self._row or self._start.first_row or {}
        about = {key: row.get(key) for key in _METADATA} if row.get("iteration") == iteration else {}
        artifact = wandb.Artifact(
            f"{self._start.key}-{self._start.wandb_id}-{kind}", type_, metadata=about | {"iteration": iteration}
        )
        artifact.add_file(str(kept.absolute()), name=path.name, policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=["latest", f"iteration-{iteration}"])
        self._uploaded[kind] = iteration
        self._record.write(self._uploaded)

    def _safely(self, upload: Callable[[], None]) -> None:
        try:
            upload()
        except Exception as error:  # No error of W&B's may stop training.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._say(f"W&B: {self._start.key}: artifact not uploaded: {reason}")
