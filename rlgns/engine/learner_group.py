"""The learners of an algorithm: a local one in its process, or several remote ones that hold the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import ray
from ray.exceptions import RayActorError
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.training_data import TrainingData

from rlgns.engine.learner import AtariLearner

DEATH_S = 10.0
"""Seconds after a learner's failure within which another learner's death counts as the cause."""


@final
class AtariLearnerGroup:
    """Calls every learner of RLlib's LearnerGroup.

    RLlib itself would give each learner different rollouts. And after a learner's death it would wait forever for the
    others, which wait for the dead one.
    """

    def __init__(self, group: LearnerGroup) -> None:
        """Wraps a group that is already built."""
        self._group = group
        self._remote: list[Any] = list(group._workers or [])  # empty where the learner is local

    @property
    def local(self) -> AtariLearner:
        """The local learner, where there are no remote ones."""
        learner = self._group._learner
        assert isinstance(learner, AtariLearner)
        return learner

    def update(self, played: Sequence[Any], timesteps: Mapping[str, Any]) -> dict[str, Any]:
        """Runs one iteration on all learners; see `AtariLearner.update`. Returns the first learner's result.

        Raises:
            RuntimeError: A learner died or failed, or weights differ; all remote learners are then killed.
        """
        given: dict[str, Any] = {"training_data": TrainingData(batch_refs=list(played)), "timesteps": dict(timesteps)}
        if not self._remote:
            return self._group.update(defer_solve_refs_to_learner=True, **given)[0]
        outcomes = self._call_all("update", **given)
        checksums = {outcome["weights_checksum"] for outcome in outcomes}
        if len(checksums) > 1:
            self._kill_all()
            raise RuntimeError(f"learners hold different weights after an update: checksums {sorted(checksums)}")
        return outcomes[0]

    def weights(self) -> dict[str, Any]:
        """Returns the network's present state, on the CPU."""
        if not self._remote:
            return self.local.weights()
        return ray.get(self._remote[0].weights.remote())

    def training_state(self) -> dict[str, Any]:
        """Returns the first learner's state, which all share; see `AtariLearner.training_state`."""
        if not self._remote:
            return self.local.training_state()
        return ray.get(self._remote[0].training_state.remote())

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `training_state` returned, for any number of learners."""
        if not self._remote:
            self.local.load_training_state(state)
        else:
            self._call_all("load_training_state", state=ray.put(dict(state)))

    def _call_all(self, method: str, **given: Any) -> list[Any]:
        """Calls a method of every remote learner at once; where one fails, kills them all and raises RuntimeError."""
        calls = [getattr(learner, method).remote(**given) for learner in self._remote]
        failed = _failures(calls)
        if failed:
            self._kill_all()
            died = [number for number, error in failed.items() if isinstance(error, RayActorError)]
            number = (died or list(failed))[0]
            error = failed[number]
            name = type(error).__name__
            raise RuntimeError(f"learner {number} of {len(calls)} died or failed ({name}): {error}") from error
        return ray.get(calls)

    def _kill_all(self) -> None:
        """Kills all remote learners: those that wait for a dead one would block the trial's restart."""
        for learner in self._remote:
            ray.kill(learner)


def _failures(calls: list[Any]) -> dict[int, Exception]:
    """Waits until all calls succeeded or one failed. Returns the failures by the call's number, in order of arrival.

    A learner that loses its connection to a dead one may fail before Ray reports the death. So after a failure that is
    not a death, this waits up to DEATH_S for one.
    """
    failed: dict[int, Exception] = {}
    waiting = calls
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1, timeout=DEATH_S if failed else None)
        if not done:
            break
        try:
            ray.get(done)
        except Exception as error:
            failed[calls.index(done[0])] = error
            if isinstance(error, RayActorError):
                break
    return failed
