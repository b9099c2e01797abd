"""Takes a run over from its mirror: its rows and its newest whole checkpoint, into a new folder of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from rlgns.config.strict_yaml import StrictLoader
from rlgns.errors import UserError
from rlgns.storage.checkpoint import STATE, to_standard_error
from rlgns.storage.files import write_atomically
from rlgns.storage.mirror import COMPLETE, CONFIG, SESSION, is_one_of_several, note_sessions, segment_name, segments
from rlgns.storage.remote_folder import RemoteFolder
from rlgns.storage.run_folder import RunFolder

RESTORING = ".restoring"
"""File with the mirror's URL, in a folder whose copy is not complete."""


def holds_run(url: str) -> bool:
    """Returns whether a mirror holds a run, or a folder directly below it does. False where it cannot be read."""
    try:
        return bool(_runs(RemoteFolder(url)))
    except OSError:
        return False


def check_complete(out: Path) -> None:
    """Raises UserError where a folder was being copied from a mirror and the copy was cut off."""
    marker = out / RESTORING
    if marker.is_file():
        url = marker.read_text().strip()
        again = f"rlgns train --resume {url} --out {out}"
        raise UserError(f"{out}: its copy from {url} was cut off; try again with: {again}")


def remove_cut_off(out: Path) -> None:
    """Empties a folder whose copy from a mirror was cut off: nothing in it was trained here."""
    if (out / RESTORING).is_file():
        for path in sorted(out.iterdir(), key=lambda path: path.name == RESTORING):  # the marker last
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def restore(url: str, out: Path, say: Callable[[str], None] = to_standard_error) -> None:
    """Copies the run or runs of a mirror into `out`, an empty folder. Their next session writes to that mirror.

    Args:
        url: Of a run, or of the folder of the runs of several games or seeds.
        out: Gets the run's files; of several runs, a folder for each.
        say: Receives a line for each checkpoint that is passed over.

    Raises:
        UserError: There is no run, or it cannot be read or written.
    """
    top = RemoteFolder(url)
    try:
        runs = _runs(top)
        if not runs:
            raise UserError(f"--resume {url}: holds no run: neither it nor a folder directly below it has a {CONFIG}")
        out.mkdir(parents=True, exist_ok=True)
        (out / RESTORING).write_text(f"{top.url}\n")
        for name, content in runs.items():
            _restore_run(top / name if name else top, content, RunFolder(out / name), top.url, say)
        (out / RESTORING).unlink()
    except OSError as error:
        raise UserError(f"--resume {url}: {error}") from error


def _runs(top: RemoteFolder) -> dict[str, bytes]:
    """Returns the config.yaml of each run: by the name of its folder, or by '' where `top` itself is the run."""
    if (content := top.read(CONFIG)) is not None:
        return {"": content}
    names = [name for name, size in sorted(top.names().items()) if size < 0]
    return {name: content for name in names if (content := (top / name).read(CONFIG)) is not None}


def _restore_run(remote: RemoteFolder, content: bytes, folder: RunFolder, top: str, say: Callable[[str], None]) -> None:
    """Copies one run. config.yaml comes last: without it there is no run to resume."""
    data = _parsed(remote, content)
    folder.checkpoints_path.mkdir(parents=True)
    with folder.metrics_path.open("wb") as file:
        for offset, _ in segments(remote):
            rows = remote.read(segment_name(offset)) or b""
            file.write(rows[: rows.rfind(b"\n") + 1])
    _restore_checkpoint(remote, folder, say)
    session = (remote.read_json(SESSION) or {}).get("session")
    note_sessions(folder, {remote.url: [session]})
    config, about = data["config"], data.get("run") or {}
    several = is_one_of_several(about.get("name"), (config.get("run") or {}).get("games") or ())
    mirror = remote.url.rpartition("/")[0] if several else remote.url  # that of them all
    config["output"] = {**(config.get("output") or {}), "mirror": mirror}
    write_atomically(folder.config_path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode())


def _parsed(remote: RemoteFolder, content: bytes) -> dict[str, Any]:
    try:
        data = yaml.load(content, Loader=StrictLoader)
    except Exception:  # PyYAML raises many types
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("config"), dict):
        raise UserError(f"--resume {remote.url}: its {CONFIG} is not a run's")
    return data


def _restore_checkpoint(remote: RemoteFolder, folder: RunFolder, say: Callable[[str], None]) -> None:
    """Copies the newest checkpoint whose size and sum are those that were noted after it was written."""
    for name in sorted((name for name in remote.names("checkpoints") if name.isdigit()), reverse=True):
        noted = remote.read_json(f"checkpoints/{name}/{COMPLETE}")
        if noted is None:
            continue  # its copy was cut off
        partial = folder.checkpoints_path / f".partial-{name}"
        partial.mkdir()
        if remote.download(f"checkpoints/{name}/{STATE}", partial / STATE) == noted:
            partial.rename(folder.checkpoints_path / name)
            return
        shutil.rmtree(partial)
        say(f"{remote.url}/checkpoints/{name} is torn; an older checkpoint is used instead")
