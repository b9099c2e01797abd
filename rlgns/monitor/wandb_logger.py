"""Weights & Biases: one W&B run per game, resumed where it stopped. Its errors never stop training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, final

from rlgns.config.schema import WandbConfig
from rlgns.envs.games import GAMES
from rlgns.envs.protocols import PROTOCOLS
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.wandb_artifacts import ArtifactUploader
from rlgns.monitor.wandb_login import Mode, choose_mode, quiet_wandb
from rlgns.monitor.wandb_run import LoggedRun
from rlgns.monitor.wandb_transaction_log import newest_step

INIT_TIMEOUT_S = 30.0
"""Seconds to wait for the server before the run becomes an offline run."""

FINISH_TIMEOUT_S = 60.0
"""Seconds to wait at the end for the last uploads. The rest stays on disk for `wandb sync`."""


@final
class WandbLogger(Listener):
    """Logs rows with step = iteration and x-axis = observations, into the run's folder DIR/wandb.

    At most one row per `output.log_every_s` is logged, always the last one of a session.

    W&B's own files say how far a resumed run was logged. It first logs the rows that metrics.jsonl has beyond that, and
    skips iterations that training repeats after a crash. Rows that a trial wrote but did not report before it was
    killed are taken from metrics.jsonl too. So the history has no gaps, overlaps or duplicates. Report and checkpoints
    are uploaded as `wandb.artifacts` says.

    Args:
        config: The section `wandb`.
        say: Prints one line for the user.
    """

    def __init__(self, config: WandbConfig, say: Callable[[str], None]) -> None:
        self._config = config
        self._say = say
        self._runs: dict[str, LoggedRun] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Starts the W&B runs, logs the rows they lack, and prints in one line where they are."""
        # The client would take its id from the environment instead of the run's, which a resumed run must keep
        given, _ = (os.environ.pop(name, "") for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID"))
        mode, why = choose_mode(self._config.mode)
        if mode == "disabled":
            return
        if given and len(runs) > 1:
            self._say(f"W&B: WANDB_RUN_ID {given} names one run; these {len(runs)} have ids of their own")
        for start in runs:
            logged = newest_step(start.folder.wandb_path)
            run, mode, why = self._init(start, mode, why)
            if run is None:
                self._say(f"W&B is off for {start.key}: {why}; metrics.jsonl is complete")
                continue
            if mode == "online" and run.resumed:
                # Only the server knows how far an interrupted upload got.
                logged = run.starting_step - 1
            artifacts = ArtifactUploader(self._config.artifacts, run, start, self._say)
            self._runs[start.key] = LoggedRun(run, start, logged, artifacts)
            self._runs[start.key].catch_up()
        if self._runs and mode == "online":
            self._say(f"W&B: {', '.join(each.run.url or each.run.id for each in self._runs.values())}")
        elif self._runs:
            places = " ".join(f"{start.folder.wandb_path}/offline-run-*" for start in runs if start.key in self._runs)
            self._say(f"W&B: offline ({why}); upload later with: wandb sync {places}")

    def row(self, game: str, row: Row) -> None:
        """Logs a row, unless it was logged before."""
        if game in self._runs:
            self._runs[game].row(row)

    def message(self, text: str) -> None:
        """Writes a line into the logs of all runs."""
        for run in self._runs.values():
            run.message(text)

    def media(self, key: str, values: Mapping[str, Any]) -> None:
        """Logs values of one run with its next row. Ignores unknown runs."""
        if key in self._runs:
            self._runs[key].media(values)

    def alert(self, key: str, title: str, text: str) -> None:
        """Sends an alert of one run, which W&B delivers by the user's settings (mail, Slack). Ignores unknown runs."""
        if key in self._runs:
            self._runs[key].run.alert(title, text, level="WARN")

    def finish(self, key: str, outcome: str) -> None:
        """Closes one W&B run while the session continues with others."""
        if key in self._runs:
            self._runs.pop(key).end(outcome)

    def end(self, outcome: str) -> None:
        """Closes all W&B runs and waits a limited time for uploads."""
        began = bool(self._runs)
        for key in list(self._runs):
            self.finish(key, outcome)
        if began:
            import wandb

            wandb.teardown()  # An offline run's last rows reach the disk only when W&B's own process ends.

    def _init(self, start: RunStart, mode: Mode, why: str) -> tuple[Any, Mode, str]:
        """Starts W&B for one game, offline where online fails. Returns the run or None, the mode, and why that mode."""
        try:
            return self._init_mode(start, mode), mode, why
        except Exception as error:  # No error of W&B's may stop training.
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"
        if mode != "online":
            return None, mode, why
        if not self._runs:
            import wandb

            wandb.teardown()  # The failed attempt still holds the run's id, which the next attempt needs.
        return self._init(start, "offline", f"online failed, {why}")

    def _init_mode(self, start: RunStart, mode: Mode) -> Any:
        wandb = quiet_wandb()
        config, about = start.config, start.folder.about()
        preset = str(about.get("preset") or config.run.name)
        experiment = config.run.name or preset or "rlgns"
        lag = f"async-lag-{config.engine.async_lag}" if config.engine.async_lag else ""
        adaptive = "adaptive-batch" if config.agent.batch == "adaptive" else ""
        tags = dict.fromkeys([start.game, config.env.protocol, preset, lag, adaptive, *self._config.tags])
        run = wandb.init(
            project=self._config.project,
            entity=self._config.entity or None,
            dir=str(start.folder.path),
            id=start.wandb_id,
            resume="allow",
            reinit="create_new",
            name=_name(start, experiment),
            group=config.wandb.group or experiment,
            job_type=start.job_type,
            tags=[tag[:64] for tag in tags if tag],
            config={
                "exp_name": experiment,
                "env_id": PROTOCOLS[config.env.protocol].env_id(GAMES[start.game].title),
                "seed": config.run.seed,
                **start.folder.config(),
                "about": about,
            },
            mode=mode,
            settings=wandb.Settings(
                sweep_id=about.get("wandb_sweep"),
                silent=True,
                console="wrap",
                init_timeout=INIT_TIMEOUT_S,
                finish_timeout=FINISH_TIMEOUT_S,
            ),
        )
        run._console_stop()  # only `_Logs` writes there; with the setting "off" the client would drop that too
        run.define_metric("observations")
        run.define_metric("*", step_metric="observations")
        return run


def _name(start: RunStart, experiment: str) -> str:
    """Returns the name that a run has in W&B."""
    given = start.config.wandb.name
    if not given:
        return f"{start.key}__{experiment}__{start.config.run.seed}"
    return f"{start.key}__{given}" if start.name or len(start.config.run.games) > 1 else given
