"""Rows of a measured run: a run's folder, or what a host logged (trainer_state.json, metrics.csv, lines of JSON)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlgns.config.calibrations import run_calibrations
from rlgns.config.files import exists
from rlgns.critical.predicted import with_predictions
from rlgns.errors import UserError
from rlgns.extras import TRAINER
from rlgns.storage.files import reason
from rlgns.storage.run_folder import RunFolder

READS = "a run's folder, trainer_state.json of Transformers, metrics.csv of Lightning, or a file of JSON lines"


def read_rows(path: Path) -> Sequence[Mapping[str, Any]]:
    """Returns the rows of one run, oldest first.

    Raises:
        UserError: There is no run, several runs, or a file that is none of those.
    """
    if not exists(path):
        raise UserError(f"{path} does not exist; name {READS}")
    if path.is_dir():
        return _rows_of_folder(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {reason(error) if isinstance(error, OSError) else error}") from error
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else None
        rows = json.loads(text)["log_history"] if rows is None else rows
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not {READS}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not {READS}")
    return rows


def _rows_of_folder(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        from rlgns.config.load import from_dict  # needs PyYAML, as every config.yaml does
    except ImportError as error:
        raise UserError(
            f"{path} is a run's folder, which needs the trainer: pip install 'rlgns[{TRAINER}]', or name its "
            "metrics.jsonl, which does not"
        ) from error
    found = RunFolder.find(path)
    if len(found) > 1:
        names = ", ".join(folder.path.name for folder in found)
        raise UserError(f"{path} holds {len(found)} runs ({names}): name one of them")
    config = from_dict(found[0].config())
    calibrations = run_calibrations(algorithm=config.agent.algorithm, epochs=config.agent.epochs)
    return with_predictions(found[0].rows(), calibrations, config.noise.level)
