"""The learners as the algorithm sees them: one in its own process, or several remote ones that learn as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import ray
from ray.exceptions import RayActorError
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.training_data import TrainingData

from rlgns.engine.learner import AtariLearner

DEATH_S = 10.0
"""Seconds after a learner's failure within which another's death counts as its cause."""


@final
class AtariLearnerGroup:
    """Speaks to every learner of RLlib's LearnerGroup.

    RLlib would give each learner other rollouts, and would wait for those that wait for a dead one.
    """

    def __init__(self, group: LearnerGroup) -> None:
        """Takes a group that is built."""
        self._group = group
        self._remote: list[Any] = list(group._workers or [])  # none where there is one in this process

    @property
    def local(self) -> AtariLearner:
        """The learner in this process, where there are no remote ones."""
        learner = self._group._learner
        assert isinstance(learner, AtariLearner)
        return learner

    def update(self, played: Sequence[Any], timesteps: Mapping[str, Any]) -> dict[str, Any]:
        """Runs one iteration on all learners; see `AtariLearner.update`. Returns what the first reports.

        Raises:
            RuntimeError: A learner died or failed, or weights differ; then the remote learners are ended.
        """
        given: dict[str, Any] = {"training_data": TrainingData(batch_refs=list(played)), "timesteps": dict(timesteps)}
        if not self._remote:
            return self._group.update(defer_solve_refs_to_learner=True, **given)[0]
        outcomes = self._all("update", **given)
        checksums = {outcome["weights_checksum"] for outcome in outcomes}
        if len(checksums) > 1:
            self._end()
            raise RuntimeError(f"learners hold different weights after an update: checksums {sorted(checksums)}")
        return outcomes[0]

    def weights(self) -> dict[str, Any]:
        """Returns the network's present state, on the CPU."""
        if not self._remote:
            return self.local.weights()
        return ray.get(self._remote[0].weights.remote())

    def training_state(self) -> dict[str, Any]:
        """Returns the first learner's state, which is every learner's; see `AtariLearner.training_state`."""
        if not self._remote:
            return self.local.training_state()
        return ray.get(self._remote[0].training_state.remote())

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `training_state` returned, whatever the number of learners was then."""
        if not self._remote:
            self.local.load_training_state(state)
        else:
            self._all("load_training_state", state=ray.put(dict(state)))

    def _all(self, method: str, **given: Any) -> list[Any]:
        """Calls a method of every remote learner at once; the first that fails ends them all."""
        calls = [getattr(learner, method).remote(**given) for learner in self._remote]
        failed = _failures(calls)
        if failed:
            self._end()
            died = [number for number, error in failed.items() if isinstance(error, RayActorError)]
            number = (died or list(failed))[0]
            error = failed[number]
            name = type(error).__name__
            raise RuntimeError(f"learner {number} of {len(calls)} died or failed ({name}): {error}") from error
        return ray.get(calls)

    def _end(self) -> None:
        """Ends all remote learners: those that wait for one that is gone would keep the trial from its restart."""
        for learner in self._remote:
            ray.kill(learner)


def _failures(calls: list[Any]) -> dict[int, Exception]:
    """Waits for all calls, or until one failed. Returns what failed, by the call's number, in order of arrival.

    A learner that loses its connection to one that died may say so before the death is known: after a failure that is
    none, deaths are waited for, not long.
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
