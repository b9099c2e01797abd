"""The thread that keeps mirrors up to date, with a real S3 server that goes away and comes back."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest

from rlgns.config.load import to_dict
from rlgns.config.schema import Config, OutputConfig
from rlgns.errors import UserError
from rlgns.monitor.listener import RunStart
from rlgns.monitor.mirror_listener import MirrorListener
from rlgns.storage.checkpoint import STATE
from rlgns.storage.mirror_restore import restore
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.engine.tiny import tiny
from tests.rows import make_row
from tests.s3_server import SECRET, environment, serving


def mirrored(url: str) -> Config:
    return dataclasses.replace(tiny(), output=OutputConfig(mirror=url))


def new_run(path: Path, url: str) -> RunStart:
    folder, config = RunFolder(path), mirrored(url)
    folder.create(to_dict(config), {"game": "pong", "wandb_id": "abc"})
    return RunStart(game="pong", folder=folder, config=config, wandb_id="abc")


def save(folder: RunFolder, iteration: int) -> None:
    folder.append(make_row(iteration))
    path = folder.checkpoints_path / f"{iteration:08d}"
    path.mkdir()
    (path / STATE).write_bytes(b"state of %d" % iteration)


class Lines(list[str]):
    """What the user sees; another thread may wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self._came = threading.Condition()

    def say(self, line: str) -> None:
        with self._came:
            self.append(line)
            self._came.notify_all()

    def wait_for(self, text: str) -> None:
        with self._came:
            assert self._came.wait_for(lambda: any(text in line for line in self), 60), f"{text} not in {self}"


def test_a_server_that_goes_away_stops_nothing_and_is_caught_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    listener = MirrorListener(lines.say, every_s=0.05, patience_s=30)
    with serving() as port:
        for name, value in environment(port).items():
            monkeypatch.setenv(name, value)
        run = new_run(tmp_path / "run", f"s3://bucket/{tmp_path.name}")
        listener.claim([run])
        listener.start([run])
        save(run.folder, 1)
    save(run.folder, 2)
    lines.wait_for("cannot be reached")
    save(run.folder, 3)
    with serving(port):  # with what it had
        lines.wait_for("works again")
        save(run.folder, 4)
        run.folder.report_path.write_text("<p></p>")
        listener.end("done")
        restore(run.config.output.mirror, tmp_path / "there")
    assert [line.split(":")[0] for line in lines] == ["mirror"] * 3
    assert "another machine: rlgns train --resume s3://bucket/" in lines[0]
    assert "training continues, and copying is tried again" in lines[1]
    assert not any(SECRET in line or "\n" in line for line in lines)
    there = RunFolder(tmp_path / "there")
    assert there.last_iteration() == 4
    assert (there.checkpoints_path / "00000004" / STATE).read_bytes() == b"state of 4"


def test_the_end_says_what_a_dead_mirror_lacks(tmp_path: Path) -> None:
    store = tmp_path / "store"
    run = new_run(tmp_path / "run", f"file://{store}")
    lines = Lines()
    listener = MirrorListener(lines.say, every_s=60, patience_s=0.1)
    listener.claim([run])
    listener.start([run])
    save(run.folder, 1)
    store.rename(tmp_path / "gone")
    store.write_text("in the way")
    listener.end("done")
    *_, failure, end = lines
    assert failure.startswith(f"mirror: file://{store} cannot be reached: ")
    assert end == (
        f"mirror: file://{store} lacks the newest rows or checkpoint; copy them with: "
        f"rlgns train --resume {run.folder.path}"
    )


def test_a_run_that_another_machine_resumed_is_copied_no_more(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", f"file://{tmp_path}/store")
    lines = Lines()
    listener = MirrorListener(lines.say, every_s=0.02, patience_s=5)
    listener.claim([run])
    listener.start([run])
    save(run.folder, 1)
    elsewhere = tmp_path / "elsewhere"
    while not (tmp_path / "store" / "checkpoints" / "00000001" / "complete.json").exists():
        time.sleep(0.01)
    restore(run.config.output.mirror, elsewhere)
    other = MirrorListener(lines.say, every_s=60)
    other.claim([dataclasses.replace(run, folder=RunFolder(elsewhere))])
    save(run.folder, 2)
    lines.wait_for("copying has stopped")
    listener.end("done")
    assert not (tmp_path / "store" / "checkpoints" / "00000002").exists()
    with pytest.raises(UserError, match="another machine resumed it"):
        MirrorListener(lines.say).claim([run])
    assert len(lines) == 2


def test_without_a_mirror_there_is_no_thread(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", "")
    lines = Lines()
    listener = MirrorListener(lines.say)
    listener.claim([run])
    before = threading.active_count()
    listener.start([run])
    listener.end("done")
    assert (threading.active_count(), lines) == (before, [])


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/x", "s3://bucket/x?access_key=secret", "bucket/x", "s3://"])
def test_urls_that_cannot_be_are_refused_without_showing_keys(url: str) -> None:
    with pytest.raises(ValueError, match=r"^output.mirror ") as refusal:
        OutputConfig(mirror=url)
    assert "secret" not in str(refusal.value)
