"""A run as the report sees it: series from its rows, the ladder's fit, the split of its time. Reads no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlgns.critical.advice import Advice, advice_of
from rlgns.critical.goals import predicted_gamma
from rlgns.critical.learning_rate import learning_rate_warning
from rlgns.critical.verdict import Verdict, verdict_of
from rlgns.noise.ladder import LadderFit, Rung, fit_ladder

Rows = Sequence[Mapping[str, Any]]

LAST_PART = 0.2
"""Share of the rows, the newest, whose ladders are averaged for the fit."""

SERIES = (
    "score_mean",
    "human_normalised_score",
    "noise/scale",
    "noise/scale_low",
    "noise/scale_high",
    "noise/at_rollout/scale",
    "noise/at_rollout/scale_low",
    "noise/at_rollout/scale_high",
    "noise/by_loss/policy/scale",
    "noise/by_loss/value/scale",
    "noise/by_loss/value/noise_share",
    "noise/policy/scale",
    "noise/value/scale",
    "noise/entropy/scale",
    "noise/preconditioned/scale",
    "noise/design_effect",
    "critical_batch/predicted",
    "critical_batch/low",
    "critical_batch/high",
    "critical_batch/now",
    "noise/run_average",
    "noise/run_average_low",
    "noise/run_average_high",
    "learning_rate",
    "batch_observations",
    "target_batch_observations",
    "throughput/observations_per_s",
)
"""Keys that --json has as series against observations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunData:
    """One run as read from its folder."""

    label: str
    """The game, with the folder where several runs play the same game."""
    about: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: Rows = ()

    @property
    def last(self) -> Mapping[str, Any]:
        """The newest row; empty before the first."""
        return self.rows[-1] if self.rows else {}

    @property
    def advice(self) -> Advice:
        """What twice the environments would buy at the end of the run."""
        return advice_of(self.last)

    @property
    def adaptive(self) -> bool:
        """Whether the run's batch is adaptive."""
        return self.last.get("batch_mode") == "adaptive"

    @property
    def verdict(self) -> Verdict:
        """What is known of the run's critical batch, and what follows for its batch."""
        return verdict_of(self.last, preset=str(self.about.get("preset") or ""))

    @property
    def adaptive_gamma(self) -> float:
        """Gamma predicted for an adaptive batch, given how this run's noise scale changed; NaN: not known."""
        return predicted_gamma(self.rows)

    @property
    def learning_rate_warning(self) -> str | None:
        """One sentence on why the learning rate looks far from tuned; None where it looks fine."""
        agent = self.config.get("agent") or {}
        algorithm, epochs = str(agent.get("algorithm", "")), int(agent.get("epochs") or 1)
        return learning_rate_warning(self.rows, algorithm=algorithm, epochs=epochs)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLadder:
    """The mean ladder of a run's newest rows and the law through it."""

    rungs: tuple[Rung, ...]
    """Mean of |g_B|^2 by batch size B, smallest first."""
    fit: LadderFit
    rows: int
    """Rows that were averaged."""


def thinned(rows: Rows, max_points: int) -> Rows:
    """Returns at most `max_points` rows, evenly spaced, including the first and the last."""
    if len(rows) <= max_points:
        return rows
    picks = np.unique(np.linspace(0, len(rows) - 1, max_points).round().astype(int))
    return [rows[pick] for pick in picks]


def column(rows: Rows, key: str) -> list[float | None]:
    """Returns a key's values, None where a row has none."""
    values = [row.get(key) for row in rows]
    return [value if isinstance(value, int | float) and math.isfinite(value) else None for value in values]


def newest_with(rows: Rows, key: str) -> Mapping[str, Any] | None:
    """Returns the newest row in which `key` is neither missing nor empty; None where there is none."""
    return next((row for row in reversed(rows) if row.get(key)), None)


def newest_ladder(rows: Rows) -> RunLadder | None:
    """Returns the mean ladder of the newest rows with its fit; None where fewer than 2 sizes were measured."""
    newest = rows[-max(1, math.ceil(LAST_PART * len(rows))) :] if rows else []
    norms: dict[int, list[float]] = {}
    ladders = [row.get("noise/ladder") or [] for row in newest]
    for rung in (rung for ladder in ladders for rung in ladder):
        if rung["grad_sq_norm"] is not None:
            norms.setdefault(int(rung["batch_observations"]), []).append(float(rung["grad_sq_norm"]))
    rungs = tuple(Rung(batch_observations=size, grad_sq_norm=float(np.mean(norms[size]))) for size in sorted(norms))
    fit = fit_ladder(rungs)
    if math.isnan(fit.misfit):
        return None
    return RunLadder(rungs=rungs, fit=fit, rows=sum(bool(ladder) for ladder in ladders))


def time_split(rows: Rows) -> dict[str, float]:
    """Returns the seconds spent on `sample`, `learn`, `measure` and `other`; empty before the first row.

    An iteration lasts from the previous row to its own. `throughput/learn_s` includes measuring, which is subtracted.
    """
    split = dict.fromkeys(("sample", "learn", "measure", "other"), 0.0)
    before = 0.0
    for row in rows:
        now = row.get("seconds")
        if now is None:
            continue
        seconds = max(0.0, now - before)
        before = now
        sample, learn = row.get("throughput/sample_s") or 0.0, row.get("throughput/learn_s") or 0.0
        measure = min(learn, (row.get("noise/overhead_fraction") or 0.0) * seconds)
        split["sample"] += sample
        split["learn"] += learn - measure
        split["measure"] += measure
        split["other"] += max(0.0, seconds - sample - learn)
    return split if rows else {}


def run_numbers(run: RunData, max_points: int = 2000) -> dict[str, Any]:
    """Returns the numbers of a run's section, JSON types only.

    Args:
        run: The run.
        max_points: Points per series.
    """
    rows = thinned(run.rows, max_points)
    ladder, advice = newest_ladder(run.rows), run.advice
    series = {key: column(rows, key) for key in SERIES}
    return {
        "label": run.label,
        "run": run.about,
        "config": run.config,
        "final": {key: value for key, value in run.last.items() if not isinstance(value, list)},
        "series": {
            "observations": column(rows, "observations"),
            **{key: values for key, values in series.items() if any(value is not None for value in values)},
        },
        "ladder": None if ladder is None else _ladder_numbers(ladder),
        "time_s": time_split(run.rows),
        "advice": {
            "factor": advice.factor,
            "step_ratio": [advice.step_ratio_low, advice.step_ratio, advice.step_ratio_high],
            "observation_ratio": [
                advice.observation_ratio_low,
                advice.observation_ratio,
                advice.observation_ratio_high,
            ],
            "sentence": advice.sentence(interval=True),
        },
        "verdict": {
            "decision": run.verdict.decision.value,
            "critical_batch": [run.verdict.low, run.verdict.value, run.verdict.high],
            "sentence": run.verdict.sentence(),
        },
        "learning_rate_warning": run.learning_rate_warning,
        "batch_mode": "adaptive" if run.adaptive else "fixed",
        "adaptive_gamma": run.adaptive_gamma,
    }


def _ladder_numbers(ladder: RunLadder) -> dict[str, Any]:
    fit = ladder.fit
    return {
        "batch_observations": [rung.batch_observations for rung in ladder.rungs],
        "grad_sq_norm": [rung.grad_sq_norm for rung in ladder.rungs],
        "grad_sq": fit.grad_sq,
        "trace": fit.trace,
        "noise_scale": None if math.isnan(fit.noise_scale) else fit.noise_scale,
        "misfit": fit.misfit,
        "rows": ladder.rows,
    }
