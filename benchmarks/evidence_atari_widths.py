"""Stronger models on Atari: the noise scale of Qbert's runs by width of the network, at equal score and equal steps.

    python -m benchmarks.evidence --add-widths runs/qbert-half runs/qbert-one runs/qbert-double

Each folder is a sweep with one batch and one learning rate. docs/notes/contest.md, "Widths", has the rules; the table
is docs/results/agreement/widths/qbert.csv.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from benchmarks.evidence_widths import AROUND
from rlgns import formatting
from rlgns.critical.factor import UNKNOWN, Factor
from rlgns.critical.goals import reach_goals
from rlgns.storage.sweep_folder import SweepFolder

FILE = Path("widths") / "qbert.csv"
SCORES, STEPS = (300.0, 500.0), (300, 1000, 2000)
COLUMNS = ("channels", "hidden", "seed", "kind", "at", "noise_scale")

Row = Mapping[str, Any]


def add_widths(paths: Sequence[Path], folder: Path) -> Path:
    """Writes the table from the sweeps' runs and returns its path."""
    lines = [line for path in paths for line in _lines(SweepFolder(path))]
    target = folder / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(sorted(lines, key=lambda line: (line["hidden"], line["seed"])))
    return target


def _lines(sweep: SweepFolder) -> Iterator[dict[str, Any]]:
    for run in sweep.runs():
        config, rows = run.config(), run.rows()
        about = {
            "channels": config["network"]["channels"][0],
            "hidden": config["network"]["hidden"],
            "seed": config["run"]["seed"],
        }
        for score, reached in zip(SCORES, reach_goals(rows, SCORES), strict=True):
            resolved = reached is not None and reached.noise_scale_high is not None
            value = reached.noise_scale if reached is not None and resolved else None
            yield about | {"kind": "score", "at": score, "noise_scale": _cell(value)}
        for step in STEPS:
            yield about | {"kind": "step", "at": step, "noise_scale": _cell(noise_near(rows, step))}


def noise_near(rows: Sequence[Row], step: int) -> float:
    """Returns the ratio of the sums of the moments about a step; NaN where a run had ended or shows no signal."""
    known = [row for row in rows if row.get("noise/grad_sq") is not None]
    near = [row for row in known if step / AROUND <= row["optimizer_steps"] <= step * AROUND]
    if not near or rows[-1]["optimizer_steps"] < step:
        return math.nan
    grad_sq, trace = (float(sum(row[f"noise/{name}"] for row in near)) for name in ("grad_sq", "trace"))
    return trace / grad_sq if grad_sq > 0 else math.nan


def slope(hidden: Sequence[float], noise_scale: Sequence[float]) -> Factor:
    """Returns the slope of ln noise scale on ln width by least squares, with Student's t (95 %)."""
    x, y = np.log(hidden), np.log(noise_scale)
    if len(x) < 3 or np.ptp(x) == 0:
        return UNKNOWN
    x = x - x.mean()
    value = float(x @ y / (x @ x))
    left = y - y.mean() - value * x
    half = float(stdtrit(len(x) - 2, 0.975)) * math.sqrt(float(left @ left) / (len(x) - 2) / float(x @ x))
    return Factor(value=value, low=value - half, high=value + half)


def atari_widths(folder: Path) -> list[str]:
    """Returns the section's lines; empty where the runs are missing."""
    measured = _read(folder)
    if not measured:
        return []
    widths = sorted({int(line["hidden"]) for line in next(iter(measured.values()))})
    table = [
        "The Atari network, Qbert under `quick` at batch 256: channels and hidden units halved and doubled, one "
        "learning rate for all. Noise scale: path average up to a score, or around a step; geometric mean over the "
        "seeds, in brackets how many of them resolve it; slope of ln noise scale on ln width.",
        "",
        f"| up to score, or around step | {' | '.join(f'{width} hidden' for width in widths)} | slope (95 %) |",
        f"| --- |{' ---: |' * (len(widths) + 1)}",
    ]
    for name, lines in measured.items():
        table.append(f"| {name} | {' | '.join(_mean(lines, width) for width in widths)} | {_slope_text(lines)} |")
    return ["", *table]


def atari_width_answer(folder: Path) -> list[str]:
    """Returns what the runs say, in a sentence."""
    measured = _read(folder)
    if not measured:
        return []
    above = sum(_slope(lines).low > 0 for lines in measured.values())
    return [
        f"- **A wider Atari network** (Qbert, half to twice `quick`'s): of {len(measured)} slopes of ln noise scale on "
        f"ln width {above} {'is' if above == 1 else 'are'} significantly positive: "
        f"{'; '.join(f'{name} {_slope_text(lines)}' for name, lines in measured.items())}."
    ]


def _read(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Lines of the table, by what they are measured at."""
    if not (folder / FILE).exists():
        return {}
    found: dict[str, list[dict[str, str]]] = {}
    with (folder / FILE).open(newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault(f"{line['kind']} {float(line['at']):,g}", []).append(line)
    return found


def _slope(lines: Sequence[Mapping[str, str]]) -> Factor:
    known = [line for line in lines if line["noise_scale"]]
    return slope(*([float(line[name]) for line in known] for name in ("hidden", "noise_scale")))


def _slope_text(lines: Sequence[Mapping[str, str]]) -> str:
    found = _slope(lines)
    if not math.isfinite(found.value):
        return "not known"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def _mean(lines: Sequence[Mapping[str, str]], width: int) -> str:
    mine = [line for line in lines if int(line["hidden"]) == width]
    known = [float(line["noise_scale"]) for line in mine if line["noise_scale"]]
    if not known:
        return f"not known (0 of {len(mine)})"
    return f"{formatting.rounded(float(np.exp(np.mean(np.log(known)))))} ({len(known)} of {len(mine)})"


def _cell(number: float | None) -> str:
    return f"{number:.5g}" if number is not None and math.isfinite(number) else ""
