"""A run's mirror in a real S3 server and in a folder, cut off at every file."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs
import pytest

from rlgns.config.load import to_dict
from rlgns.errors import UserError
from rlgns.storage import mirror as mirror_module
from rlgns.storage import remote_folder as remote_module
from rlgns.storage.checkpoint import STATE
from rlgns.storage.mirror import COMPLETE, CONFIG, RunMirror
from rlgns.storage.mirror_restore import restore
from rlgns.storage.remote_folder import RemoteFolder
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.engine.tiny import tiny
from tests.rows import make_row
from tests.s3_server import environment, serving


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/store"
    for name, value in environment(request.getfixturevalue("s3")).items():
        monkeypatch.setenv(name, value)
    return f"s3://bucket/{tmp_path.name}"


def new_run(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.create(to_dict(tiny()), {"game": "pong", "wandb_id": "abc"})
    return folder


def train(folder: RunFolder, iterations: range, *, kept: int = 2) -> None:
    """Rows and, after the last one, a checkpoint."""
    for iteration in iterations:
        folder.append(make_row(iteration))
    path = folder.checkpoints_path / f"{iterations[-1]:08d}"
    path.mkdir(exist_ok=True)
    (path / STATE).write_bytes(content_of(iterations[-1]))
    for old in sorted(folder.checkpoints_path.iterdir())[:-kept]:
        (old / STATE).unlink()
        old.rmdir()


def content_of(iteration: int) -> bytes:
    return random.Random(iteration).randbytes(5000)


def mirror_of(folder: RunFolder, url: str, *, kept: int = 2) -> RunMirror:
    return RunMirror(folder, RemoteFolder(url), kept=kept)


def restored(url: str, path: Path) -> tuple[RunFolder, list[str]]:
    lines: list[str] = []
    restore(url, path, lines.append)
    return RunFolder(path), lines


def checkpoints(folder: RunFolder) -> list[tuple[str, bytes]]:
    return [(path.name, (path / STATE).read_bytes()) for path in sorted(folder.checkpoints_path.iterdir())]


def test_another_machine_gets_rows_checkpoint_and_configuration(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "SEGMENT_BYTES", 20_000)  # some rows each
    folder = new_run(tmp_path / "here")
    mirror = mirror_of(folder, url)
    mirror.check_free()
    mirror.claim()
    for first in (1, 11, 21, 31):
        train(folder, range(first, first + 10))
        with folder.metrics_path.open("ab") as file:
            file.write(b'{"iteration": torn')  # a row that is being written
        mirror.copy()
        folder.drop_torn_line()
    assert not mirror.behind()
    assert len(mirror.remote.names("metrics")) > 3
    assert sorted(mirror.remote.names("checkpoints")) == ["00000030", "00000040"]  # as many as here
    there, lines = restored(url, tmp_path / "elsewhere")
    assert lines == []
    assert there.metrics_path.read_bytes() == folder.metrics_path.read_bytes()
    assert checkpoints(there) == [("00000040", content_of(40))]
    assert there.about() == folder.about()
    assert there.config() == to_dict(tiny()) | {"output": to_dict(tiny())["output"] | {"mirror": url}}


def test_a_session_on_another_machine_goes_on_in_the_mirror_and_shuts_out_the_first(url: str, tmp_path: Path) -> None:
    folder = new_run(tmp_path / "here")
    first = mirror_of(folder, url)
    first.claim()
    train(folder, range(1, 11))
    first.copy()
    there, _ = restored(url, tmp_path / "elsewhere")
    second = mirror_of(there, url)
    second.claim()
    train(there, range(11, 21))
    second.copy()
    train(folder, range(11, 31))  # the first machine was cut off, not dead
    with pytest.raises(UserError, match="another machine resumed it"):
        first.copy()
    with pytest.raises(UserError, match="another machine resumed it"):
        mirror_of(folder, url).claim()
    third, _ = restored(url, tmp_path / "third")
    assert [row["iteration"] for row in third.rows()] == list(range(1, 21))
    again = mirror_of(there, url)  # a later session on the same machine
    again.claim()
    assert again.behind()  # its checkpoint, which it compares
    train(there, range(21, 26))
    again.copy()
    assert [row["iteration"] for row in restored(url, tmp_path / "fourth")[0].rows()] == list(range(1, 26))


def test_a_mirror_that_holds_a_run_is_refused(url: str, tmp_path: Path) -> None:
    mirror_of(new_run(tmp_path / "a"), url).claim()
    with pytest.raises(UserError, match=f"--mirror {url}: holds another run.*--resume {url}"):
        mirror_of(RunFolder(tmp_path / "b"), url).check_free()


def test_rows_that_a_power_cut_took_here_do_not_stay_in_the_mirror(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "SEGMENT_BYTES", 20_000)
    folder = new_run(tmp_path / "here")
    mirror = mirror_of(folder, url)
    mirror.claim()
    train(folder, range(1, 31))
    mirror.copy()
    lines = folder.metrics_path.read_bytes().splitlines(keepends=True)
    folder.metrics_path.write_bytes(b"".join(lines[:12]))
    for iteration in range(13, 20):
        folder.append(make_row(iteration, seed=1))
    again = mirror_of(folder, url)
    again.claim()
    again.copy()
    assert restored(url, tmp_path / "there")[0].metrics_path.read_bytes() == folder.metrics_path.read_bytes()


class CutOff(Exception):  # noqa: N818
    """The machine is gone."""


@pytest.mark.parametrize("url", ["s3"], indirect=True)
def test_wherever_copying_is_cut_off_a_whole_state_is_restored(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint's copy ends after each of its requests in turn; a torn one ends within its file."""
    write, upload = RemoteFolder.write, RemoteFolder.upload
    left = [0]

    def spend() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise CutOff

    def cut_write(self: RemoteFolder, name: str, content: bytes) -> None:
        spend()
        write(self, name, content)

    def cut_upload(self: RemoteFolder, path: Path, name: str) -> dict[str, object]:
        if left[0] <= 0:  # half of it arrives
            write(self, name, path.read_bytes()[:2500])
        spend()
        return upload(self, path, name)

    seen = []
    for cut in range(4):
        monkeypatch.setattr(RemoteFolder, "write", write)
        monkeypatch.setattr(RemoteFolder, "upload", upload)
        folder, place = new_run(tmp_path / f"here{cut}"), f"{url}/{cut}"
        mirror = mirror_of(folder, place)
        mirror.claim()
        train(folder, range(1, 11))
        mirror.copy()
        train(folder, range(11, 21))
        monkeypatch.setattr(RemoteFolder, "write", cut_write)
        monkeypatch.setattr(RemoteFolder, "upload", cut_upload)
        left[0] = cut
        with suppress(CutOff):
            mirror.copy()
        there, _ = restored(place, tmp_path / f"there{cut}")
        rows, saved = len(there.rows()), checkpoints(there)
        assert saved == [(f"{int(saved[0][0]):08d}", content_of(int(saved[0][0])))]
        assert rows >= int(saved[0][0])
        seen.append((rows, int(saved[0][0])))
    assert seen == [(10, 10), (20, 10), (20, 10), (20, 20)]


