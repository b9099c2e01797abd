"""`rlgns calibrate`: the noise scale of a frozen policy by brute force, beside every on-line estimator of it.

All of it is at the parameters that played, where training has `noise/at_rollout/scale`.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from rlgns.calibrate.estimators import OnlineEstimators
from rlgns.calibrate.frozen_policy import play_rounds, prepare_policy
from rlgns.calibrate.progress import CalibrationProgress
from rlgns.calibrate.result import Calibration
from rlgns.config.random_streams import CALIBRATION_SEEDS
from rlgns.errors import UserError
from rlgns.monitor.interrupt import Interrupt
from rlgns.noise.offline.brute_force import BruteForce
from rlgns.storage.checkpoint import load_policy

SETS = 8
"""Independent sets of environments, each as large as the run's."""


def calibrate(checkpoint: Path, *, observations: int = 200_000, precision: float = 0.05, seed: int = 0) -> Calibration:
    """Plays with a frozen policy until |G|^2 and tr(Sigma) are known, and feeds every estimator the same games.

    Memory does not grow with the observations played: two float32 vectors of all parameters per quarter of a set (64
    for 8 sets), two per environment of a set, and one rollout.

    Args:
        checkpoint: A run's folder or one of its checkpoints.
        observations: Most observations played, rounded up to whole rounds of all sets.
        precision: Relative standard error of both at which playing ends.
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
    team = prepare_policy(policy)
    truth = BruteForce(
        sets=SETS,
        num_envs=run.env.num_envs,
        parameters=sum(parameter.numel() for parameter in policy.network.parameters()),
        rollout_steps=run.agent.rollout_steps,
    )
    estimators = OnlineEstimators(policy, team, sets=SETS)
    round_observations = SETS * run.rollout_observations
    most_rounds = max(1, -(-observations // round_observations))
    began = time.monotonic()
    with CalibrationProgress(most_rounds * round_observations, precision) as progress:
        interrupt = Interrupt(progress, "what is known so far follows")
        with interrupt.caught(), closing(play_rounds(policy, team, sets=SETS, seed=seed)) as games:
            for played in games:
                truth.add(played.set_index, estimators.measure(played))
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
        stopped=interrupt.code,
        truth=truth.result(),
        estimators=estimators,
        seconds=time.monotonic() - began,
    )
