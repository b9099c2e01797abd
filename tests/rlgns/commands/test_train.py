"""`rlgns train`: folders, and what may change on resume. (tests/rlgns/test_train.py trains.)"""

from __future__ import annotations

from pathlib import Path

import pytest

import rlgns.train as training
from rlgns.commands import cli
from rlgns.commands.train import claim_folder, default_out
from rlgns.config.load import resolve
from rlgns.errors import UserError


def test_runners_and_learners_may_change_on_resume(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(training, "_train_all", lambda starts, out: seen.extend(starts) or 0)
    saved = (run_folder / "config.yaml").read_bytes()
    assert cli.main(["train", "--resume", str(run_folder), "--runners", "4", "--engine.learners", "2"]) == 0
    (start,) = seen
    assert start.config == resolve(["ppo"], {"engine.runners": 4, "engine.learners": 2})
    assert (run_folder / "config.yaml").read_bytes() == saved
    assert cli.main(["train", "--resume", str(run_folder), "--runners", "3"]) == 2  # 8 environments


def test_the_default_folder_is_named_after_game_or_experiment() -> None:
    one = default_out(resolve(["quick"]))
    two = default_out(resolve(["quick"], {"run.games": "pong,qbert"}))
    assert (one.parts[0], one.name[:5], two.name[:6]) == ("runs", "pong-", "quick-")


def test_a_claimed_folder_is_made_and_may_exist_when_empty(tmp_path: Path) -> None:
    claim_folder(tmp_path / "a" / "b")
    claim_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "x").touch()
    with pytest.raises(UserError, match="is not empty"):
        claim_folder(tmp_path / "a" / "b")
