"""Training, from a configuration to a report.

Ray Tune owns the loop (`rlgns.engine.trials`); one turn of it is `AtariPPO.training_step` (`rlgns.engine.algorithm`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlgns.agents.network import build_network
from rlgns.agents.schedule import learning_rate
from rlgns.config import environment
from rlgns.config.calibrations import run_calibrations
from rlgns.config.load import from_dict, overridden, to_dict
from rlgns.config.schema import Config
from rlgns.engine.prometheus import PrometheusGauges
from rlgns.engine.trial_queue import FixedQueue
from rlgns.engine.trials import Outcome, run_trials
from rlgns.envs.protocols import PROTOCOLS
from rlgns.envs.vector import num_actions
from rlgns.errors import ExitCode, FaultError, UserError
from rlgns.machine.doctor import OK, check_shared_memory
from rlgns.machine.memory_check import check_memory
from rlgns.machine.nodes import check_device
from rlgns.machine.run_facts import run_facts
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
from rlgns.storage.mirror_restore import check_complete, restore
from rlgns.storage.run_folder import LOCK_PATIENCE_S, RunFolder

OFF_POLICY_WARNING = (
    "engine.async_lag 1: rollouts are played with weights one update old, so every noise scale is that of a gradient "
    "one update off policy (docs/cluster.md)"
)


def train(config: Config, out: Path, seeds: Sequence[int] = ()) -> ExitCode:
    """Trains each game of a configuration, with one seed or with several, one after another.

    Args:
        config: The resolved configuration.
        out: The run's folder; of several games or seeds each run gets a subfolder.
        seeds: Replace `run.seed`.

    Returns:
        DONE, FAULT, INTERRUPTED, TERMINATED or HUNG_UP.

    Raises:
        UserError: The configuration cannot work on this machine or the folder cannot be written; nothing was trained.
    """
    check_runnable(config)
    new = _new_runs(config, out, seeds)
    if config.output.mirror:
        for start, _ in new:  # all of them, before any folder is made
            mirror_of(start).check_free()
    with ExitStack() as claims:
        for start, about in new:
            start.folder.create(to_dict(start.config), about)
            claims.enter_context(start.folder.claimed())
        return _train_all([start for start, _ in new], out)


def _new_runs(config: Config, out: Path, seeds: Sequence[int]) -> list[tuple[RunStart, dict[str, Any]]]:
    """Returns each run with what its config.yaml records. Writes nothing."""
    games, new = config.run.games, []
    for seed in seeds or (config.run.seed,):
        for game in games:
            name = f"{game}-s{seed}" if seeds else ""
            folder = RunFolder(out / (name or game) if seeds or len(games) > 1 else out)
            run = replace(config, run=replace(config.run, seed=seed))
            about = run_facts(run, game) | ({"name": name} if name else {})
            if len(games) == 1 and len(seeds) <= 1:
                about |= environment.run_of_wandb()
            new.append((RunStart(game=game, name=name, folder=folder, config=run, wandb_id=about["wandb_id"]), about))
    return new


def resume(out: Path, settings: Mapping[str, str] | None = None, *, patience_s: float = LOCK_PATIENCE_S) -> ExitCode:
    """Resumes the run or runs in a folder: same configuration, W&B id, x-axis and noise-scale sums.

    Args:
        out: The folder.
        settings: `section.key` to value: where the work runs in this session, and `run.observations`, which extends
            the run for good.
        patience_s: Seconds to wait for another process that is still training a run in it.

    Returns:
        DONE, FAULT, INTERRUPTED, TERMINATED or HUNG_UP.

    Raises:
        UserError: There is no run, its checkpoints are torn, another process is training it, or it has played more
            than `run.observations`.
    """
    check_complete(out)
    with ExitStack() as claims:
        starts = []
        for folder in RunFolder.find(out):
            claims.enter_context(folder.claimed(patience_s=patience_s))
            starts.append(_resumed(folder, settings or {}))
        starts.sort(key=lambda start: start.config.run.seed)  # of several seeds, all games of one before the next
        extensions = [_extend(start) for start in starts]  # all of them or none: each was checked above
        return _train_all(starts, out, [text for text in extensions if text])


def take_over(url: str, out: Path, settings: Mapping[str, str] | None = None) -> ExitCode:
    """Resumes a run from its mirror, in `out`, an empty folder of this machine, and mirrors it there from now on.

    Args, results and errors are those of `resume`.
    """
    restore(url, out)
    return resume(out, settings)


def _resumed(folder: RunFolder, settings: Mapping[str, str]) -> RunStart:
    """Returns a run as it resumes, checked before anything starts. Raises UserError."""
    saved, about = from_dict(folder.config()), folder.about()
    config = from_dict(overridden(to_dict(saved), settings, name=saved.run.name))
    for key in ("game", "wandb_id"):
        if not isinstance(about.get(key), str):
            raise UserError(f"{folder.config_path} does not name run.{key}: not a run of `rlgns train`")
    check_runnable(config)
    checkpoint.remove_leftovers(folder.checkpoints_path)
    # Fails here, before anything starts, where all are torn
    state, newest = checkpoint.load_newest(folder.checkpoints_path), folder.last_row()
    played = int(newest["observations"]) if newest else 0
    if "run.observations" in settings and config.run.observations < played:
        raise UserError(
            f"--observations {config.run.observations:,}: {folder.path} has played {played:,} already; give at least "
            "as many, or leave it out"
        )
    return RunStart(
        game=about["game"],
        name=str(about.get("name") or ""),
        folder=folder,
        config=config,
        wandb_id=about["wandb_id"],
        resumed=True,
        first_row=newest,
        saved_observations=int(state["observations"]) if state and "observations" in state else 0,
    )


def _extend(start: RunStart) -> str:
    """Writes a new `run.observations` into the run's config.yaml; says what changes, or nothing where nothing does."""
    saved = from_dict(start.folder.config())
    before, after = saved.run.observations, start.config.run.observations
    if before == after:
        return ""
    start.folder.extend(after)
    agent, played = saved.agent, start.saved_observations
    rate = "the learning rate stays as it is"
    if agent.anneal:
        was, now = (
            learning_rate(
                agent, observations=played, total_observations=total, batch_observations=1, base_batch_observations=1
            )
            for total in (before, after)
        )
        rate = f"the learning rate now falls to 0 at {after:,}, so it continues at {now:.2g} instead of {was:.2g}"
    verb = "extended" if after > before else "shortened"
    return f"{start.key}: {verb} from {before:,} to {after:,} observations; {rate}"


