"""`rlgns train`: folders, and what may change on resume. (tests/rlgns/test_train.py trains.)"""

from __future__ import annotations

from pathlib import Path

import pytest

import rlgns.training as training
from rlgns.commands import cli
from rlgns.commands.train import claim_folder, default_out
from rlgns.config.load import resolve
from rlgns.errors import UserError
from rlgns.monitor.listener import RunStart
from rlgns.storage.run_folder import RunFolder


def test_runners_and_learners_may_change_on_resume(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(training, "_train_all", lambda starts, out, notes: seen.extend(starts) or 0)
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "0", "1", "--seed", "2"], "--seeds and --seed are the same setting"),
        (["--seeds", "0", "0"], "--seeds must name each seed once, got 0 0"),
        (["--seeds", "0", "x"], "--seeds: 'x' is not a whole number"),
        (["--seeds", "-1"], "--seeds"),
        (["--resume", "none", "--seeds", "0", "1"], "leave out --config, --seeds"),
    ],
)
def test_seeds_that_cannot_be(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--config", "quick", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_each_seed_is_a_run_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RunStart] = []
    monkeypatch.setattr(training, "_train_all", lambda starts, out, notes=(): seen.extend(starts) or 0)
    out = tmp_path / "seeds"
    assert (
        cli.main(["train", "--config", "quick", "--seeds", "3", "5", "--game", "pong", "qbert", "--out", str(out)]) == 0
    )
    names = ["pong-s3", "qbert-s3", "pong-s5", "qbert-s5"]
    assert [(start.key, start.config.run.seed) for start in seen] == list(zip(names, (3, 3, 5, 5), strict=True))
    assert [folder.path.name for folder in RunFolder.find(out)] == sorted(names)
    seen.clear()
    assert cli.main(["train", "--resume", str(out)]) == 0
    assert [start.key for start in seen] == names
