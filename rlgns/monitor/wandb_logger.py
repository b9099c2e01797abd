"""Weights & Biases: one W&B run per game, resumed where it stopped. Its errors never stop training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from rlgns.config.schema import WandbConfig
from rlgns.critical.verdict import verdict_of
from rlgns.envs.games import GAMES
from rlgns.envs.protocols import PROTOCOLS
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.wandb_artifacts import ArtifactUploader
from rlgns.monitor.wandb_login import Mode, choose_mode, quiet_wandb
from rlgns.monitor.wandb_transaction_log import newest_step
from rlgns.storage.run_folder import RunFolder

INIT_TIMEOUT_S = 30.0
"""Seconds to wait for the server before the run becomes an offline run."""

FINISH_TIMEOUT_S = 60.0
"""Seconds to wait at the end for the last uploads. The rest stays on disk for `wandb sync`."""


@final
class WandbLogger(Listener):
    """Logs every row with step = iteration and x-axis = observations, into the run's folder DIR/wandb.

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
        self._runs: dict[str, Any] = {}
        self._folders: dict[str, RunFolder] = {}
        self._logged: dict[str, int] = {}  # the newest iteration
        self._artifacts: dict[str, ArtifactUploader] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Starts the W&B runs, logs the rows they lack, and prints in one line where they are."""
        mode, why = choose_mode(self._config.mode)
        if mode == "disabled":
            return
        for start in runs:
            logged = newest_step(start.folder.wandb_path)
            run, mode, why = self._init(start, mode, why)
            if run is None:
                self._say(f"W&B is off for {start.key}: {why}; metrics.jsonl is complete")
                continue
            if mode == "online" and run.resumed:
                # Only the server knows how far an interrupted upload got.
                logged = run.starting_step - 1
            self._runs[start.key], self._folders[start.key], self._logged[start.key] = run, start.folder, logged
            self._artifacts[start.key] = ArtifactUploader(self._config.artifacts, run, start, self._say)
            self._catch_up(start.key)
        if self._runs and mode == "online":
            self._say(f"W&B: {', '.join(run.url or run.id for run in self._runs.values())}")
        elif self._runs:
            places = " ".join(f"{start.folder.wandb_path}/offline-run-*" for start in runs if start.key in self._runs)
            self._say(f"W&B: offline ({why}); upload later with: wandb sync {places}")

    def row(self, game: str, row: Row) -> None:
        """Logs a row, unless it was logged before."""
        if game not in self._runs:
            return
        if row["iteration"] > self._logged[game] + 1:
            self._catch_up(game)
        self._log(game, row)

    def alert(self, key: str, title: str, text: str) -> None:
        """Sends an alert of one run, which W&B delivers by the user's settings (mail, Slack). Ignores unknown runs."""
        run = self._runs.get(key)
        if run is not None:
            run.alert(title, text, level="WARN")

    def finish(self, key: str, outcome: str) -> None:
        """Closes one W&B run while the session continues with others."""
        if key in self._runs:
            self._catch_up(key)
            preset = str(self._folders[key].about().get("preset") or "")
            verdict = verdict_of(self._folders[key].last_row() or {}, preset=preset)
            self._runs[key].summary["verdict"] = verdict.sentence()
            self._artifacts.pop(key).end()
            self._runs.pop(key).finish(exit_code=0 if outcome == "done" else 1)

    def end(self, outcome: str) -> None:
        """Closes all W&B runs and waits a limited time for uploads."""
        began = bool(self._runs)
        for key in list(self._runs):
            self.finish(key, outcome)
        if began:
            import wandb

            wandb.teardown()  # An offline run's last rows reach the disk only when W&B's own process ends.

    def _catch_up(self, key: str) -> None:
        for row in self._folders[key].rows():
            self._log(key, row)

    def _log(self, key: str, row: Row) -> None:
        if row["iteration"] > self._logged[key]:
            self._runs[key].log(flatten(row) | reference_scores(row["game"]), step=row["iteration"])
            self._logged[key] = row["iteration"]
            self._artifacts[key].row(row)

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
            name=f"{start.key}__{experiment}__{config.run.seed}",
            group=experiment,
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
                silent=True, console="off", init_timeout=INIT_TIMEOUT_S, finish_timeout=FINISH_TIMEOUT_S
            ),
        )
        run.define_metric("observations")
        run.define_metric("*", step_metric="observations")
        return run


def flatten(row: Row) -> dict[str, float | bool]:
    """Returns a row's numbers without nulls; list entries become keys: noise/ladder/512, noise/layers/conv1/trace."""
    flat: dict[str, float | bool] = {}
    for key, value in row.items():
        if isinstance(value, bool | int | float):
            flat[key] = value
        elif isinstance(value, list):
            for entry in value:
                flat.update(_flatten_entry(key, entry))
    return flat


def _flatten_entry(key: str, entry: Mapping[str, Any]) -> dict[str, float]:
    if "batch_observations" in entry:
        values = {f"{key}/{entry['batch_observations']}": entry["grad_sq_norm"]}
    else:
        label, *names = entry  # the first field names the entry
        values = {f"{key}/{entry[label]}/{name}": entry[name] for name in names}
    return {name: value for name, value in values.items() if value is not None}


def reference_scores(game: str) -> dict[str, float]:
    """Returns the reference scores of a game, which W&B draws as constant lines; unknown ones are left out."""
    about = GAMES[game]
    scores = {"random": about.random_score, "human": about.human_score, "cleanrl": about.cleanrl_score}
    return {f"reference/{name}_score": score for name, score in scores.items() if score is not None}
