"""Turns runs' folders into a page under docs/results/: a figure (SVG), a thinned table (CSV) and the facts (Markdown).

    python -m benchmarks.results NAME "TITLE" "COMMAND" DIR [DIR ...]

Several folders are seeds of the same experiment: one line each in the figure.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from rlgns import formatting
from rlgns.storage.run_folder import RunFolder

RESULTS = Path(__file__).parent.parent / "docs" / "results"
POINTS, DRAWN = 60, 600
"""Rows of each run that the table keeps and that the figure shows."""

COLUMNS = (
    "observations",
    "seconds",
    "score_mean",
    "noise/scale",
    "noise/scale_low",
    "noise/scale_high",
    "noise/resolved",
    "noise/design_effect",
    "noise/run_average",
    "critical_batch/predicted",
    "learning_rate",
    "entropy",
    "throughput/observations_per_s",
)


def thinned(rows: list[dict[str, Any]], points: int = POINTS) -> list[dict[str, Any]]:
    """Returns about so many rows, evenly spaced, the last one included."""
    step = max(1, len(rows) // points)
    return rows[::-1][::step][::-1]


def _where(shown: list[bool], values: list[float]) -> list[float]:
    return [value if show else math.nan for show, value in zip(shown, values, strict=True)]


def figure(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draws score and noise scale against observations."""
    mpl.rcParams |= {"svg.hashsalt": "rlgns", "svg.fonttype": "none", "font.size": 9}
    _, (score, noise) = plt.subplots(2, 1, figsize=(7, 5.2), sharex=True, layout="constrained")
    for name, rows in runs.items():
        x = [row["observations"] / 1e6 for row in rows]
        score.plot(x, [row["score_mean"] for row in rows], label=name, lw=1.2)
        resolved = [bool(row["noise/resolved"]) for row in rows]
        value, low, high = ([row[f"noise/scale{end}"] or math.nan for row in rows] for end in ("", "_low", "_high"))
        (line,) = noise.plot(x, _where(resolved, value), lw=1.2, label=name)
        noise.fill_between(x, _where(resolved, low), _where(resolved, high), alpha=0.25, color=line.get_color(), lw=0)
        noise.plot(x, _where([not known for known in resolved], low), ".", ms=1.5, color=line.get_color())
        noise.axhline(rows[-1]["batch_observations"], ls=":", lw=0.8, color="gray")
    score.set_ylabel("score, mean of 100 full games")
    noise.set_ylabel("noise scale, observations\n(95 % band; dots: at least; dotted: batch)")
    noise.set_xlabel("observations, millions")
    noise.set_yscale("log")
    if len(runs) > 1:
        score.legend(frameon=False)
    for axes in (score, noise):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    plt.savefig(path, metadata={"Date": None})


def milestones(rows: list[dict[str, Any]]) -> list[str]:
    """Returns table lines at each eighth of the run."""
    lines = [
        "| observations | minutes | score | noise scale (95 %) | design effect |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for part in range(1, 9):
        row = rows[round(part * len(rows) / 8) - 1]
        high = row["noise/scale_high"] if row["noise/resolved"] else None
        scale = formatting.interval(row["noise/scale"], row["noise/scale_low"], high)
        lines.append(
            f"| {row['observations']:,} | {row['seconds'] / 60:.1f} | {formatting.score(row['score_mean'])} | {scale} "
            f"| {formatting.rounded(row['noise/design_effect'])} |"
        )
    return lines


def page(title: str, command: str, name: str, folders: list[RunFolder], runs: dict[str, list[dict[str, Any]]]) -> str:
    """Returns the Markdown page."""
    about, config = folders[0].about(), folders[0].config()
    hardware = about["hardware"]
    seeds = ", ".join(str(folder.config()["run"]["seed"]) for folder in folders)
    batch, envs = next(iter(runs.values()))[-1]["batch_observations"], config["env"]["num_envs"]
    lines = [
        f"# {title}",
        "",
        f"    {command}",
        "",
        f"{about['created'][:10]}, commit {about['git']}, {hardware['cores']} cores ({hardware['cpu']}), "
        f"{hardware['gpu'] or 'no GPU'}, torch {about['versions']['torch']}. {about['protocol'].capitalize()}. "
        f"Seeds: {seeds}. {envs} environments; batch in use: {batch} observations.",
        "",
        f"![score and noise scale against observations]({name}.svg)",
        "",
    ]
    for run, rows in runs.items():
        lines += [f"## {run}", "", *milestones(rows), ""]
    lines += [f"Thinned rows: [{name}.csv]({name}.csv).", ""]
    return "\n".join(lines)


def main() -> None:
    """Writes NAME.md, NAME.svg and NAME.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("title")
    parser.add_argument("command")
    parser.add_argument("folders", nargs="+", type=RunFolder)
    options = parser.parse_args()
    runs = {
        f"{folder.about()['game']}, seed {folder.config()['run']['seed']}": folder.rows() for folder in options.folders
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    figure({run: thinned(rows, DRAWN) for run, rows in runs.items()}, RESULTS / f"{options.name}.svg")
    with (RESULTS / f"{options.name}.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["run", *COLUMNS])
        for run, rows in runs.items():
            for row in thinned(rows):
                values = [row[key] for key in COLUMNS]
                table.writerow([run, *(f"{v:.6g}" if isinstance(v, float) else v for v in values)])
    text = page(options.title, options.command, options.name, options.folders, runs)
    (RESULTS / f"{options.name}.md").write_text(text)
    print(RESULTS / f"{options.name}.md")


if __name__ == "__main__":
    main()
