"""A batch schedule as text: for people, as CSV, and as other trainers take it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from rlgns.critical.schedule import Schedule, Stage
from rlgns.errors import UserError
from rlgns.formatting import aligned, count, interval, rounded, short

NOT_SURE = "not in this run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """How the trainer that follows the schedule counts."""

    observations_per_sample: int = 1
    """Tokens in a sequence, where an observation is a token and the trainer's batch is in sequences."""
    observations_per_epoch: int | None = None
    micro_batch: int | None = None
    """Observations; None: the schedule's first batch."""


def table(schedule: Schedule, units: Units) -> str:
    """Returns the schedule for people, with what it is sure of and what it would bring."""
    rows = [["from observation", "batch", "critical batch then", "measured at", "sure from"]]
    for stage in schedule.stages:
        sure = NOT_SURE if math.isnan(stage.sure_at) else short(stage.sure_at)
        value, low, high = stage.critical_batch
        known = interval(value, low, high) if math.isfinite(high) else f"at least {rounded(low)}"
        rows.append([count(stage.begins), count(stage.batch), known, short(stage.measured_at), sure])
    lines = [*aligned(rows), ""]
    if len(rows) == 2 and round(schedule.optimizer_steps) == round(schedule.measured_steps):
        lines.append("The run supports its own batch from beginning to end. A longer run knows more.")
        return "\n".join(lines)
    steps = schedule.measured_steps / schedule.optimizer_steps
    more = schedule.observations / schedule.measured_observations
    lines.append(
        f"The run had {short(schedule.measured_observations)} observations in {short(schedule.measured_steps)} steps. "
        f"With this schedule: {short(schedule.observations)} in {short(schedule.optimizer_steps)}, "
        f"{rounded(1 / steps)} times the steps and {rounded(more)} times the observations."
    )
    unsure = sum(math.isnan(stage.sure_at) for stage in schedule.stages)
    if unsure:
        lines.append(
            f"{unsure} of {len(schedule.stages)} batches rest on the best estimate alone: the interval of the critical "
            "batch never asks for them in this run. `--sure` leaves them out."
        )
    if math.isfinite(schedule.late_from):
        lines.append(
            f"From {short(schedule.late_from)} observations on the run's learning rate was below half of its highest, "
            "which raises the noise scale by itself: the batch stays."
        )
    lines.append("Tune the learning rate for the first batch; with Adam multiply it by sqrt(2) at each doubling.")
    return "\n".join(lines)


def as_csv(schedule: Schedule, units: Units) -> str:
    """Returns a line per stage, numbers in observations; empty where not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["from_observations", "batch_observations", "critical_batch", "low", "high", "measured_at", "sure_at"]
    )
    for stage in schedule.stages:
        numbers = (*stage.critical_batch, stage.measured_at, stage.sure_at)
        known = ["" if not math.isfinite(number) else f"{number:.6g}" for number in numbers]
        writer.writerow([round(stage.begins), stage.batch, *known])
    return text.getvalue().rstrip("\n")


def as_json(schedule: Schedule, units: Units) -> str:
    """Returns every number, for programs; null where not known."""

    def known(number: float) -> float | None:
        return number if math.isfinite(number) else None

    stages = [
        {
            "from_observations": round(stage.begins),
            "batch_observations": stage.batch,
            **dict(zip(("critical_batch", "low", "high"), map(known, stage.critical_batch), strict=True)),
            "measured_at_observations": stage.measured_at,
            "sure_at_observations": known(stage.sure_at),
        }
        for stage in schedule.stages
    ]
    whole = {name: getattr(schedule, name) for name in ("observations", "optimizer_steps")}
    measured = {name: getattr(schedule, name) for name in ("measured_observations", "measured_steps")}
    late = {"late_from_observations": known(schedule.late_from)}
    return json.dumps({"stages": stages, **whole, **measured, **late}, indent=2, allow_nan=False)


def megatron(schedule: Schedule, units: Units) -> str:
    """Returns Megatron-LM's argument: thresholds in observations (its tokens), batches in samples."""
    pairs = " ".join(f"{round(stage.begins)}:{_samples(stage, units)}" for stage in schedule.stages)
    return f'--step-batch-size-schedule "{pairs}"'


def lightning(schedule: Schedule, units: Units) -> str:
    """Returns Lightning's callback: micro-batches to accumulate, by epoch; each begins with the next whole epoch."""
    if units.observations_per_epoch is None:
        raise UserError("Lightning's schedule is by epoch: give the observations of one, as --epoch 50000")
    micro = units.micro_batch or schedule.stages[0].batch
    factors: dict[int, int] = {}
    for stage in schedule.stages:
        if stage.batch % micro:
            raise UserError(f"a batch of {stage.batch} is not a whole number of micro-batches of {micro}: change it")
        factors[math.ceil(stage.begins / units.observations_per_epoch)] = stage.batch // micro
    return f"lightning.pytorch.callbacks.GradientAccumulationScheduler(scheduling={factors})"


def olmo(schedule: Schedule, units: Units) -> str:
    """Returns OLMo-core's callback: batches and thresholds in observations, its tokens."""
    batches = [stage.batch for stage in schedule.stages]
    begins = ", ".join(f"Duration.tokens({round(stage.begins)})" for stage in schedule.stages)
    return f"BatchSizeSchedulerCallback(\n    batch_sizes={batches},\n    schedule=[{begins}],\n)"


FORMATS: dict[str, Callable[[Schedule, Units], str]] = {
    "table": table,
    "csv": as_csv,
    "json": as_json,
    "megatron": megatron,
    "lightning": lightning,
    "olmo": olmo,
}
"""By the name that --format takes."""


def _samples(stage: Stage, units: Units) -> int:
    if stage.batch % units.observations_per_sample:
        raise UserError(
            f"a batch of {stage.batch} observations is not a whole number of samples of "
            f"{units.observations_per_sample}: change --observations-per-sample, or the batch of the measured run"
        )
    return stage.batch // units.observations_per_sample
