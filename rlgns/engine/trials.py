"""Runs Tune trials and passes on what they report."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, final

import ray
from ray import tune

from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.node_watch import NodeWatch
from rlgns.engine.run_settings import TrialSpec
from rlgns.engine.trial_queue import QueueSearcher, TrialQueue
from rlgns.envs.vector import num_actions
from rlgns.errors import FaultError, UserError, last_line
from rlgns.machine.footprint import warnings
from rlgns.machine.hardware import usable_cores
from rlgns.machine.nodes import nodes_of_cluster
from rlgns.machine.placement import Placement, TrialShare, wants_gpu
from rlgns.monitor.listener import Listener, RunStart


@dataclass(slots=True)
class Outcome:
    """How a session of training ended."""

    interrupted: bool = False
    faults: dict[str, str] = field(default_factory=dict)
    """By the run's key: what stopped it early, one line."""


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


def run_trials(source: TrialQueue, listener: Listener, *, most: int = 0, max_failures: int = 3) -> Outcome:
    """Trains every run of a source, side by side, each a Tune trial.

    Tune places the trials, restarts one that died (it goes on from its folder's newest checkpoint) and stops them on an
    interrupt; files, checkpoints and display are ours, so Tune's own are off.

    Args:
        source: Of the runs; folders exist.
        listener: Hears every row.
        most: How many run at once, never more than there are CPUs; 0: as many as there are CPUs (GPUs, where there are
            any). They share all that is there.
        max_failures: How often a trial that failed is restarted from its newest checkpoint, until it has a new
            iteration.

    Returns:
        How it ended. Whatever happened, each trial saved its last whole iteration if it could.
    """
    outcome = Outcome()
    interrupt = Interrupt(listener)
    scratch = tempfile.mkdtemp(prefix="rlgns-tune-")
    with interrupt.caught(), _ray():
        share = TrialShare.of(nodes_of_cluster(), most)
        source.shared(share.most, share.cpus)
        told: set[str] = set()

        def settings(start: RunStart) -> dict[str, Any]:
            found = settings_of(share, start)
            for warning in warnings(start.config, share, found["trial_config"].placement):
                if warning not in told:
                    listener.message(f"placement: {warning}")
                told.add(warning)
            return found

        searcher = QueueSearcher(source, settings, most=share.most)
        try:
            # Tune would let one trial at a time wait for its actor; the searcher keeps count itself.
            os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(share.most)
            relay = _Relay(listener, outcome, source, searcher)
            stopper = _Stopper(interrupt, source, searcher)
            _tuner(searcher, relay, stopper, max_failures=max_failures, scratch=scratch).fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    outcome.interrupted = interrupt.asked.is_set()
    return outcome


def settings_of(share: TrialShare, start: RunStart) -> dict[str, Any]:
    """Returns what the algorithm of a run is configured with."""
    run = start.config
    trial = TrialSpec(
        name=start.key,
        game=start.game,
        num_actions=num_actions(start.game, run.env.protocol),
        folder=str(start.folder.path.absolute()),
        placement=Placement.of(run, share, gpu=wants_gpu(run, share)),
    )
    return {"run_config": run, "trial_config": trial}


def _tuner(
    searcher: QueueSearcher, relay: tune.Callback, stopper: tune.Stopper, *, max_failures: int, scratch: str
) -> tune.Tuner:
    return tune.Tuner(
        AtariPPO,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            trial_name_creator=lambda trial: trial.config["trial_config"].name,
            trial_dirname_creator=lambda trial: trial.config["trial_config"].name,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=scratch,  # of Tune's own notes only; what matters is in the runs' folders
            stop=stopper,
            callbacks=[relay],
            failure_config=tune.FailureConfig(max_failures=max_failures),
            # A trial saves itself; Tune's copy would go to `scratch`, which a trial on another node cannot see
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )


@final
class _Relay(tune.Callback):
    """Passes rows and the nodes' comings and goings on to the listener and ends to the source; remembers faults."""

    def __init__(self, listener: Listener, outcome: Outcome, source: TrialQueue, searcher: QueueSearcher) -> None:
        self._listener, self._outcome, self._source, self._searcher = listener, outcome, source, searcher
        self._watch = NodeWatch(ray.nodes, listener.message)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles itself for a resume of its own, which is never used

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._watch()  # Tune comes by several times a second, also while a trial waits

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        key = self._searcher.key(trial.trial_id)
        if result["fault"] is not None:
            self._outcome.faults[key] = result["fault"]
        elif not result["replayed"]:
            trial.run_metadata.num_failures = 0  # only failures without a new iteration in between count
            self._listener.row(key, result["row"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        key = self._searcher.end(trial.trial_id)
        self._source.ended(key, self._outcome.faults.get(key, ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        key = self._searcher.end(trial.trial_id)
        detail = _error_text(trial)
        fault = self._outcome.faults.setdefault(key, last_line(detail))
        self._listener.message(f"{key}: failed for good")
        self._source.ended(key, fault, detail)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._listener.message(f"{self._searcher.key(trial.trial_id)}: failed; going on from its newest checkpoint")


@final
class _Stopper(tune.Stopper):
    """Ends a trial that has done enough, and every one once the user asked; a trial that is stopped saves first."""

    def __init__(self, interrupt: Interrupt, source: TrialQueue, searcher: QueueSearcher) -> None:
        self._interrupt, self._source, self._searcher = interrupt, source, searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        fresh = not result["replayed"] and result["fault"] is None
        enough = fresh and self._source.enough(self._searcher.key(trial_id), result["row"])
        return enough or self._interrupt.asked.is_set()

    def stop_all(self) -> bool:
        return self._interrupt.asked.is_set()


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray to run on: the cluster that RAY_ADDRESS names, the one this process is connected to, or one just for us."""
    os.environ |= {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a fault is told in one line; its traceback is the source's to keep
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
            raise UserError(f"RAY_ADDRESS: no Ray cluster answers at {address!r} ({last_line(error)})") from error
    else:
        _start_ray(common)
    for name, level in (("ray.rllib", logging.ERROR), ("ray.tune", logging.CRITICAL), ("ray.train", logging.ERROR)):
        logging.getLogger(name).setLevel(level)  # Tune's errors are the trials', which are told here
    try:
        yield
    finally:
        ray.shutdown()


def _start_ray(common: Mapping[str, Any], attempts: int = 3) -> None:
    """Starts a Ray for this process; a machine that is very busy may need more than the 30 seconds that Ray grants."""
    # Nobody reads the metrics of a Ray without a dashboard, and collecting them makes its daemons grow.
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    for attempt in range(1, attempts + 1):
        try:
            # "local": a head that somebody started on this machine is not ours unless RAY_ADDRESS names it
            ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, **common)
            return
        except Exception as error:  # of that very type
            ray.shutdown()
            if attempt == attempts:
                raise FaultError(f"Ray does not start on this machine ({last_line(error)})") from error


def _error_text(trial: Any) -> str:
    """What Tune noted of a trial's failures, with tracebacks. Its `get_error` looks where the note is copied later."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):  # there is none
        return "failed"
