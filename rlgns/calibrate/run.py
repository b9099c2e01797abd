"""`rlgns calibrate`: a checkpoint's two noise scales by brute force, beside every on-line estimator of them.

At the parameters that played, where training has `noise/at_rollout/scale`; and along the optimizer steps of a first
epoch, where it has `noise/scale`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import final

from rlgns.agents.compute.team import Team
from rlgns.calibrate.estimator_names import PROBE
from rlgns.calibrate.estimators import OnlineEstimators
from rlgns.calibrate.frozen_policy import PlayedSet, play_rounds, prepare_policy
from rlgns.calibrate.progress import CalibrationProgress
from rlgns.calibrate.replay import Replays
from rlgns.calibrate.result import Calibration
from rlgns.calibrate.run_numbers import row_at
from rlgns.config.random_streams import CALIBRATION_SEEDS
from rlgns.errors import ExitCode, UserError
from rlgns.monitor.interrupt import Interrupt
from rlgns.noise.offline.brute_force import BruteForce
from rlgns.noise.offline.burn_in import STARTS, burn_in
from rlgns.storage.checkpoint import Policy, load_policy

SETS = 8
"""Independent sets of environments, each as large as the run's."""


def calibrate(checkpoint: Path, *, observations: int = 200_000, precision: float = 0.05, seed: int = 0) -> Calibration:
    """Plays with a policy and replays iterations until both noise scales are known; feeds every estimator the same.

    Memory does not grow with the observations played: up to seven float32 vectors of all parameters per quarter of a
    set (32 for 8 sets), two per environment of a set, and a round's rollouts.

    Args:
        checkpoint: A run's folder or one of its checkpoints.
        observations: Most observations played, rounded up to whole rounds of all sets.
        precision: Relative standard error of all at which playing ends.
        seed: Another seed plays other games.

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
    with closing(prepare_policy(policy)) as team:
        measuring = Measuring(policy, team, checkpoint=checkpoint, precision=precision, seed=seed)
        round_observations = SETS * run.rollout_observations
        most_rounds = max(1, -(-observations // round_observations))
        with CalibrationProgress(most_rounds * round_observations, precision) as progress:
            return measuring.run(most_rounds, progress)


@final
class Measuring:
    """One calibration under way."""

    def __init__(self, policy: Policy, team: Team, *, checkpoint: Path, precision: float, seed: int) -> None:
        """Prepares; see `calibrate`."""
        run = policy.config
        self._policy, self._team, self._checkpoint = policy, team, checkpoint
        self._precision, self._seed = precision, seed
        self._row = row_at(checkpoint, policy.iteration)
        self._truth = BruteForce(
            sets=SETS,
            num_envs=run.env.num_envs,
            parameters=sum(parameter.numel() for parameter in policy.network.parameters()),
            rollout_steps=run.agent.rollout_steps,
            starts=STARTS,
        )
        self._estimators = OnlineEstimators(policy, team, sets=SETS)
        # With one step an epoch there is no path.
        self._replays = Replays(policy, team, sets=SETS) if run.agent.minibatches > 1 else None
        self._played = 0
        self._began = time.monotonic()

    def run(self, most_rounds: int, progress: CalibrationProgress) -> Calibration:
        """Plays up to so many rounds."""
        size = self._policy.config.rollout_observations
        interrupt = Interrupt(progress, "what is known so far follows")
        games = play_rounds(self._policy, self._team, sets=SETS, seed=self._seed)
        this_round: list[PlayedSet] = []
        with interrupt.caught(), closing(games):
            while not interrupt.asked.is_set() and self._truth.rounds < most_rounds:
                began = time.monotonic()
                played = next(games)
                self._truth.add(played.set_index, self._estimators.measure(played))
                self._played += size
                this_round.append(played)
                if (played.round_index, played.set_index) == (0, 1):  # the first one waited for the emulators
                    progress.expect(self._seconds(most_rounds, time.monotonic() - began))
                progress.played(size)
                if len(this_round) < SETS:
                    continue
                if played.round_index:  # the first round is never used
                    self._replay(this_round, interrupt)
                this_round = []
                result = self._result(interrupt.code)
                progress.known(result.truth)
                if result.enough:
                    break
        if not self._truth.rounds:
            raise KeyboardInterrupt
        return self._result(interrupt.code)

    def _replay(self, this_round: Sequence[PlayedSet], interrupt: Interrupt) -> None:
        if self._replays is None:
            return
        measuring = [this_round[index] for index in self._replays.measurers]
        for stepper in self._replays.steppers:
            if not interrupt.asked.is_set():
                self._replays.replay(this_round[stepper], measuring)

    def _seconds(self, rounds: int, rollout_s: float) -> float:
        """Returns about how long so many rounds take, from the time of one rollout and of its gradient."""
        replays = 0 if self._replays is None else (rounds - 1) * len(self._replays.steppers) * self._replays.passes
        cost = self._estimators.costs[PROBE]
        return rounds * SETS * rollout_s + replays * cost.seconds / self._measured(cost.observations)

    def _measured(self, observations: int) -> float:
        return observations / self._policy.config.rollout_observations

    def _result(self, stopped: ExitCode | None) -> Calibration:
        moments, without_set = self._truth.by_round()
        rounds = burn_in(moments, without_set)
        return Calibration(
            checkpoint=self._checkpoint,
            policy=self._policy,
            seed=self._seed,
            precision=self._precision,
            stopped=stopped,
            observations=self._played,
            truth=self._truth.result(rounds.first),
            path=self._replays and self._replays.truth.result(rounds.first),
            rounds=moments,
            burn_in=rounds,
            estimators=self._estimators,
            replays=self._replays,
            row=self._row,
            seconds=time.monotonic() - self._began,
        )
