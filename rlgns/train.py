"""Training, from a configuration to a report.

Ray Tune owns the loop (`rlgns.engine.trials`); one turn of it is `AtariPPO.training_step` (`rlgns.engine.algorithm`).
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

from rlgns.agents.network import build_network
from rlgns.config import environment
from rlgns.config.load import from_dict, overridden, to_dict
from rlgns.config.schema import Config
from rlgns.engine.prometheus import PrometheusGauges
from rlgns.engine.trial_queue import FixedQueue
from rlgns.engine.trials import Outcome, run_trials
from rlgns.envs.protocols import PROTOCOLS
from rlgns.envs.vector import num_actions
from rlgns.errors import ExitCode, FaultError, UserError
from rlgns.machine import hardware
from rlgns.machine.commit import source_commit
from rlgns.machine.doctor import OK, check_shared_memory
from rlgns.machine.nodes import check_device
from rlgns.monitor.batch_alert import BatchAlert
from rlgns.monitor.checkpoint_games import CheckpointGames
from rlgns.monitor.listener import CompositeListener, Listener, RunStart
from rlgns.monitor.mirror_listener import MirrorListener, mirror_of
from rlgns.monitor.probe_notice import ProbeNotice
from rlgns.monitor.tensorboard_logger import TensorBoardLogger
from rlgns.monitor.terminal import make_terminal
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.report import summary, write_report
from rlgns.storage import checkpoint
from rlgns.storage.mirror_restore import restore
from rlgns.storage.run_folder import LOCK_PATIENCE_S, RunFolder

OFF_POLICY_WARNING = (
    "engine.async_lag 1: rollouts are played with weights one update old, so every noise scale is that of a gradient "
    "one update off policy (docs/cluster.md)"
)
PACKAGES = ("rlgns", "torch", "ray", "gymnasium", "ale-py", "wandb", "numpy")


def train(config: Config, out: Path) -> ExitCode:
    """Trains each game of a configuration.

    Args:
        config: The resolved configuration.
        out: The run's folder; several games each get a subfolder.

    Returns:
        DONE, FAULT or INTERRUPTED.

    Raises:
        UserError: The configuration cannot work on this machine or the folder cannot be written; nothing was trained.
    """
    check_runnable(config)
    several = len(config.run.games) > 1
    folders = {game: RunFolder(out / game if several else out) for game in config.run.games}
    if config.output.mirror:
        for game, folder in folders.items():
            mirror_of(config, game, folder).check_free()
    starts = []
    with ExitStack() as claims:
        for game, folder in folders.items():
            about = run_facts(config, game) | ({} if several else environment.run_of_wandb())
            folder.create(to_dict(config), about)
            claims.enter_context(folder.claimed())
            starts.append(RunStart(game=game, folder=folder, config=config, wandb_id=about["wandb_id"]))
        return _train_all(starts, out)


def resume(out: Path, layout: Mapping[str, str] | None = None, *, patience_s: float = LOCK_PATIENCE_S) -> ExitCode:
    """Resumes the run or runs in a folder: same configuration, W&B id, x-axis and noise-scale sums.

    Args:
        out: The folder.
        layout: `section.key` to value for this session: where the work runs, nothing of what is trained.
        patience_s: Seconds to wait for another process that is still training a run in it.

    Returns:
        DONE, FAULT or INTERRUPTED.

    Raises:
        UserError: There is no run, its checkpoints are torn, or another process is training it.
    """
    with ExitStack() as claims:
        starts = []
        for folder in RunFolder.find(out):
            claims.enter_context(folder.claimed(patience_s=patience_s))
            starts.append(_resumed(folder, layout or {}))
        return _train_all(starts, out)


def take_over(url: str, out: Path, layout: Mapping[str, str] | None = None) -> ExitCode:
    """Resumes a run from its mirror, in `out`, an empty folder of this machine, and mirrors it there from now on.

    Args, results and errors are those of `resume`.
    """
    restore(url, out)
    return resume(out, layout)


def _resumed(folder: RunFolder, layout: Mapping[str, str]) -> RunStart:
    """Returns a run as it resumes, checked before anything starts. Raises UserError."""
    saved, about = from_dict(folder.config()), folder.about()
    config = from_dict(overridden(to_dict(saved), layout, name=saved.run.name))
    for key in ("game", "wandb_id"):
        if not isinstance(about.get(key), str):
            raise UserError(f"{folder.config_path} does not name run.{key}: not a run of `rlgns train`")
    check_runnable(config)
    checkpoint.load_newest(folder.checkpoints_path)  # fails here, before anything starts, where all are torn
    return RunStart(
        game=about["game"],
        folder=folder,
        config=config,
        wandb_id=about["wandb_id"],
        resumed=True,
        first_row=folder.last_row(),
    )


def check_runnable(config: Config) -> None:
    """Raises UserError where a run would fail on this machine, before anything is written."""
    try:
        check_device(config)
        for game in config.run.games:
            build_network(
                config.network,
                num_actions=num_actions(game, config.env.protocol),
                frame_stack=config.env.frame_stack,
                image_size=config.env.image_size,
            )
    except ValueError as error:
        raise UserError(str(error)) from error


def run_facts(config: Config, game: str) -> dict[str, Any]:
    """Returns what config.yaml records about a new run, apart from its configuration."""
    return {
        "game": game,
        "preset": config.run.name,
        "wandb_id": secrets.token_hex(4),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "protocol": PROTOCOLS[config.env.protocol].describe(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "git": source_commit(),
        "hardware": hardware.detect().as_dict(),
    }


def _train_all(starts: list[RunStart], out: Path) -> ExitCode:
    """Trains side by side the runs that are not finished, and writes the reports."""
    config = starts[0].config
    terminal = make_terminal(config)
    wandb = WandbLogger(config.wandb, terminal.message)
    show = CompositeListener([terminal, wandb]).message  # W&B has it in the run's logs
    notice = ProbeNotice(config, show)
    alert = BatchAlert(config, [lambda key, title, text: show(text), wandb.alert])
    mirror = MirrorListener(show)
    mirror.claim(starts)
    gauges, tensorboard = PrometheusGauges(), TensorBoardLogger(show)
    games = CheckpointGames(show, wandb.media)
    listener = CompositeListener([terminal, notice, mirror, tensorboard, gauges, games, wandb, alert])
    listener.message(PROTOCOLS[config.env.protocol].describe())
    memory = check_shared_memory()
    if memory.status != OK:
        listener.message(f"{memory.text}; {memory.remedy}")
    if config.engine.async_lag:
        listener.message(OFF_POLICY_WARNING)
    listener.start(starts)
    outcome, folders = Outcome(faults={"": "ended by an error"}), [start.folder for start in starts]
    try:
        unfinished = [start for start in starts if not _finished(start)]
        for start in unfinished:
            if start.resumed and (lost := _unsaved(start.folder)):
                listener.message(f"{start.game}: {lost}; training repeats what is missing")
        if unfinished:
            outcome = run_trials(
                FixedQueue(unfinished), listener, most=len(unfinished), max_failures=config.engine.max_failures
            )
        else:
            outcome = Outcome()
        for start in unfinished:
            if lost := _lost(start.folder):
                outcome.faults[start.game] = "; ".join(filter(None, (outcome.faults.get(start.game), lost)))
        _write_reports(folders, out, listener)  # before listener.end, so that W&B can upload them
    finally:
        listener.end("interrupted" if outcome.interrupted else "fault" if outcome.faults else "done")
    try:
        print(summary(folders))  # noqa: T201  (results go to standard output)
    except (OSError, UserError) as error:  # the end of the run is told all the same
        terminal.message(f"no summary: {error}")
    return _conclude(outcome, folders, out, terminal)


def _unsaved(folder: RunFolder) -> str:
    """Says which iterations are in no whole checkpoint: one is torn, or the disk was full. Empty if there are none."""
    newest, last = checkpoint.newest_whole(folder.checkpoints_path), folder.last_iteration()
    if newest >= last:
        return ""
    return f"no whole checkpoint holds iteration{'' if newest + 1 == last else f's {newest + 1} to'} {last}"


def _lost(folder: RunFolder) -> str:
    """Says what of a run that was just trained is lost: the folder, or what is in no checkpoint; empty if nothing."""
    if not folder.config_path.exists():
        return f"{folder.path} was removed during training, and what was trained with it"
    try:
        return _unsaved(folder)
    except UserError as error:
        return str(error)


def _finished(start: RunStart) -> bool:
    """Returns whether a run is trained to its end and saved: a kill may have come between the two."""
    trained = start.first_row is not None and start.first_row["observations"] >= start.config.run.observations
    return trained and not _unsaved(start.folder)


def _write_reports(folders: list[RunFolder], out: Path, listener: Listener) -> None:
    """Writes a report per run, and one of all where there are several."""
    try:
        for folder in folders:
            write_report([folder], folder.report_path)
        if len(folders) > 1:
            write_report(folders, out / "report.html")
    except (FaultError, OSError, UserError) as error:  # the run itself is complete without its report
        listener.message(f"no report: {error} (try again with: rlgns report {out})")


def _conclude(outcome: Outcome, folders: list[RunFolder], out: Path, terminal: Listener) -> ExitCode:
    """Says how the runs ended and how to resume them; returns the exit code."""
    for game, fault in outcome.faults.items():
        terminal.message(f"rlgns: {game}: {fault}")
    if outcome.faults:
        if any(folder.config_path.exists() for folder in folders):
            terminal.message(f"resume from the newest checkpoint with: rlgns train --resume {out}")
        return ExitCode.FAULT
    if outcome.interrupted:
        terminal.message(f"saved; resume with: rlgns train --resume {out}")
        return ExitCode.INTERRUPTED
    return ExitCode.DONE
