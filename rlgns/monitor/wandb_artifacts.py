"""Report and checkpoints of a run as W&B artifacts, each once."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from rlgns.monitor.listener import Row, RunStart
from rlgns.storage.run_folder import RunFolder

CHECKPOINT_EVERY_S = 3600.0
"""Seconds between two checkpoints that become artifacts while a run goes on; the last one always does."""

_METADATA = ("game", "iteration", "observations", "optimizer_steps", "score_mean", "human_normalised_score")


class Note:
    """A few numbers that a later session reads again, in a file beside W&B's own; without the file all are 0."""

    def __init__(self, folder: RunFolder, name: str) -> None:
        self._path = folder.wandb_path / name

    def read(self, name: str) -> int:
        """Returns one number."""
        try:
            return int(json.loads(self._path.read_text())[name])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def write(self, numbers: Mapping[str, int]) -> None:
        """Replaces the file, whole or not at all."""
        self._path.parent.mkdir(exist_ok=True)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(numbers))
        temporary.replace(self._path)


@final
class Artifacts:
    """Hands report and checkpoints of one run to W&B.

    The client stages files in the user's home, where a container loses them before `wandb sync`. So each file is linked
    (or copied) into DIR/wandb/artifacts first, where neither a newer report nor the removal of old checkpoints reaches
    it, and W&B takes it from there.

    Args:
        wanted: `none`, `report` or `all`.
        run: W&B's.
        start: Ours.
        say: Takes one line for the person who watches.
        clock: Seconds.
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
        self._note = Note(start.folder, "artifacts.json")
        self._logged = {kind: self._note.read(kind) for kind in ("checkpoint", "report")}
        self._row: Row | None = None
        self._looked_s = clock()

    def row(self, row: Row) -> None:
        """Notes the newest row; from time to time hands on the newest checkpoint."""
        self._row = row
        if self._wanted == "all" and self._clock() - self._looked_s >= CHECKPOINT_EVERY_S:
            self._looked_s = self._clock()
            self._safely(self._checkpoint)

    def end(self) -> None:
        """Hands on what a session left: its last checkpoint and its report."""
        if self._wanted == "all":
            self._safely(self._checkpoint)
        if self._wanted != "none":
            self._safely(self._report)

    def _checkpoint(self) -> None:
        from rlgns.storage.checkpoint import STATE, numbered

        saved = numbered(self._start.folder.checkpoints_path)
        if saved:
            self._log("checkpoint", "model", saved[-1] / STATE, int(saved[-1].name))

    def _report(self) -> None:
        report, iteration = self._start.folder.report_path, self._start.folder.last_iteration()
        if report.is_file():
            self._log("report", "report", report, iteration)

    def _log(self, kind: str, type_: str, path: Path, iteration: int) -> None:
        """Hands on a file that shows the run at an iteration, unless that was handed on before."""
        if iteration <= self._logged[kind]:
            return
        import wandb

        kept = self._start.folder.wandb_path / "artifacts" / f"{kind}-{iteration:08d}{path.suffix}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        _link(path, kept)
        row = self._row or self._start.first_row or {}
        about = {key: row.get(key) for key in _METADATA} if row.get("iteration") == iteration else {}
        artifact = wandb.Artifact(
            f"{self._start.key}-{self._start.wandb_id}-{kind}", type_, metadata=about | {"iteration": iteration}
        )
        artifact.add_file(str(kept.absolute()), name=path.name, policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=["latest", f"iteration-{iteration}"])
        self._logged[kind] = iteration
        self._note.write(self._logged)

    def _safely(self, hand_on: Callable[[], None]) -> None:
        try:
            hand_on()
        except Exception as error:  # Whatever goes wrong in W&B is W&B's; training goes on.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._say(f"W&B: {self._start.key}: not handed on as an artifact: {reason}")


def _link(path: Path, target: Path) -> None:
    """Makes `target` the same file, or a copy where the disk knows no links. Raises OSError."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