def test_a_checkpoint_whose_sum_is_wrong_is_passed_over(url: str, tmp_path: Path) -> None:
    folder = new_run(tmp_path / "here")
    mirror = mirror_of(folder, url)
    mirror.claim()
    for first in (1, 11):
        train(folder, range(first, first + 10))
        mirror.copy()
    mirror.remote.write(f"checkpoints/00000020/{STATE}", content_of(21))
    there, lines = restored(url, tmp_path / "there")
    assert checkpoints(there) == [("00000010", content_of(10))]
    (line,) = lines
    assert "checkpoints/00000020 is torn" in line
    # retrained past it, it is replaced; until then it stays
    again = mirror_of(there, url, kept=1)
    again.claim()
    train(there, range(21, 23))
    again.copy()
    assert sorted(mirror.remote.names("checkpoints")) == ["00000022"]
    assert mirror.remote.read_json(f"checkpoints/00000022/{COMPLETE}") is not None


def test_several_games_and_places_without_a_run(url: str, tmp_path: Path) -> None:
    top = RemoteFolder(url)
    with pytest.raises(UserError, match="holds no run"):
        restore(url, tmp_path / "x")
    for game in ("breakout", "pong"):
        mirror_of(new_run(tmp_path / game), (top / game).url).claim()
    restore(url, tmp_path / "out")
    assert [folder.path.name for folder in RunFolder.find(tmp_path / "out")] == ["breakout", "pong"]
    top.write("broken/" + CONFIG, b"[")
    with pytest.raises(UserError, match=r"its config\.yaml is not a run's"):
        restore(f"{url}/broken", tmp_path / "y")


def test_stores_that_are_not_there_are_the_users_mistake(
    s3: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(s3).items():
        monkeypatch.setenv(name, value)
    for url, reason in (
        ("s3://no-such-bucket/run", "NO_SUCH_BUCKET|does not exist"),
        ("nonsense://x/y", "nonsense"),
        ("file:///proc/1/nowhere", "No such file|Permission"),
    ):
        with pytest.raises(UserError, match=reason) as refusal:
            mirror_of(RunFolder(tmp_path / "run"), url).check_free()
        assert "\n" not in str(refusal.value)
        assert environment(s3)["AWS_SECRET_ACCESS_KEY"] not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["gs", "gcs"])
def test_googles_store_is_reached_by_arrow_or_asks_for_gcsfs(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path = remote_module._connect(f"{scheme}://bucket/run")
    assert (store.type_name, path) == ("gcs", "bucket/run")

    def without_google(uri: str) -> None:
        raise pyarrow.ArrowNotImplementedError("Got GCS URI but Arrow compiled without GCS support")

    monkeypatch.setattr(pyarrow.fs, "FileSystem", SimpleNamespace(from_uri=without_google))
    with pytest.raises(UserError) as refusal:
        mirror_of(RunFolder(tmp_path / "run"), f"{scheme}://bucket/run").check_free()
    cause = "Please install gcsfs to access Google Storage"
    assert str(refusal.value) == f"--mirror {scheme}://bucket/run: cannot be written: {cause}"


def test_the_sessions_file_is_of_this_machine_alone(url: str, tmp_path: Path) -> None:
    folder = new_run(tmp_path / "here")
    mirror_of(folder, url).claim()
    (known,) = json.loads((folder.path / ".mirror.json").read_text()).items()
    assert known[0] == url
    os.unlink(folder.path / ".mirror.json")
    with pytest.raises(UserError, match="holds another run"):
        mirror_of(folder, url).claim()
