"""Section "Adaptive batch" of docs/results/agreement.md: its gain over the best fixed batch, predicted and measured.

docs/notes/contest.md, "Adaptive batch", is the plan; `python -m examples.tasks TASK --adaptive DIR` makes the pairs.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from examples.tasks.adaptive import CONSTANT, FIXED, SWEPT


@dataclass(frozen=True, kw_only=True, slots=True)
class Gain:
    """Adaptive over fixed, of one task. Ratios below 1 are gains."""

    task: str
    mode: str
    """Of the adaptive runs: how their learning rate was chosen."""
    pairs: int
    """Whose runs both reached the goal."""
    of: int
    cost: float
    """Geometric mean of the pairs' ratio of S / S_min + E / E_min."""
    low: float
    high: float
    steps: float
    """The same of the optimizer steps."""
    observations: float
    gamma: float
    """Mean over the fixed runs."""

    @property
    def predicted(self) -> float:
        """Ratio of costs by the model (McCandlish et al. 2018, appendix D)."""
        return (1 + math.sqrt(self.gamma)) / 2


def read_gains(file: Path) -> list[Gain]:
    """Returns what the lines of adaptive.csv say of each kind of adaptive runs."""
    with file.open(newline="") as text:
        lines = list(csv.DictReader(text))
    runs = {(line["batch_mode"], line["seed"]): line for line in lines}
    return [_gain(lines[0]["game"], mode, runs) for mode in (SWEPT, CONSTANT)]


def _gain(task: str, mode: str, runs: Mapping[tuple[str, str], Mapping[str, str]]) -> Gain:
    seeds = [seed for kind, seed in runs if kind == FIXED]
    both = [(runs[mode, seed], runs[FIXED, seed]) for seed in seeds]
    pairs = [(adaptive, fixed) for adaptive, fixed in both if adaptive["cost"] and fixed["cost"]]
    cost, half = _mean_log(pairs, "cost")
    gammas = [float(fixed["gamma"]) for _, fixed in pairs if math.isfinite(float(fixed["gamma"]))]
    return Gain(
        task=task,
        mode=mode.removeprefix("adaptive, "),
        pairs=len(pairs),
        of=len(seeds),
        cost=math.exp(cost),
        low=math.exp(cost - half),
        high=math.exp(cost + half),
        steps=math.exp(_mean_log(pairs, "optimizer_steps")[0]),
        observations=math.exp(_mean_log(pairs, "observations")[0]),
        gamma=float(np.mean(gammas)) if gammas else math.nan,
    )


def read_all(folder: Path) -> list[Gain]:
    """Returns the gains of every task."""
    return [gain for file in sorted((folder / "adaptive").glob("*.csv")) for gain in read_gains(file)]


def adaptive_section(folder: Path) -> list[str]:
    """Returns the table of all tasks that have pairs."""
    gains = read_all(folder)
    if not gains:
        return ["No task has adaptive runs yet."]
    return [
        "Adaptive over fixed, to the hardest goal; below 1 is a gain. Cost is S / S_min + E / E_min: optimizer steps "
        "and observations, each over the fewest that the sweep's fit allows; at the critical batch it is 4.",
        "",
        "| task | learning rate | pairs | cost, predicted | cost, measured (95 %) | optimizer steps | observations |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {gain.task} | {gain.mode} | {gain.pairs} of {gain.of} | {gain.predicted:.2f} | "
            f"{gain.cost:.2f} ({gain.low:.2f} to {gain.high:.2f}) | {gain.steps:.2f} | {gain.observations:.2f} |"
            for gain in gains
        ),
    ]


def _mean_log(pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], key: str) -> tuple[float, float]:
    """Mean of ln(adaptive / fixed) over the pairs, and half its 95 % interval by Student's t."""
    logs = [math.log(float(adaptive[key]) / float(fixed[key])) for adaptive, fixed in pairs]
    if len(logs) < 2:
        return math.nan, math.nan
    half = float(stdtrit(len(logs) - 1, 0.975)) * float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    return float(np.mean(logs)), half
