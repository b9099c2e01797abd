"""Lets Tune forget the results that it has handled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from ray.air.execution._internal import RayActorManager
from ray.tune.execution import tune_controller

NAME = RayActorManager.__name__


@contextmanager
def forgetful_tune() -> Iterator[None]:
    """While it is open, Tune drops its reference to a result once its callbacks have had it.

    Ray's manager of actors keeps the references of all results until their actor ends (Ray 2.60), so that they fill the
    object store: some 125 kB an iteration, 8 GB in a run of 62,500.
    """
    before = vars(tune_controller)[NAME]
    setattr(tune_controller, NAME, _Forgetful)
    try:
        yield
    finally:
        setattr(tune_controller, NAME, before)


@final
class _Forgetful(RayActorManager):
    def next(self, timeout: float | int | None = None) -> bool:
        handled = bool(super().next(timeout))
        pending = self._actor_task_events.get_futures()
        for futures in self._tracked_actors_to_task_futures.values():
            futures &= pending
        return handled
