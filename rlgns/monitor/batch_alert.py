"""Warns once when the batch in use is far from the predicted critical batch, and again only after it was near."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

from rlgns import formatting
from rlgns.config.schema import Config
from rlgns.critical.verdict import Decision, verdict_of
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.row_text import critical_batch_text
from rlgns.noise.config import STEADY_HORIZON_OBSERVATIONS

Side = Literal["near", "small", "large"]
"""The batch in use against the critical batch: near it, far too small, or far too large."""


def side_of(batch: float, low: float | None, high: float | None, factor: float) -> Side | None:
    """Returns where a batch stands, or None where the critical batch's interval lacks an end.

    Args:
        batch: Batch in use, observations.
        low: Lower end of the predicted critical batch's interval.
        high: Upper end.
        factor: Ratio to the nearer end beyond which a batch is far; at least 1.
    """
    if low is None or high is None:
        return None
    return "small" if batch * factor < low else "large" if batch > high * factor else "near"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertState:
    """The side that was announced last, and how long the newest side has held. Depends on a run's rows alone."""

    announced: Side = "near"
    newest: Side | None = None
    """Side of the newest row."""
    since_observations: int = 0
    """`observations` of the first row in the current stretch of rows on the newest side."""

    def after(self, side: Side | None, observations: int, *, hold_observations: int) -> AlertState:
        """Returns the state after one more row. A side is announced once it has held for `hold_observations`."""
        since = self.since_observations if side == self.newest else observations
        held = side is not None and observations - since >= hold_observations
        return AlertState(announced=side if held and side else self.announced, newest=side, since_observations=since)


@final
class BatchAlert(Listener):
    """Watches every run's batch.

    A crossing counts once it has lasted for STEADY_HORIZON_OBSERVATIONS, or for the noise scale's longest horizon
    (`noise.horizon_observations`) if that is shorter, because then the interval rests on measurements made since. A
    resumed run replays its rows and so announces nothing twice.

    Args:
        config: Supplies `wandb.alert_factor` and the longest horizon.
        send: Each takes the run's key, a title and the text, one line.
    """

    def __init__(self, config: Config, send: Sequence[Callable[[str, str, str], None]]) -> None:
        self._factor, self._send = config.wandb.alert_factor, send
        self._hold = config.noise.steady_horizon_observations or STEADY_HORIZON_OBSERVATIONS
        self._states: dict[str, AlertState] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Replays the rows of resumed runs."""
        for run in runs:
            for row in run.folder.rows() if run.resumed else ():
                self._update(run.key, row)

    def row(self, game: str, row: Row) -> None:
        """Sends an alert if the batch has become too small or too large."""
        before = self._states.get(game, AlertState()).announced
        side = self._update(game, row)
        if side == before or side == "near":
            return
        where = "below" if side == "small" else "above"
        title = f"{game}: batch far {where} the critical batch"[:63]  # W&B's limit
        for send in self._send:
            send(game, title, self._text(game, row, side))

    def _update(self, key: str, row: Row) -> Side:
        if not self._factor:
            return "near"
        # Rows of older versions have the bare noise scale under these names.
        new = row.get("noise/run_average_resolved")
        ends = (row.get("critical_batch/low"), row.get("critical_batch/high")) if new else (None, None)
        side = side_of(row["batch_observations"], *ends, self._factor)
        if side == "large" and verdict_of(row).decision is not Decision.HALVE:
            side = "near"  # the critical batch of now is larger: the verdict says keep
        state = self._states.get(key, AlertState())
        self._states[key] = state.after(side, row["observations"], hold_observations=self._hold)
        return self._states[key].announced

    def _text(self, game: str, row: Row, side: Side) -> str:
        critical = critical_batch_text(row)
        verdict = verdict_of(row)
        noise = f"run average of the noise scale {verdict.noise_scale}; {', '.join(verdict.conditions)}"
        where, instead = (
            ("below", "a larger batch would take fewer steps at nearly as many observations")
            if side == "small"
            else ("above", "a smaller batch would take fewer observations at nearly as many steps")
        )
        return (
            f"{game}: the batch of {formatting.count(row['batch_observations'])} observations has been more than "
            f"{self._factor:g} times {where} the predicted critical batch, {critical} ({noise}), for "
            f"{formatting.short(self._hold)} observations: {instead} (wandb.alert_factor)"
        )
