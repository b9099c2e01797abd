"""Measures how the noise scale depends on the learning rate and on the batch.

    python -m benchmarks.temperature digits --seeds 3 --csv digits.csv
    python -m benchmarks.temperature pong RUN/checkpoints/00000115 --csv pong.csv
    python -m benchmarks.temperature annealed

McCandlish et al. 2018 (arXiv:1812.06162, appendix C) expect B_simple inversely proportional to the temperature,
learning rate over batch. In ln B_simple = c + p ln(learning rate) + q ln(batch) that is p = -1, q = 1. Each row is
written as soon as it is known; an existing file is completed, and `--table` only prints its tables.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]

PONG_CELLS = tuple(itertools.product((1.0, 4.0, 0.25), (1.0, 2.0, 0.5)))
"""Factors of learning rate and batch; the checkpoint's values come first."""


def exponents(rows: Sequence[Row], batch: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Fits ln B_simple = c + p ln(learning rate) + q ln(batch) by least squares.

    Args:
        rows: with `noise_scale`, `learning_rate` and the batch; rows without a positive noise scale are left out.
        batch: the batch's column.

    Returns:
        (p, its standard error), (q, its standard error), errors from the residuals; NaN with fewer than four rows.
    """
    known = [row for row in rows if row["noise_scale"] and float(row["noise_scale"]) > 0]
    if len(known) < 4:
        return (math.nan, math.nan), (math.nan, math.nan)
    design = np.array([[1, np.log(float(row["learning_rate"])), np.log(float(row[batch]))] for row in known])
    target = np.log([float(row["noise_scale"]) for row in known])
    solution, *_ = np.linalg.lstsq(design, target, rcond=None)
    residual = target - design @ solution
    variance = float(residual @ residual) / (len(known) - 3)
    errors = np.sqrt(np.diag(np.linalg.pinv(design.T @ design)) * variance)
    return (float(solution[1]), float(errors[1])), (float(solution[2]), float(errors[2]))


def digits_tables(rows: Sequence[Row]) -> str:
    """Markdown: noise scale by learning rate and batch at each loss, and the exponents."""
    batches = sorted({int(row["batch_images"]) for row in rows})
    lines = []
    for optimizer in sorted({row["optimizer"] for row in rows}, reverse=True):
        header = ["optimizer", "loss", "learning rate", *(f"batch {batch}" for batch in batches), "p", "q"]
        lines += ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
        own = [row for row in rows if row["optimizer"] == optimizer]
        for loss in sorted({float(row["loss"]) for row in own}, reverse=True):
            at = [row for row in own if float(row["loss"]) == loss]
            (p, p_error), (q, q_error) = exponents(at, "batch_images")
            for index, rate in enumerate(sorted({float(row["learning_rate"]) for row in at})):
                cells = [
                    _spread(
                        [
                            float(row["noise_scale"])
                            for row in at
                            if float(row["learning_rate"]) == rate and int(row["batch_images"]) == batch
                        ]
                    )
                    for batch in batches
                ]
                fit = [f"{p:.2f} +- {p_error:.2f}", f"{q:.2f} +- {q_error:.2f}"] if index == 0 else ["", ""]
                lines.append("| " + " | ".join([optimizer, f"{loss:g}", f"{rate:g}", *cells, *fit]) + " |")
        lines.append("")
    return "\n".join(lines)


def pong_table(rows: Sequence[Row]) -> str:
    """Markdown: one line per branch, and the exponents."""
    lines = [
        "| learning rate x | batch | seed | noise scale (95 %) | score | entropy | KL | clipped % "
        "| explained variance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (float(row["learning_rate_factor"]), int(row["batch_observations"]))):
        ends = [f"{float(row[end]):,.0f}" if row[end] else "-" for end in ("noise_scale", "low", "high")]
        score = f"{float(row['score_mean']):.1f}" if row["score_mean"] else "-"
        lines.append(
            f"| {float(row['learning_rate_factor']):g} | {row['batch_observations']} | {row['seed']} "
            f"| {ends[0]} ({ends[1]} to {ends[2]}) | {score} | {float(row['entropy']):.2f} "
            f"| {float(row['approx_kl']):.2g} | {100 * float(row['clip_fraction']):.2g} "
            f"| {float(row['explained_variance']):.2f} |"
        )
    (p, p_error), (q, q_error) = exponents(rows, "batch_observations")
    return "\n".join([*lines, "", f"p = {p:.2f} +- {p_error:.2f}, q = {q:.2f} +- {q_error:.2f}"])


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = math.exp(np.mean(np.log(values))) if min(values) > 0 else float(np.median(values))
    return f"{middle:,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def _digits(options: argparse.Namespace, done: Sequence[Row]) -> Iterator[Row]:
    from benchmarks import temperature_digits as digits

    for cell in itertools.product(range(options.seeds), digits.LEARNING_RATES, digits.FACTORS, digits.BATCHES):
        seed, optimizer, factor, batch = cell
        key = {"seed": seed, "optimizer": optimizer, "learning_rate_factor": factor, "batch_images": batch}
        if not _has(done, key):
            yield from map(dataclasses.asdict, digits.readings(optimizer, factor, batch, seed))


def _pong(options: argparse.Namespace, done: Sequence[Row]) -> Iterator[Row]:
    from benchmarks.temperature_pong import Branch, train
    from rlgns.agents.compute.precision import prepare_process
    from rlgns.storage.checkpoint import load_policy

    prepare_process(options.threads)
    policy = load_policy(options.checkpoint)
    for seed, (factor, batch_factor) in itertools.product(range(1, options.seeds + 1), PONG_CELLS):
        branch = Branch(
            learning_rate_factor=factor, batch_factor=batch_factor, seed=seed, observations=options.observations
        )
        if not _has(done, dataclasses.asdict(branch)):
            yield train(policy, branch, threads=options.threads)


def _has(done: Sequence[Row], key: Row) -> bool:
    def same(text: str, value: Any) -> bool:
        return text == value if isinstance(value, str) else float(text) == float(value)

    return any(all(same(row[name], value) for name, value in key.items()) for row in done)


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is missing from the CSV and prints the tables."""
    parser = argparse.ArgumentParser(description="noise scale against learning rate and batch")
    kinds = parser.add_subparsers(dest="kind", required=True)
    for name, seeds in (("digits", 3), ("pong", 1)):
        kind = kinds.add_parser(name)
        kind.add_argument("--seeds", type=int, default=seeds)
        kind.add_argument("--csv", type=Path, required=True, help="file of rows; completed where it exists")
        kind.add_argument("--table", action="store_true", help="only print the tables")
        if name == "pong":
            kind.add_argument("checkpoint", type=Path)
            kind.add_argument("--observations", type=int, default=100_000, help="per branch")
            kind.add_argument("--threads", type=int, default=2)
    kinds.add_parser("annealed", help="which average of an annealed run predicts that at a constant rate")
    options = parser.parse_args(arguments)
    if options.kind == "annealed":
        from benchmarks.temperature_annealed import table

        print(table())
        return 0
    done = _read(options.csv)
    fresh = () if options.table else (_digits if options.kind == "digits" else _pong)(options, done)
    for row in fresh:
        began = not options.csv.exists()
        with open(options.csv, "a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if began:
                writer.writeheader()
            writer.writerow(row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), file=sys.stderr)
    rows = _read(options.csv)
    print(digits_tables(rows) if options.kind == "digits" else pong_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
