"""Every key that a run logs.

To add one, declare it in its group and put its value into the row: in `rlgns.engine.learner` what a learner knows, in
`rlgns.engine.rows` all the rest. Runs of before lack it: say so by `absent_from`, or resuming them breaks reports.
"""

from __future__ import annotations

from rlgns.metric_key import Key, KeyGroup
from rlgns.metrics.by_loss_keys import BY_LOSS
from rlgns.metrics.critical_batch_keys import CRITICAL_BATCH, RUN_AVERAGE
from rlgns.metrics.noise_keys import NOISE_SCALE
from rlgns.metrics.probe_keys import PROBE, PROBE_VIEWS
from rlgns.metrics.training_keys import LEARNING, PROGRESS, SCORE, THROUGHPUT
from rlgns.metrics.wandb_keys import CHECKPOINT_GAMES, REFERENCE_SCORES, SUMMARY

GROUPS: tuple[KeyGroup, ...] = (
    PROGRESS,
    SCORE,
    LEARNING,
    THROUGHPUT,
    NOISE_SCALE,
    BY_LOSS,
    PROBE,
    PROBE_VIEWS,
    RUN_AVERAGE,
    CRITICAL_BATCH,
)
"""Sections of docs/metrics.md, in order."""

KEYS: dict[str, Key] = {key.name: key for group in GROUPS for key in group.keys}
"""Every key of a row of metrics.jsonl, by name."""

WANDB_KEYS: dict[str, Key] = KEYS | {
    key.name: key for group in (REFERENCE_SCORES, SUMMARY, CHECKPOINT_GAMES) for key in group.keys
}
"""Every key that W&B gets, by name."""

REQUIRED: tuple[str, ...] = tuple(key.name for key in KEYS.values() if not key.optional)
"""Keys that every row has."""
