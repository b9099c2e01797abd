"""`rlgns train --mirror` as a user runs it, with a real S3 server; and what `--resume URL` starts from."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

import rlgns.train as training
from rlgns.commands import cli
from rlgns.monitor.mirror_listener import EVERY_S
from rlgns.storage.checkpoint import load_newest
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.test_train import iterations, start, until_a_row
from tests.s3_server import SECRET, environment, serving


def test_a_run_outlives_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert EVERY_S <= 10  # what a machine that dies without notice loses
    out, url = tmp_path / "run", f"s3://bucket/{tmp_path.name}"
    with serving() as port:
        for name, value in environment(port).items():
            monkeypatch.setenv(name, value)
        process = start(tmp_path, "train", "--out", str(out), "--mirror", url)
        until_a_row(process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode == 130, said
        assert "cannot be reached" not in said + capsys.readouterr().err
        done, state = iterations(out), load_newest(out / "checkpoints")
        written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
        assert SECRET not in said and SECRET.encode() not in written

        assert cli.main(["train", "--mirror", url, "--out", str(tmp_path / "another"), "--config", "quick"]) == 2
        refusal = capsys.readouterr().err
        assert f"--mirror {url}: holds another run" in refusal
        assert f"resume that with `rlgns train --resume {url}`" in refusal
        assert not (tmp_path / "another" / "config.yaml").exists()

        shutil.rmtree(out)  # the machine is gone
        starts: list[training.RunStart] = []
        monkeypatch.setattr(training, "_train_all", lambda runs, place: starts.extend(runs) or 0)
        there = tmp_path / "there"
        assert cli.main(["train", "--resume", url, "--out", str(there), "--runners", "2"]) == 0
        assert cli.main(["train", "--resume", url, "--out", str(there)]) == 2  # it is not empty
        assert cli.main(["train", "--resume", url, "--seed", "3"]) == 2
    assert iterations(there) == done
    assert state is not None
    assert (load_newest(there / "checkpoints") or {})["iteration"] == state["iteration"] == done[-1]
    (run,) = starts
    assert run.resumed
    assert (run.config.output.mirror, run.config.engine.runners) == (url, 2)
    assert run.wandb_id == RunFolder(there).about()["wandb_id"]
    assert os.listdir(there / "checkpoints") == [f"{done[-1]:08d}"]
