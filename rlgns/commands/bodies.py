"""What each command does. Every part is imported where it is used, so that a light command stays fast."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlgns.commands.settings import (
    FREE,
    SHORT,
    SHORT_OF_SWEEP,
    claim_folder,
    default_out,
    new_folder,
    refuse_beside_resume,
    resolved,
    settings_of,
    sweep_file,
)
from rlgns.errors import ExitCode, FaultError, UserError, nearest

if TYPE_CHECKING:
    from rlgns.config.schema import Config
    from rlgns.sweep.config import Sweep


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Runs the command of parsed `options` and returns its exit code. Raises UserError and FaultError."""
    commands: dict[str, Callable[[], int]] = {
        "train": lambda: train(options, overrides),
        "sweep": lambda: sweep(options, overrides),
        "config": lambda: show_config(options, overrides),
        "evaluate": lambda: evaluate(options),
        "calibrate": lambda: calibrate(options),
        "report": lambda: report(options),
        "fit": lambda: fit(options),
        "submit": lambda: submit(options),
        "workspace": lambda: workspace(options),
        "games": games,
        "doctor": lambda: doctor(options),
    }
    return commands[options.command]()


def train(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Trains, or goes on with a run."""
    if options.resume is not None:
        refuse_beside_resume(options, overrides)
        import rlgns.train as training

        free = settings_of(options, overrides, SHORT)
        return training.resume(Path(options.resume), {key: free[key] for key in FREE["train"] if key in free})
    config = resolved(options, overrides)
    from rlgns.machine.nodes import check_device

    check_device(config)
    out = Path(options.out) if options.out is not None else default_out(config)
    claim_folder(out)
    import rlgns.train as training

    try:
        return training.train(config, out)
    except UserError:
        if not any(out.iterdir()):
            out.rmdir()
        raise


def sweep(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Runs a sweep, goes on with one, or prints what one would do."""
    from rlgns.storage.sweep_folder import SweepFolder
    from rlgns.sweep.load import resolve_sweep

    settings = settings_of(options, overrides, SHORT_OF_SWEEP)
    if options.resume is not None:
        refuse_beside_resume(options, overrides)
        out, source = Path(options.resume), SweepFolder(options.resume).sweep_path
        if not source.is_file():
            raise UserError(f"no sweep found in {out}: it holds no {source.name}")
    else:
        source = sweep_file(options)
        out = Path(options.out) if options.out is not None else new_folder(source.stem)
    resolved_sweep = resolve_sweep(source, settings)
    from rlgns.sweep.run import dry_run, run_sweep

    if options.dry_run:
        print(dry_run(resolved_sweep, out))
        return ExitCode.DONE
    return run_sweep(resolved_sweep, out)


def show_config(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the resolved configuration as YAML, and what follows from it as comments."""
    from rlgns.config.load import to_yaml
    from rlgns.machine import hardware
    from rlgns.machine.footprint import describe
    from rlgns.machine.placement import Placement, TrialShare, wants_gpu

    config = resolved(options, overrides)
    print(to_yaml(config), end="")
    print(f"# rollout     {config.rollout_observations:,} observations per iteration")
    print(f"# batch       {config.batch_observations:,} observations per optimizer step")
    print(f"# steps       {config.agent.epochs * config.agent.minibatches} optimizer steps per iteration")
    print(f"# groups      {config.groups_per_batch} of whole environments per batch")
    if config.agent.batch == "adaptive":
        fewest, most = config.env_tiers[0], config.env_tiers[-1]
        smallest, largest = (config.at(envs).batch_observations for envs in (fewest, most))
        print(
            f"# adaptive    from {smallest:,} to {largest:,} observations per optimizer step ({fewest} to {most} envs);"
        )
        print(f"#             all sizes here are those of the start, {config.env.num_envs} envs")
    print(f"# iterations  {config.iterations:,}")
    print(f"# hardware    {hardware.detect().describe()}")
    from rlgns.machine.nodes import resources

    share = TrialShare.of(resources(), len(config.run.games))
    placement = Placement.of(config, share, gpu=wants_gpu(config, share))
    for name, text in describe(config, share, placement):
        print(f"# {name:<11} {text}")
    return ExitCode.DONE


def evaluate(options: argparse.Namespace) -> int:
    """Plays full games with a trained policy and prints the scores."""
    from rlgns.config.convert import convert

    episodes, seed = convert("--episodes", options.episodes, int), convert("--seed", options.seed, int)
    if episodes <= 0:
        raise UserError(f"--episodes must be positive, got {episodes}")
    if seed < 0:
        raise UserError(f"--seed must be zero or positive, got {seed}")
    from rlgns import evaluate as evaluation

    video = Path(options.video) if options.video is not None else None
    result = evaluation.evaluate(Path(options.checkpoint), episodes=episodes, video=video, seed=seed)
    print(result.describe())
    return ExitCode.DONE


def calibrate(options: argparse.Namespace) -> int:
    """Measures a frozen policy by brute force and by every on-line estimator, and prints them side by side."""
    from rlgns.config.convert import convert

    observations, seed = convert("--observations", options.observations, int), convert("--seed", options.seed, int)
    precision = convert("--precision", options.precision, float)
    if options.line_search:
        return _line_search(options, observations, seed)
    from rlgns.calibrate import run as calibration
    from rlgns.calibrate.table import describe

    found = calibration.calibrate(Path(options.checkpoint), observations=observations, precision=precision, seed=seed)
    print(json.dumps(found.as_dict(), indent=2, allow_nan=False) if options.json else describe(found))
    return ExitCode.INTERRUPTED if found.interrupted else ExitCode.DONE


def _line_search(options: argparse.Namespace, observations: int, seed: int) -> int:
    """Measures B_noise of a frozen policy by line searches and by Hessian-vector products, and prints both."""
    import dataclasses

    from rlgns.calibrate.line_search import line_search
    from rlgns.monitor.parts_progress import PartsProgress
    from rlgns.storage.checkpoint import load_policy
    from rlgns.storage.run_folder import plain

    policy = load_policy(Path(options.checkpoint))
    with PartsProgress() as progress:
        found = line_search(policy, observations=observations, seed=seed, progress=progress)
    numbers = json.dumps(plain(dataclasses.asdict(found)), indent=2, allow_nan=False)
    print(numbers if options.json else found.describe())
    return ExitCode.DONE


def report(options: argparse.Namespace) -> int:
    """Writes the HTML report of runs, sweeps and tables of points, its figures, or prints the numbers behind it."""
    for name in ("out", "figures"):
        if options.json and getattr(options, name) is not None:
            raise UserError(f"--json prints numbers and writes no file; leave out --json or --{name}")
    from rlgns import report as reporting

    if options.json:
        print(json.dumps(reporting.report_data(options.folders), indent=2, allow_nan=False))
        return ExitCode.DONE
    only = Path(options.folders[0]) if len(options.folders) == 1 else None
    beside = only if only is not None and only.is_dir() else Path()
    out = Path(options.out) if options.out is not None else beside / "report.html"
    try:
        # the figures first: without a browser there is neither
        drawn = reporting.write_figures(options.folders, Path(options.figures)) if options.figures is not None else []
        reporting.write_report(options.folders, out)
        print(out)
        if drawn:
            print(f"{options.figures}: {len(drawn)} pictures")
    except FaultError as fault:
        # nothing was under way: here it is the file named that cannot be written
        raise UserError(str(fault)) from fault
    return ExitCode.DONE


def fit(options: argparse.Namespace) -> int:
    """Fits the trade-off of every game and goal in a table of points, and prints it."""
    from rlgns.config.convert import convert

    level = convert("--level", options.level, float)
    if not 0 < level < 1:
        raise UserError(f"--level must lie between 0 and 1, got {level}")
    from rlgns.critical.points import fit_points
    from rlgns.fit.points_file import read_points
    from rlgns.fit.table import describe_fit, table

    fits = fit_points(read_points(Path(options.points)), level=level)
    beside = []
    if options.adaptive:
        from rlgns.fit.gain_table import check_games, describe_gain, gain_table, gains, read_runs

        runs = read_runs([Path(path) for path in options.adaptive])
        check_games(fits, runs)
        beside = gains(fits, runs, level)
    if options.json:
        found = {"level": level, "fits": [describe_fit(goal) for goal in fits]}
        if beside:
            found["adaptive"] = [describe_gain(gain) for gain in beside]
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print(table(fits, level))
        if beside:
            print(f"\n{gain_table(beside)}")
    return ExitCode.DONE


def submit(options: argparse.Namespace) -> int:
    """Runs a command as a Ray job, follows one, or writes the files of a cluster."""
    if options.job is not None:
        if options.remote is not None or options.write is not None or options.no_wait:
            raise UserError("--job follows a job that was submitted before; leave out the command and other options")
        from rlgns.submit.job import attach

        return attach(options.job, address=options.address)
    if not options.remote:
        raise UserError("rlgns submit needs a command behind --, for example: rlgns submit -- train --game pong")
    if options.write is not None and "--resume" in options.remote:
        raise UserError("--write sizes a cluster by a configuration, which --resume leaves to the run; give --config")
    work = _work_of_job(options.remote)
    from rlgns.submit.size import size_of

    size = size_of(work)
    if options.write is not None:
        from rlgns.submit.manifests import write

        write(options.write, options.remote, size, image=options.image)
        return ExitCode.DONE
    from rlgns.submit.job import submit as submit_job

    return submit_job(options.remote, address=options.address, games=size.games, wait=not options.no_wait)


def _work_of_job(command: list[str]) -> Config | Sweep:
    """Checks here, before anything is sent, what a job would run. Raises UserError."""
    from rlgns.commands.cli import parse

    if command[0] not in ("train", "sweep"):
        raise UserError(
            f"rlgns submit runs train or sweep, got {command[0]!r}{nearest(command[0], ('train', 'sweep'))}"
        )
    options, overrides = parse(command)
    if options.resume is not None:
        refuse_beside_resume(options, overrides)
        options.config, overrides = "ppo", {}  # the run's own lies on the cluster
        options.runners = options.learners = None
    elif options.command == "sweep":
        from rlgns.sweep.load import resolve_sweep

        return resolve_sweep(sweep_file(options), settings_of(options, overrides, SHORT_OF_SWEEP))
    elif options.config is None:
        options.config = "ppo"  # which preset it will be depends on the cluster's hardware; their keys are the same
    return resolved(options, overrides)


def workspace(options: argparse.Namespace) -> int:
    """Installs the panels in a W&B project, or writes their JSON; prints where they are."""
    from rlgns.monitor import workspace_view

    if options.write is None:
        print(workspace_view.install(options.entity, options.project))
        return ExitCode.DONE
    workspace_view.write(options.write)
    print(options.write)
    return ExitCode.DONE


def games() -> int:
    """Prints every game with its reference scores and the paper's score goals."""
    from rlgns.envs.games import GAMES

    print(f"{'game':<18} {'title':<18} {'random':>10} {'human':>10} {'CleanRL PPO':>12}  score goals")
    for game in GAMES.values():
        reference = f"{game.cleanrl_score:,.1f}" if game.cleanrl_score is not None else "-"
        goals = " ".join(f"{goal:g}" for goal in game.score_goals) or "-"
        scores = f"{game.random_score:>10,.1f} {game.human_score:>10,.1f} {reference:>12}"
        print(f"{game.name:<18} {game.title:<18} {scores}  {goals}")
    return ExitCode.DONE


def doctor(options: argparse.Namespace) -> int:
    """Checks this machine, and the cluster where one is named; 2 where something would stop a run."""
    if options.address is not None and options.address.startswith(("http://", "https://")):
        from rlgns.submit.job import submit as submit_job

        folder = [] if options.out is None else ["--out", options.out]
        return submit_job(["doctor", *folder], address=options.address, games=["doctor"])
    from rlgns.machine.cluster_doctor import address_of_cluster, check_cluster
    from rlgns.machine.doctor import FAIL, check_machine

    out, address = Path(options.out or os.environ.get("RLGNS_RUNS", "runs")), address_of_cluster(options.address)
    findings = []
    for finding in itertools.chain(check_machine(out), check_cluster(address, out) if address else ()):
        print(finding.describe(), flush=True)
        findings.append(finding)
    failed = sum(finding.status == FAIL for finding in findings)
    if failed:
        print(f"rlgns: {failed} of {len(findings)} checks failed; their remedies are above", file=sys.stderr)
    return ExitCode.USER_ERROR if failed else ExitCode.DONE
