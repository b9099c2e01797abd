"""Runs one Tune trial per game and passes on what they report."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, final

import ray
from ray import tune

from agents.precision import choose_device
from envs.vector import num_actions
from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.config import Trial
from rlgns.errors import UserError
from rlgns.hardware import usable_cores
from rlgns.monitor.listener import Listener, RunStart


@dataclass(slots=True)
class Outcome:
    """How a session of training ended."""

    interrupted: bool = False
    faults: dict[str, str] = field(default_factory=dict)
    """By game: what stopped it early, one line."""


@final
class Interrupt:
    """Remembers that the user (Ctrl-C) or the system (SIGTERM) asked to stop. A second Ctrl-C no longer waits."""

    def __init__(self, listener: Listener, what: str = "the iteration under way is finished and saved") -> None:
        """Takes whom to tell that it was asked to stop, and `what` is done before it does."""
        self._listener, self._what = listener, what
        self.asked = threading.Event()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catches both signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked.set()
        self._listener.message(f"stopping: {self._what} (Ctrl-C again: stop at once)")


def run_trials(runs: Sequence[RunStart], listener: Listener) -> Outcome:
    """Trains every run to its end, side by side, each a Tune trial.

    Tune places the trials, restarts one that died (it goes on from its folder's newest checkpoint) and stops them on an
    interrupt; files, checkpoints and display are ours, so Tune's own are off.

    Args:
        runs: One per game; folders exist.
        listener: Hears every row.

    Returns:
        How it ended. Whatever happened, each trial saved its last whole iteration if it could.
    """
    outcome = Outcome()
    interrupt = Interrupt(listener)
    scratch = tempfile.mkdtemp(prefix="rlgns-tune-")
    with interrupt.caught(), _ray():
        try:
            results = _tuner(runs, _Relay(listener, outcome), _StopOnInterrupt(interrupt), scratch).fit()
            for index, run in enumerate(runs):
                error = results[index].error
                if error is not None and run.game not in outcome.faults:
                    outcome.faults[run.game] = _one_line(error)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    outcome.interrupted = interrupt.asked.is_set()
    return outcome


def _tuner(runs: Sequence[RunStart], relay: tune.Callback, stopper: tune.Stopper, scratch: str) -> tune.Tuner:
    resources = ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 1.0) / len(runs), resources.get("GPU", 0.0) / len(runs)
    if len(runs) > 1 and cpus >= 1:
        cpus = float(int(cpus))
    run = runs[0].config
    trials = {
        start.game: Trial(
            game=start.game,
            num_actions=num_actions(start.game, run.env.protocol),
            folder=str(start.folder.path.absolute()),
            cpus=max(1.0, cpus),
            gpus=gpus if choose_device(run.engine.device).type == "cuda" else 0,
        )
        for start in runs
    }
    return tune.Tuner(
        AtariPPO,
        param_space={"run_config": run, "trials": trials, "game": tune.grid_search(list(trials))},
        tune_config=tune.TuneConfig(
            trial_name_creator=lambda trial: trial.config["game"],
            trial_dirname_creator=lambda trial: trial.config["game"],
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=scratch,  # of Tune's own notes only; what matters is in the run's folder
            stop=stopper,
            callbacks=[relay],
            failure_config=tune.FailureConfig(max_failures=run.engine.max_failures),
            verbose=0,
        ),
    )


@final
class _Relay(tune.Callback):
    """Passes rows on to the listener, and remembers what could not be written."""

    def __init__(self, listener: Listener, outcome: Outcome) -> None:
        self._listener, self._outcome = listener, outcome

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles itself for a resume of its own, which is never used

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        game = trial.config["game"]
        if result["fault"] is not None:
            self._outcome.faults[game] = result["fault"]
        elif not result["replayed"]:
            self._listener.row(game, result["row"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.message(f"{trial.config['game']}: failed for good")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.message(f"{trial.config['game']}: failed; going on from its newest checkpoint")


@final
class _StopOnInterrupt(tune.Stopper):
    """Ends every trial once the user asked; a trial that is stopped saves first."""

    def __init__(self, interrupt: Interrupt) -> None:
        self._interrupt = interrupt

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._interrupt.asked.is_set()

    def stop_all(self) -> bool:
        return self._interrupt.asked.is_set()


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray to run on: the cluster that RAY_ADDRESS names, the one this process is connected to, or one just for us."""
    os.environ |= {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a box even where it is told to be quiet
    }
    if ray.is_initialized():
        yield
        return
    # Threads that spin at a barrier cost others their cores: one busy neighbour made iterations ten times slower.
    runtime_env = {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}
    common: dict[str, Any] = {"runtime_env": runtime_env, "logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        try:
            ray.init(address=address, **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"RAY_ADDRESS: no Ray cluster answers at {address!r} ({_one_line(error)})") from error
    else:
        ray.init(num_cpus=usable_cores(), include_dashboard=False, **common)
    for name in ("ray.rllib", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
