"""Tells when the batch in use is far from the predicted critical batch: once, and again only after it was near."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

from rlgns import formatting
from rlgns.config.schema import Config
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.noise.config import NoiseConfig

Side = Literal["near", "small", "large"]
"""Where the batch in use stands: within reach of the critical batch, far below it, or far above."""


def side_of(batch: float, low: float | None, high: float | None, factor: float) -> Side | None:
    """Returns where a batch stands, or None where the critical batch's interval does not have two ends.

    Args:
        batch: In use, observations.
        low: Lower end of the predicted critical batch's interval.
        high: Upper end.
        factor: How many times off an end is far, at least 1.
    """
    if low is None or high is None:
        return None
    return "small" if batch * factor < low else "large" if batch > high * factor else "near"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertState:
    """What was told last, and since when the batch stands where it stands. A function of a run's rows alone."""

    told: Side = "near"
    seen: Side | None = None
    """In the newest row."""
    since_observations: int = 0
    """Observations of the first of the rows that agree with the newest."""

    def after(self, side: Side | None, observations: int, *, hold_observations: int) -> AlertState:
        """Returns the state after one more row. A side counts once it has held for `hold_observations` on end."""
        since = self.since_observations if side == self.seen else observations
        held = side is not None and observations - since >= hold_observations
        return AlertState(told=side if held and side else self.told, seen=side, since_observations=since)


@final
class BatchAlert(Listener):
    """Watches every run's batch.

    A crossing counts once it has lasted as long as the noise scale looks back (`noise.horizon_observations`): then the
    interval rests on measurements of the time since. A run that goes on reads its rows again, and tells nothing twice.

    Args:
        config: For `wandb.alert_factor` and the horizon.
        tell: Each takes the run's key, a title and the text, one line.
    """

    def __init__(self, config: Config, tell: Sequence[Callable[[str, str, str], None]]) -> None:
        self._factor, self._tell = config.wandb.alert_factor, tell
        self._hold = config.noise.horizon_observations or NoiseConfig().horizon_observations
        self._standings: dict[str, AlertState] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Finds out what was told before."""
        for run in runs:
            for row in run.folder.rows() if run.resumed else ():
                self._update(run.key, row)

    def row(self, game: str, row: Row) -> None:
        """Tells where the batch has gone far off."""
        before = self._standings.get(game, AlertState()).told
        side = self._update(game, row)
        if side == before or side == "near":
            return
        where = "below" if side == "small" else "above"
        title = f"{game}: batch far {where} the critical batch"[:63]  # W&B's limit
        for tell in self._tell:
            tell(game, title, self._text(game, row, side))

    def _update(self, key: str, row: Row) -> Side:
        if not self._factor:
            return "near"
        ends = (
            (row.get("critical_batch/low"), row.get("critical_batch/high")) if row["noise/resolved"] else (None, None)
        )
        side = side_of(row["batch_observations"], *ends, self._factor)
        state = self._standings.get(key, AlertState())
        self._standings[key] = state.after(side, row["observations"], hold_observations=self._hold)
        return self._standings[key].told

    def _text(self, game: str, row: Row, side: Side) -> str:
        names = ("critical_batch/predicted", "critical_batch/low", "critical_batch/high")
        critical = formatting.interval(*(row[name] for name in names))
        where, instead = (
            ("below", "a larger batch would take fewer steps at nearly as many observations")
            if side == "small"
            else ("above", "a smaller batch would take fewer observations at nearly as many steps")
        )
        return (
            f"{game}: the batch of {formatting.count(row['batch_observations'])} observations has been more than "
            f"{self._factor:g} times {where} the predicted critical batch, {critical}, for "
            f"{formatting.short(self._hold)} observations: {instead} (wandb.alert_factor)"
        )
