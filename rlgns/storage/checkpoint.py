"""Checkpoints: numbered folders, written whole or not at all, read without executing code."""

from __future__ import annotations

import math
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from rlgns.agents.network import ActorCritic, build_network
from rlgns.config.load import from_dict
from rlgns.config.schema import Config
from rlgns.critical.run_average import RunAverage
from rlgns.envs.games import GAMES
from rlgns.errors import FaultError, UserError, one_line

STATE = "state.pt"
MSDOS_FOLDER = 0x10
"""Bit of a zip entry's external attributes."""


def save(folder: Path, iteration: int, state: Mapping[str, Any], *, kept: int) -> Path:
    """Writes `folder/<iteration>/state.pt` atomically and removes all but the newest `kept` checkpoints up to it.

    A later one was torn and passed over by `load_newest`. It stays until training has passed it, and does not count.

    Args:
        folder: The run's checkpoints folder.
        iteration: Names the checkpoint.
        state: Tensors and plain types.
        kept: Checkpoints to keep.

    Raises:
        FaultError: The disk is full or cannot be written; older checkpoints are untouched.
    """
    target = folder / f"{iteration:08d}"
    partial = folder / f".partial-{iteration:08d}"
    try:
        remove_leftovers(folder)
        partial.mkdir(parents=True)
        with open(partial / STATE, "wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        if target.is_dir():  # saved before: replace its file, so that there is always one
            os.replace(partial / STATE, target / STATE)
            partial.rmdir()
            _sync_folder(target)
        else:
            os.replace(partial, target)
        _sync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch reports a short write as a RuntimeError
        shutil.rmtree(partial, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise FaultError(f"cannot save checkpoint {target}: {reason}") from error
    for old in [path for path in numbered(folder) if int(path.name) <= iteration][:-kept]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def remove_leftovers(folder: Path) -> None:
    """Removes what a kill left of a checkpoint that was being written or removed. No other process may write there."""
    if not folder.is_dir():
        return
    without_state = [path for path in folder.iterdir() if path.name.isdigit() and not (path / STATE).exists()]
    for path in [*folder.glob(".partial-*"), *without_state]:
        shutil.rmtree(path, ignore_errors=True)


def numbered(folder: Path) -> list[Path]:
    """Returns the complete checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit() and (path / STATE).is_file())


def load(path: Path) -> dict[str, Any]:
    """Reads one numbered checkpoint. Raises UserError where it is missing, torn, or a sum in it is wrong."""
    try:
        with open(path / STATE, "rb") as file:
            _check_sums(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint in {path}") from None
    except Exception as error:  # torch and zipfile raise many types for a torn file
        raise UserError(f"checkpoint {path} is torn or not a checkpoint ({type(error).__name__})") from error


def _check_sums(file: BinaryIO) -> None:
    """Raises where the content of the zip archive that torch wrote is not what its sums say. torch checks none."""
    with zipfile.ZipFile(file) as archive:
        wrong = archive.testzip()
        # torch takes an entry with this attribute for an empty folder; zipfile goes by the name
        folders = [entry.filename for entry in archive.infolist() if entry.external_attr & MSDOS_FOLDER]
    if wrong is not None or folders:
        raise zipfile.BadZipFile(wrong or folders[0])


def to_standard_error(text: str) -> None:
    """Writes a line for the user."""
    print(f"rlgns: {text}", file=sys.stderr)  # noqa: T201  (storage has no display)


def load_newest(folder: Path, say: Callable[[str], None] = to_standard_error) -> dict[str, Any] | None:
    """Reads the newest checkpoint of a run that is whole, or returns None where there is none.

    Args:
        folder: The run's checkpoints folder.
        say: Receives one line where a torn checkpoint is passed over for an older one.

    Raises:
        UserError: There are checkpoints but all are torn.
    """
    torn: UserError | None = None
    for path in reversed(numbered(folder)):
        try:
            state = load(path)
        except UserError as error:
            torn = torn or error
            continue
        if torn is not None:
            say(f"{torn}; the older {path} is used instead")
        return state
    if torn is not None:
        raise UserError(f"{torn} and there is no older one that is whole; train again in another folder") from torn
    return None


def newest_whole(folder: Path) -> int:
    """Returns the iteration of the newest checkpoint that is whole; 0 without one."""
    for path in reversed(numbered(folder)):
        with suppress(UserError):
            load(path)
            return int(path.name)
    return 0


def migrate(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a checkpoint of any version in the shape that this version writes.

    What an older version did not measure starts again, or is NaN where it can no longer be known. Raises KeyError where
    the state is not a run's.
    """
    learner = {"probe": None, "by_loss": None, **state["learner"]}
    if "noise" in learner:  # absent where only the policy was saved
        learner["noise"] = _migrate_noise(learner["noise"], state["config"])
    return {
        "num_envs": state["config"]["env"]["num_envs"],
        "held_iterations": 0,
        "episodes": len(state.get("scores", ())),
        **state,
        "learner": learner,
    }


def _migrate_noise(noise: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    average = noise["run_average"]
    if "sums" not in average:  # of smoothed noise scales: the average of raw moments starts again
        average = RunAverage().state_dict() | {"highest": _first_rate(config)}
    return {
        **{name: state for name, state in noise.items() if name != "at_least"},
        "size": {"group": None, **noise["size"]},
        "run_average": average,
    }


def _first_rate(config: Mapping[str, Any]) -> float:
    """Learning rate over sqrt(batch) before any annealing; the units are those of RunAverage."""
    agent = config["agent"]
    batch = config["env"]["num_envs"] * agent["rollout_steps"] / agent["minibatches"]
    return float(agent["learning_rate"] / math.sqrt(batch))


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A frozen policy from a checkpoint."""

    network: ActorCritic
    config: Config
    """At the number of environments that were in use: an adaptive batch as it stood."""
    game: str
    observations: int
    iteration: int
    state: dict[str, Any]
    """The whole checkpoint."""

    @property
    def saved_config(self) -> Config:
        """The run's configuration, whatever number of environments was in use."""
        return from_dict(self.state["config"])


def load_policy(path: Path) -> Policy:
    """Loads the policy of a run's folder (its newest whole checkpoint) or of one numbered checkpoint.

    Says in a line on standard error where a newer one is torn. Raises UserError where there is none, or it is torn.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"no checkpoint: {path} does not exist")
    if (path / STATE).is_file():
        state: dict[str, Any] | None = load(path)
    else:
        state = load_newest(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    if state is None:
        raise UserError(f"no checkpoint in {path}: neither it nor its folder checkpoints/ holds one")
    try:
        state = migrate(state)
        _check_policy(state)
        config = from_dict(state["config"]).at(state["num_envs"])
        network = build_network(
            config.network,
            num_actions=state["num_actions"],
            frame_stack=config.env.frame_stack,
            image_size=config.env.image_size,
        )
        network.load_state_dict(state["learner"]["network"])
        return Policy(
            network=network.eval().requires_grad_(False),
            config=config,
            game=state["game"],
            observations=state["observations"],
            iteration=state["iteration"],
            state=state,
        )
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, UserError) as error:
        reason = one_line(error)  # torch names each tensor that does not fit on a line of its own
        raise UserError(f"checkpoint {path} does not fit this version ({type(error).__name__}: {reason})") from error


def _check_policy(state: Mapping[str, Any]) -> None:
    """Raises where an entry of a policy's checkpoint cannot be one: KeyError, TypeError or ValueError."""
    for name in ("num_actions", "num_envs", "observations", "iteration"):
        if type(state[name]) is not int or state[name] <= 0:
            raise ValueError(f"{name} must be a positive integer, got {state[name]!r}")
    if state["game"] not in GAMES:
        raise ValueError(f"unknown game {state['game']!r}")
    for name, values in state["learner"]["network"].items():
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} has values that are not finite")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
