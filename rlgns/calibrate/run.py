"""`rlgns calibrate`: the truth about a frozen policy's noise scale, beside every on-line estimator of it."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import final

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from rlgns.calibrate.estimators import OnlineEstimators
from rlgns.calibrate.frozen_policy import play_rounds, ready
from rlgns.calibrate.result import Calibration
from rlgns.engine.trials import Interrupt
from rlgns.errors import UserError
from rlgns.formatting import duration, percent, short
from rlgns.monitor.console import can_draw, console_of, write_line
from rlgns.monitor.listener import Listener
from rlgns.monitor.progress_bars import LINE_EVERY_S
from rlgns.noise.offline.brute_force import BruteForce, BruteForceResult
from rlgns.random_streams import CALIBRATION_SEEDS
from rlgns.storage.checkpoint import load_policy

SETS = 8
"""Independent sets of environments, each as large as the run's."""


def calibrate(checkpoint: Path, *, observations: int = 200_000, precision: float = 0.05, seed: int = 0) -> Calibration:
    """Plays with a frozen policy until |G|^2 and tr(Sigma) are known, and feeds every estimator with the same games.

    Memory does not grow with what is played: two float32 vectors of all parameters per quarter of a set (64 for 8
    sets), two per environment of a set, and one rollout.

    Args:
        checkpoint: A run's folder or one of its checkpoints.
        observations: Most that are played, rounded up to whole rounds of all sets.
        precision: Relative standard error of both that is enough.
        seed: Other games for another seed.

    Raises:
        UserError: A number out of range, or no checkpoint.
        KeyboardInterrupt: Interrupted before anything was known.
    """
    if observations <= 0:
        raise UserError(f"--observations must be positive, got {observations}")
    if not 0 < precision < 1:
        raise UserError(f"--precision must lie between 0 and 1, got {precision:g}")
    if not 0 <= seed < CALIBRATION_SEEDS:
        raise UserError(f"--seed must lie between 0 and {CALIBRATION_SEEDS - 1}, got {seed}")
    policy = load_policy(checkpoint)
    run = policy.config
    if run.env.num_envs < 2 or run.groups_per_batch < 2:
        raise UserError(f"{checkpoint}: a batch of this run makes fewer than 2 groups of environments")
    team = ready(policy)
    truth = BruteForce(
        sets=SETS,
        num_envs=run.env.num_envs,
        parameters=sum(parameter.numel() for parameter in policy.network.parameters()),
        rollout_steps=run.agent.rollout_steps,
    )
    rivals = OnlineEstimators(policy, team, sets=SETS)
    round_observations = SETS * run.rollout_observations
    most_rounds = max(1, -(-observations // round_observations))
    began = time.monotonic()
    with _Progress(most_rounds * round_observations, precision) as progress:
        interrupt = Interrupt(progress, "what is known so far follows")
        with interrupt.caught(), closing(play_rounds(policy, team, sets=SETS, seed=seed)) as games:
            for played in games:
                truth.add(played.set_index, rivals.measure(played))
                progress.played(run.rollout_observations)
                if played.set_index == SETS - 1:
                    result = truth.result()
                    progress.known(result)
                    enough = truth.rounds > 1 and max(result.precision) <= precision
                    if enough or truth.rounds >= most_rounds:
                        break
                if interrupt.asked.is_set():
                    break
    team.close()
    if not truth.rounds:
        raise KeyboardInterrupt
    return Calibration(
        checkpoint=checkpoint,
        policy=policy,
        seed=seed,
        precision=precision,
        interrupted=interrupt.asked.is_set(),
        truth=truth.result(),
        rivals=rivals,
        seconds=time.monotonic() - began,
    )


@final
class _Progress(Listener):
    """A bar with the time left on standard error, or a plain line now and then where that is no terminal."""

    def __init__(self, most: int, precision: float) -> None:
        self._most, self._total, self._precision = most, most, precision
        self._done, self._known = 0, ""
        self._began = self._said = time.monotonic()
        self._first = 0  # the first rollout waits for the emulators to start, and says nothing of the others' pace
        console = console_of()
        self._bar = Progress(TextColumn("calibrate"), BarColumn(), TextColumn("{task.fields[text]}"), console=console)
        self._live = can_draw(console)
        self._task: TaskID | None = None

    def __enter__(self) -> _Progress:
        if self._live:
            self._task = self._bar.add_task("", total=self._total, text="starting the games")
            self._bar.start()
        else:
            self.message("starting the games")
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def played(self, observations: int) -> None:
        """Takes in that so many more were played."""
        self._done += observations
        if not self._first:
            self._first, self._began = observations, time.monotonic()
        pace = (time.monotonic() - self._began) / max(1, self._done - self._first)
        left = f", {duration(pace * (self._total - self._done))} left" if pace else ""
        text = f"{short(self._done)} of {short(self._total)} observations{self._known}{left}"
        if self._task is not None:
            self._bar.update(self._task, completed=self._done, total=self._total, text=text)
        elif time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            self.message(text)

    def known(self, result: BruteForceResult) -> None:
        """Takes in how precise the truth is by now: the end comes earlier than the cap where it is precise enough."""
        self._total = int(max(self._done, min(self._most, result.observations_for(self._precision))))
        of_grad_sq, of_trace = result.precision
        self._known = f", |G|^2 to {percent(of_grad_sq)}, trace to {percent(of_trace)}"

    def message(self, text: str) -> None:
        """Prints one line."""
        if self._live:
            self._bar.console.print(text)
        else:
            write_line(f"calibrate: {text}")
