"""Score, speed and critical batch as gauges of Ray's own metrics, which Prometheus collects from a cluster's nodes."""

from __future__ import annotations

import math
from typing import Any, final

from rlgns.monitor.listener import Listener, Row, RunStart

GAUGES = {
    "rlgns_score_mean": ("score_mean", "Mean score of the last 100 full games"),
    "rlgns_observations_per_second": ("throughput/observations_per_s", "Observations per second of wall-clock time"),
    "rlgns_observations": ("observations", "Observations used for learning so far"),
    "rlgns_batch_observations": ("batch_observations", "Observations per optimizer step"),
    "rlgns_critical_batch": ("critical_batch/predicted", "Predicted critical batch, observations"),
    "rlgns_critical_batch_low": ("critical_batch/low", "Lower end of its interval, observations"),
    "rlgns_critical_batch_high": ("critical_batch/high", "Upper end of its interval, observations"),
}
"""By name, which Ray puts `ray_` before: the key of a row, and what it means. NaN, which Ray leaves out, where null."""


@final
class PrometheusGauges(Listener):
    """Sets the gauges of each run, labelled by game and folder, at every row.

    A Ray that collects no metrics, such as the one that rlgns starts for itself, ignores them.
    """

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, str]] = {}
        self._gauges: dict[str, Any] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Notes the labels."""
        for run in runs:
            self._labels[run.key] = {"game": run.game, "run": run.folder.path.absolute().name}

    def row(self, game: str, row: Row) -> None:
        """Sets the gauges. Only now is there a Ray to make them in."""
        if not self._gauges:
            from ray.util.metrics import Gauge

            self._gauges = {name: Gauge(name, text, tag_keys=("game", "run")) for name, (_, text) in GAUGES.items()}
        for name, (key, _) in GAUGES.items():
            value = row.get(key)
            self._gauges[name].set(math.nan if value is None else float(value), tags=self._labels[game])
