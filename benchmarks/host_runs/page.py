"""The tables of the comparison of hosts, from the files of its pieces."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.host_runs.rows import FIRST, measured, noise_scale, over_seeds, ratio_of, ratio_over_seeds, run_average
from benchmarks.host_runs.settings import GAMES, HOSTS, HostRun
from rlgns.formatting import interval
from rlgns.noise.interval import Ratio

NAMES = {"sb3": "Stable-Baselines3", "rllib": "RLlib", "ours": "rlgns", "calibrate": "rlgns, brute force"}

EARLY = 8
"""Measured rollouts of the first stretch of training."""

Rows = Sequence[Mapping[str, float]]


def page(folder: Path, commit: str) -> tuple[str, str]:
    """Returns the tables of what is in a folder, as Markdown, and the rows as CSV."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    lines = [f"Commit {commit}.", ""]
    if "same" in files:
        lines += ["## The same rollouts", "", *_same(files["same"]["found"]), ""]
    for game in GAMES:
        frozen = {name.split("-")[2]: f for name, f in files.items() if name.startswith(f"frozen-{game}-")}
        if frozen:
            truth = files.get("calibrate") if game == "pong" else None
            lines += [f"## A frozen policy of {game}, played by each host", "", *_frozen(frozen, truth), ""]
    for game in GAMES:
        runs = {host: [f for n, f in files.items() if n.startswith(f"{game}-{host}-")] for host in HOSTS}
        if any(runs.values()):
            lines += [f"## Training: {game}", "", *_training(game, runs), ""]
    seconds = sum(found["processor_s"] for found in files.values())
    lines += [f"Processor time of all pieces: {seconds / 60:.0f} minutes.", ""]
    return "\n".join(lines), _csv(files)


def _same(rows: Rows) -> list[str]:
    table = [
        "| host | mean \\|G\\|^2 / rlgns | mean trace / rlgns | noise scale (95 %) |",
        "| --- | ---: | ---: | ---: |",
    ]
    names = {
        **NAMES,
        "changed": "RLlib, advantages standardised as the others do",
        "grouped": "rlgns in RLlib's groups",
        "games": "rlgns, each game a group",
    }
    for host in (
        host for host in ("ours", "sb3", "rllib", "changed", "grouped", "games") if f"{host}_trace" in rows[0]
    ):
        own = [{name: row[f"{host}_{name}"] for name in ("grad_sq", "trace")} for row in rows]
        ratios = [_mean(rows, f"{host}_{name}") / _mean(rows, f"ours_{name}") for name in ("grad_sq", "trace")]
        table.append(f"| {names[host]} | {ratios[0]:.4f} | {ratios[1]:.4f} | {_text(noise_scale(own))} |")
    return [*table, "", f"{len(rows)} rollouts."]


def _mean(rows: Rows, name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def _frozen(files: Mapping[str, Any], truth: Mapping[str, Any] | None) -> list[str]:
    table = [
        "| host | rollouts | \\|G\\|^2 | trace | noise scale (95 %) | the adapter's own |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    scales: dict[str, Ratio] = {}
    for host, file in files.items():
        rows = measured(file["found"])
        scales[host] = noise_scale(rows)
        last = rows[-1]
        own = interval(last["scale"], last["scale_low"], last["scale_high"])
        moments = f"{_mean(rows, 'grad_sq'):.3g} | {_mean(rows, 'trace'):.4g}"
        table.append(f"| {NAMES[host]} | {len(rows)} | {moments} | {_text(scales[host])} | {own} |")
    if truth is not None:
        found, run = truth["found"], HostRun(**truth["run"])
        scales["calibrate"] = Ratio(value=found["scale"], low=found["scale_low"], high=found["scale_high"])
        rollouts = found["observations"] // run.rollout_observations
        moments = " | ".join(f"{found[name]:.3g} +- {found[f'{name}_error']:.2g}" for name in ("grad_sq", "trace"))
        table.append(f"| {NAMES['calibrate']} | {rollouts} | {moments} | {_text(scales['calibrate'])} | |")
    return [*table, "", *_pairs(scales)]


def _pairs(scales: Mapping[str, Ratio]) -> list[str]:
    table = ["| pair | ratio (95 %) | holds 1 | intervals overlap |", "| --- | ---: | --- | --- |"]
    for one, other in itertools.combinations(scales, 2):
        ratio = ratio_of(scales[one], scales[other])
        overlap = scales[one].low <= scales[other].high and scales[other].low <= scales[one].high
        cells = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) | {_yes(ratio.low <= 1 <= ratio.high)}"
        table.append(f"| {NAMES[one]} / {NAMES[other]} | {cells} | {_yes(overlap)} |")
    return table


def _training(game: str, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    batch = GAMES[game].batch_observations
    table = [
        "| stretch | host | by seed (95 %) | over seeds (95 %) | score at the end |",
        "| --- | --- | --- | ---: | ---: |",
    ]
    pairs = ["| stretch | pair | ratio over seeds (95 %) | holds 1 |", "| --- | --- | ---: | --- |"]
    for stretch, most in (("early", EARLY), ("whole run", None)):
        values: dict[str, list[float]] = {}
        for name, rows_by_seed, scores in _series(runs):
            averages = [run_average(rows[:most], batch) for rows in rows_by_seed]
            values[name] = [average.value for average in averages]
            texts, ends = "; ".join(map(_text, averages)), ", ".join(f"{score:.0f}" for score in scores)
            table.append(f"| {stretch} | {name} | {texts} | {_text(over_seeds(values[name]))} | {ends} |")
        for one, other in itertools.combinations(values, 2):
            ratio = ratio_over_seeds(values[one], values[other])
            known = f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) | {_yes(ratio.low <= 1 <= ratio.high)}"
            pairs.append(
                f"| {stretch} | {one} / {other} | {known if ratio.value > 0 else 'a seed is not resolved | -'} |"
            )
    return [*table, "", *pairs]


def _series(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, list[Rows], list[float]]]:
    """Returns name, measured rows by seed, and scores; rlgns twice, by first batches and by whole rollouts."""
    found: list[tuple[str, list[Rows], list[float]]] = []
    for host, files in runs.items():
        if not files:
            continue
        scores = [file["found"][-1]["score"] for file in files]
        found.append((NAMES[host], [measured(file["found"]) for file in files], scores))
        if host == "ours":
            found[-1] = (f"{NAMES[host]}, first batches", *found[-1][1:])
            probed: list[Rows] = [
                [
                    {"grad_sq": row["probe_grad_sq"], "trace": row["probe_trace"]}
                    for row in file["found"][FIRST:]
                    if math.isfinite(row["probe_grad_sq"])
                ]
                for file in files
            ]
            found.append((f"{NAMES[host]}, whole rollouts", probed, scores))
    return found


def _csv(files: Mapping[str, Any]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["piece", "rollout", "name", "value"])
    for piece, file in files.items():
        rows = file["found"] if isinstance(file["found"], list) else [file["found"]]
        for number, row in enumerate(rows):
            for name, value in row.items():
                raw = name.endswith(("grad_sq", "trace", "score")) or not isinstance(file["found"], list)
                if raw and math.isfinite(value):
                    table.writerow([piece, number, name, f"{value:.6g}"])
    return text.getvalue()


def _text(ratio: Ratio) -> str:
    return interval(ratio.value, ratio.low, ratio.high)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
