"""The plan of a sweep with estimated hours: what `--dry-run` prints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from rlgns import formatting
from rlgns.agents.compute.precision import choose_device, choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.network import build_network
from rlgns.agents.update import Updater
from rlgns.engine.collect import Collectors
from rlgns.envs.vector import num_actions
from rlgns.formatting import plural
from rlgns.machine.nodes import this_machine
from rlgns.machine.placement import TrialShare
from rlgns.storage.run_folder import RunFolder
from rlgns.sweep.config import Sweep
from rlgns.sweep.game_length import GameLength, games_lines
from rlgns.sweep.plan import SweepPlan, Trial, TrialProgress, Verdict

MEASURE_S = 10.0
"""Seconds of training that are timed, after a first iteration that is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialThroughput:
    """How fast one trial trains."""

    observations_per_s: float
    source: str
    """How the figure was measured, for the reader."""


def concurrent_trials(sweep: Sweep) -> tuple[int, int]:
    """Returns how many trials run at once on this machine, and the cores of each."""
    share = TrialShare.of([this_machine()], sweep.settings.parallel)
    return share.most, int(share.cpus)


def throughput_of_runs(runs: Iterable[RunFolder]) -> TrialThroughput | None:
    """Returns the median throughput of runs with at least two rows, or None where there are none."""
    found = []
    for run in runs:
        rows = run.rows()
        if len(rows) > 1:
            found.append(median(row["throughput/observations_per_s"] for row in rows[1:]))
    if not found:
        return None
    source = f"measured in {plural(len(found), 'earlier trial')} of this sweep"
    return TrialThroughput(observations_per_s=median(found), source=source)


def measure_throughput(sweep: Sweep, *, seconds: float = MEASURE_S) -> TrialThroughput:
    """Trains at the smallest batch for so many seconds, with the cores of one trial, and returns the throughput."""
    _, cores = concurrent_trials(sweep)
    config, game = sweep.base, sweep.base.run.games[0]
    prepare_process(cores)
    device = choose_device(config.engine.device)
    network = build_network(
        config.network,
        num_actions=num_actions(game, config.env.protocol),
        frame_stack=config.env.frame_stack,
        image_size=config.env.image_size,
    ).to(device)
    precision = choose_precision(config.engine.precision, device)
    team = Team(cores)
    updater = Updater(
        network,
        config.agent,
        groups=config.groups_per_batch,
        precision=precision,
        on_groups=(lambda gradients, split: None) if config.noise.enabled else None,  # the groups are the cost
        team=team if device.type == "cpu" else None,
    )
    local = dataclasses.replace(config, engine=dataclasses.replace(config.engine, runners=0))
    collectors = Collectors(game, local, network, team=team, worker_index=0, iteration=0, precision=precision)
    began = time.monotonic()
    iteration = 0
    while iteration < 2 or time.monotonic() - began < seconds:
        played = collectors.play(iteration=iteration, weights_version=0)
        updater.update(played.rollouts, learning_rate=config.agent.learning_rate, seed=(0, iteration))
        if iteration == 0:  # starts the emulators and warms up
            began = time.monotonic()
        iteration += 1
    took_s = time.monotonic() - began
    collectors.close()
    team.close()
    return TrialThroughput(
        observations_per_s=(iteration - 1) * config.rollout_observations / took_s,
        source=f"measured in {took_s:.0f} s of {game} at batch {config.batch_observations:,} with "
        f"{plural(cores, 'core')}, one trial alone; trials side by side may be slower",
    )


def format_plan(
    sweep: Sweep,
    plan: SweepPlan,
    progress: Mapping[Trial, TrialProgress],
    throughput: TrialThroughput,
    lengths: Mapping[str, GameLength],
) -> str:
    """Returns the plan as text: trials, what changes with the batch, the most observations and hours.

    Args:
        sweep: The resolved sweep.
        plan: Its plan.
        progress: Of the trials that exist.
        throughput: Of one trial.
        lengths: Of each game's games.
    """
    trials = plan.trials(progress)
    most, cores = concurrent_trials(sweep)
    left = {
        trial: plan.budget - progress.get(trial, TrialProgress()).observations
        for trial in trials
        if plan.verdict(trial, progress) is Verdict.UNFINISHED
    }
    hours = sum(left.values()) / throughput.observations_per_s / 3600
    price = f", {formatting.rounded(hours * cores * sweep.settings.price, 3)} in money" if sweep.settings.price else ""
    added = 2 * plan.learning_rate_rule.widenings
    lines = [
        f"games          {', '.join(plan.games)}",
        *(f"goals          {game}: {', '.join(f'{goal:g}' for goal in plan.goals[game])}" for game in plan.games),
        f"seeds          {', '.join(str(seed) for seed in plan.seeds)}",
        f"budget         {plan.budget:,} observations per trial",
        *games_lines(sweep, lengths),
        "",
        *_batches(sweep, plan),
        "",
        f"trials         {len(trials)} so far, {len(trials) - len(left)} of them done; up to {added} more for each",
        "               game, batch and seed whose best learning rate is on the edge",
        f"at once        {most}, {plural(cores, 'core')} each",
        f"throughput     {throughput.observations_per_s:,.0f} observations/s a trial ({throughput.source})",
        f"at most        {sum(left.values()):,} observations, {formatting.rounded(hours / most)} hours, "
        f"{formatting.rounded(hours * cores)} core-hours{price};",
        "               trials that reach their last goal or can no longer win end earlier",
    ]
    return "\n".join(lines)


def _batches(sweep: Sweep, plan: SweepPlan) -> list[str]:
    """Returns a table of the settings that follow from each batch size."""
    lines = [f"{'batch':>8} {'envs':>6} {'steps':>6} {'rollout':>9} {'iterations':>10} {'groups':>6}  learning rates"]
    rule = plan.learning_rate_rule
    for batch in sorted(plan.batches):
        config = sweep.configs[batch]
        rates = " ".join(f"{rule.learning_rate(batch, step):g}" for step in rule.initial_steps)
        lines.append(
            f"{batch:>8,} {config.env.num_envs:>6,} {config.agent.rollout_steps:>6,} {config.rollout_observations:>9,} "
            f"{config.iterations:>10,} {config.groups_per_batch:>6}  {rates}"
        )
    return lines