def check_runnable(config: Config, *, most: int = 0) -> None:
    """Raises UserError where a run would fail on this machine, before anything is written.

    Args:
        config: The resolved configuration.
        most: Trials at once; 0: one for each game.
    """
    check_device(config)
    check_memory(config, most=most or len(config.run.games))
    run_calibrations(algorithm=config.agent.algorithm, epochs=config.agent.epochs)
    try:
        for game in config.run.games:
            build_network(
                config.network,
                num_actions=num_actions(game, config.env.protocol),
                frame_stack=config.env.frame_stack,
                image_size=config.env.image_size,
            )
    except ValueError as error:
        raise UserError(str(error)) from error


def _train_all(starts: list[RunStart], out: Path, notes: Sequence[str] = ()) -> ExitCode:
    """Says the notes, trains side by side the runs that are not finished, and writes the reports."""
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
        for text in (*notes, *(_from_where(start) for start in unfinished if start.resumed)):
            listener.message(text)
        if unfinished:
            most = len({start.game for start in unfinished})  # games side by side, seeds one after another
            outcome = run_trials(FixedQueue(unfinished), listener, most=most, max_failures=config.engine.max_failures)
        else:
            outcome = Outcome()
        for start in unfinished:
            if lost := _lost(start.folder):
                outcome.faults[start.key] = "; ".join(filter(None, (outcome.faults.get(start.key), lost)))
        _write_reports(folders, out, listener)  # before listener.end, so that W&B can upload them
    finally:
        listener.end(outcome.ending)
    try:
        print(summary(folders))  # noqa: T201  (results go to standard output)
    except (OSError, UserError) as error:  # the end of the run is told all the same
        terminal.message(f"no summary: {error}")
    return _conclude(outcome, folders, out, terminal)


def _from_where(start: RunStart) -> str:
    """Says where a run resumes."""
    if not checkpoint.numbered(start.folder.checkpoints_path):
        return f"{start.key}: no checkpoint was saved before the run was stopped; training starts from 0"
    lost = _unsaved(start.folder)
    missing = f"{lost}; training repeats what is missing" if lost else "resumes"
    return f"{start.key}: {missing} from {start.saved_observations:,} observations"


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
    if outcome.stopped is not None:
        terminal.message(f"saved; resume with: rlgns train --resume {out}")
        return outcome.stopped
    return ExitCode.DONE
