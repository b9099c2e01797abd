"""Findings of docs/results/agreement.md beside the prediction itself: growth, batch, candidates, adaptive, width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest_scores import MIN_GROUPS, PATH, Score, known, scores
from benchmarks.evidence_adaptive import read_all
from benchmarks.evidence_batch import exponent
from benchmarks.evidence_contest import NAMES
from benchmarks.evidence_data import CANDIDATES, TaskResult
from benchmarks.evidence_growth import critical_factor, ends, noise_factor
from benchmarks.evidence_sections import digits_and_mnist, families
from benchmarks.evidence_widths import trend
from rlgns import formatting


def growth_answer(tasks: Sequence[TaskResult]) -> list[str]:
    """Whether both grow, and whether in step."""
    pairs = [two for task in tasks if (two := ends(task.goals)) is not None]
    both = [(critical_factor(*two), noise_factor(*two)) for two in pairs]
    critical = [factor for factor, _ in both if math.isfinite(factor.value)]
    noise = [factor for _, factor in both if math.isfinite(factor.value)]
    shares = [b.value / a.value for a, b in both if math.isfinite(a.value) and math.isfinite(b.value)]
    if not noise or not critical:
        return []
    return [
        f"- **Both grow as training goes on.** From the first goal to the last the critical batch grows "
        f"{_range([factor.value for factor in critical])} times (the interval excludes 1 in "
        f"{sum(factor.low > 1 for factor in critical)} of {len(critical)} tasks), the noise scale "
        f"{_range([factor.value for factor in noise])} times ({sum(factor.low > 1 for factor in noise)} of "
        f"{len(noise)}). At different rates: growth of the noise scale / growth of the critical batch is "
        f"{_range(shares)}."
    ]


def batch_answer(tasks: Sequence[TaskResult]) -> list[str]:
    """Whether the noise scale depends on the batch of its run."""
    found = [(task.name, exponent(task.goals[-1])) for task in tasks]
    above = [(name, factor) for name, factor in found if factor.low > 0]
    below = [name for name, factor in found if factor.high < 0]
    known_ones = [factor for _, factor in found if math.isfinite(factor.value)]
    if not above:
        return []
    name, most = max(above, key=lambda one: one[1].value)
    return [
        "- **The noise scale depends on the run's batch** (post hoc): at the hardest goal it rises with the batch in "
        f"{len(above)} of {len(known_ones)} tasks, most in {name}, as batch^{most.value:.2f}"
        f"{f', and falls in {len(below)}: ' + ', '.join(below) if below else ''}."
    ]


def candidates_answer(tasks: Sequence[TaskResult]) -> list[str]:
    """Whether another candidate beats the path average."""
    contested = [task for task in tasks if all(name in task.fits for name in CANDIDATES)]
    errors = [error for task in contested for error in task.errors]
    groups = len({error.group for error in errors if all(known(error, name) for name in CANDIDATES)})
    if groups < MIN_GROUPS:
        names = ", ".join(task.name for task in contested) or "no task"
        return [f"- **Which candidate predicts best** is not decided: the others are measured on {names} so far."]
    found = {one.candidate: one for one in scores(errors, CANDIDATES) if one.calibrated}
    errors_of = {name: f"{math.exp(found[name].value):.2g}" for name in CANDIDATES}
    others = [f"{NAMES[name]} {errors_of[name]}{_beside_path(found[name])}" for name in CANDIDATES if name != PATH]
    winners = [name for name in CANDIDATES if found[name].less_path_high < 0]
    path = f"the path average (error {errors_of[PATH]}), each with one factor ({groups} families)"
    if winners:
        return [f"- **{formatting.first_upper(NAMES[winners[0]])}** beats {path}: {', '.join(others)}."]
    return [f"- **No other candidate** beats {path}: {', '.join(others)}. So the path average stays the predictor."]


def _beside_path(score: Score) -> str:
    if score.less_path_high < 0:
        return " (significantly better)"
    return " (significantly worse)" if score.less_path_low > 0 else ""


def adaptive_answer(folder: Path) -> list[str]:
    """What adaptive batches gained."""
    gains = read_all(folder)
    if not gains:
        return []
    best, worst = min(gains, key=lambda gain: gain.cost), max(gains, key=lambda gain: gain.cost)
    return [
        f"- **An adaptive batch does not pay here**: of {len(gains)} comparisons with the best fixed batch "
        f"{sum(gain.low > 1 for gain in gains)} are significantly worse, {sum(gain.high < 1 for gain in gains)} better."
        f" Cost relative to the fixed batch: measured {best.cost:.2f} to {worst.cost:.2f}, predicted "
        f"{min(gain.predicted for gain in gains):.2f} to {max(gain.predicted for gain in gains):.2f}."
    ]


def width_answer(tasks: Sequence[TaskResult]) -> list[str]:
    """Whether wider networks have larger critical batches."""
    slopes = [(base, trend(some)[1]) for base, some in families(tasks).items()]
    known_slopes = [(base, slope) for base, slope in slopes if math.isfinite(slope.value)]
    if not known_slopes:
        return []
    text = "; ".join(f"{base} {slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f})" for base, slope in known_slopes)
    grown = sum(slope.low > 0 for _, slope in known_slopes)
    if grown:
        return [f"- **Wider networks**: slope of ln critical batch on ln width at equal loss: {text}."]
    fallen = sum(slope.high < 0 for _, slope in known_slopes)
    return [
        "- **No growth of the critical batch with the width was found at equal loss**, though the plan expected it. "
        "That is in line with Kaplan et al. 2020 (arXiv:2001.08361), where it depends on the loss alone. "
        f"Of {len(known_slopes)} slopes of ln critical batch on ln width none is significantly positive and "
        f"{fallen or 'none'} {'is' if fallen < 2 else 'are'} significantly negative: {text}."
    ]


def difficulty_answer(tasks: Sequence[TaskResult]) -> list[str]:
    """Digits against MNIST."""
    at = digits_and_mnist(tasks)
    if len(at) < 2:
        return []
    digits, mnist = at["digits-sgd"], at["mnist-conv"]
    words = (
        "larger, as the paper expects" if mnist.critical_batch_low > digits.critical_batch_high else "not told apart"
    )
    return [
        f"- **Harder data**: at the same loss MNIST's critical batch is {formatting.rounded(mnist.critical_batch)}, "
        "the "
        f"digits' {formatting.rounded(digits.critical_batch)}: {words}. The networks differ too."
    ]


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2g} to {max(values):.2g}"
