"""`rlgns train --mirror` as a user runs it, with a real S3 server; and what `--resume URL` starts from."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

import rlgns.training as training
from benchmarks.sweep_kills import kill_all
from rlgns.commands import cli
from rlgns.monitor.mirror_listener import EVERY_S, MirrorListener
from rlgns.storage.checkpoint import load_newest, newest_whole
from rlgns.storage.mirror_restore import restore
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.training_process import iterations, start, until_a_row
from tests.rows import make_row
from tests.s3_server import SECRET, CutOff, environment, serving


@pytest.mark.cluster
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
        monkeypatch.setattr(training, "_train_all", lambda runs, place, notes=(): starts.extend(runs) or 0)
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


@pytest.mark.cluster
def test_a_kill_in_the_middle_of_a_copy_loses_nothing_that_was_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All processes of the machine die while the second checkpoint is on its way to the server."""
    out, there, url = tmp_path / "run", tmp_path / "there", f"s3://bucket/{tmp_path.name}"
    with serving() as port:
        with CutOff(port, r"PUT (\S+/state\.pt)", which=2) as link:
            for name, value in environment(link.port).items():
                monkeypatch.setenv(name, value)
            process = start(tmp_path, "train", "--out", str(out), "--mirror", url, engine={"checkpoint_every_s": 0})
            assert link.reached.wait(300)
            assert kill_all(process) > 3
        for name, value in environment(port).items():
            monkeypatch.setenv(name, value)
        lines: list[str] = []
        restore(url, tmp_path / "look", lines.append)
        rows, saved = iterations(tmp_path / "look"), newest_whole(tmp_path / "look" / "checkpoints")
        assert lines == []  # the torn copy was never marked as complete
        assert rows == list(range(1, len(rows) + 1))
        assert 0 < saved < len(rows)  # rows go first: training repeats those behind the checkpoint
        target = 256 * (len(rows) + 2)
        process = start(tmp_path, "train", "--resume", url, "--out", str(there), "--observations", str(target))
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert f"training repeats what is missing from {256 * saved:,} observations" in said
        assert iterations(there) == list(range(1, len(rows) + 3))
        assert [row["observations"] for row in RunFolder(there).rows()] == [256 * (i + 1) for i in range(len(rows) + 2)]
        restore(url, tmp_path / "again", lines.append)
    assert iterations(tmp_path / "again") == iterations(there)
    assert newest_whole(tmp_path / "again" / "checkpoints") == len(rows) + 2


def test_two_seeds_resume_from_their_mirror_each_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them by the URL that was given, or one by its own; both mirror to where they came from."""
    url = f"file://{tmp_path}/store"
    sessions: list[list[training.RunStart]] = []

    def session(runs: list[training.RunStart], place: Path, notes: object = ()) -> int:
        mirror = MirrorListener(lambda text: None)
        mirror.claim(runs)
        mirror.start(runs)
        for run in runs:
            first = run.folder.last_iteration() + 1
            for iteration in range(first, first + run.config.run.seed):
                run.folder.append(make_row(iteration))
        mirror.end("done")
        sessions.append(runs)
        return 0

    monkeypatch.setattr(training, "_train_all", session)
    new = ["train", "--config", "quick", "--seeds", "2", "3", "--mirror", url, "--out"]
    assert cli.main([*new, str(tmp_path / "here")]) == 0
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["pong-s2", "pong-s3"]

    assert cli.main([*new, str(tmp_path / "refused")]) == 2
    assert f"--mirror {url}/pong-s2: holds another run" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()

    assert cli.main(["train", "--resume", f"{url}/pong-s7", "--out", str(tmp_path / "none")]) == 2
    assert f"--resume {url}/pong-s7: holds no run" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()

    assert cli.main(["train", "--resume", url, "--out", str(tmp_path / "all")]) == 0
    assert cli.main(["train", "--resume", f"{url}/pong-s3", "--out", str(tmp_path / "one")]) == 0
    here, both, (one,) = sessions
    for before, after in zip(here, both, strict=True):
        assert (after.key, after.wandb_id) == (before.key, before.wandb_id)
        assert after.config.run.seed == before.config.run.seed
        assert after.folder.path == tmp_path / "all" / before.key
    assert [len(run.folder.rows()) for run in both] == [4, 6]
    assert (one.key, one.folder.path, len(one.folder.rows())) == ("pong-s3", tmp_path / "one", 9)
    assert {run.config.output.mirror for run in (*both, one)} == {url}
    for key, rows in (("pong-s2", 4), ("pong-s3", 9)):
        copied = b"".join(path.read_bytes() for path in sorted((tmp_path / "store" / key / "metrics").iterdir()))
        assert copied.count(b"\n") == rows
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["pong-s2", "pong-s3"]
