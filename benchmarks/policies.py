"""Markdown tables about policies whose noise scales `rlgns calibrate` knows by brute force.

    rlgns calibrate RUN/checkpoints/00000029 --observations 98304 --precision 0.03 --json > qbert-59000.json
    python -m benchmarks.policies *.json

Each file names its checkpoint; the run's metrics.jsonl lies two folders above. What must hold was fixed beforehand:
docs/notes/brute-force.md, "Plan of the results page".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgns.noise import NoiseScaleTracker
from rlgns.noise.moments import Moments

TRUTHS = {"along_steps": ("along the steps", "noise"), "at_rollout": ("as played", "noise/at_rollout")}
"""Names in the file: of the noise scale in tables, and of its keys in a row."""

BLOCK = 8
"""Iterations in a block of the run's own rows."""

BLOCKS_EACH_SIDE = 2

NEEDED = 0.93
"""Share of the intervals that must hold the truth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """One calibrated checkpoint."""

    measured: Mapping[str, Any]
    """What `rlgns calibrate --json` printed."""

    rows: Sequence[Mapping[str, Any]]
    """Of the run, one per iteration."""

    @classmethod
    def read(cls, file: Path) -> Policy:
        """Reads a file and its run's rows."""
        measured = json.loads(file.read_text())
        rows = (Path(measured["checkpoint"]).parents[1] / "metrics.jsonl").read_text().splitlines()
        return cls(measured=measured, rows=[json.loads(row) for row in rows])

    @property
    def name(self) -> str:
        """Game and observations of training."""
        return f"{self.measured['game'].replace('_', ' ').title()}, {self.measured['trained_observations']:,}"

    def blocks_that_hold(self, truth: str) -> tuple[int, int]:
        """Returns in how many blocks of rows around the checkpoint the interval holds the truth, and of how many."""
        iteration = int(Path(self.measured["checkpoint"]).name)
        held = count = 0
        for place in range(-BLOCKS_EACH_SIDE, BLOCKS_EACH_SIDE):
            first = iteration + 1 + place * BLOCK
            rows = [row for row in self.rows if first <= row["iteration"] < first + BLOCK]
            if len(rows) == BLOCK:
                count += 1
                held += self._holds(truth, rows)
        return held, count

    def _holds(self, truth: str, rows: Iterable[Mapping[str, Any]]) -> bool:
        tracker = NoiseScaleTracker(None)
        for row in rows:
            grad_sq, trace = (row.get(f"{TRUTHS[truth][1]}/{moment}") for moment in ("grad_sq", "trace"))
            if grad_sq is not None and trace is not None:
                moments = Moments(grad_sq=grad_sq, trace=trace, groups=1, observations_per_group=1)  # equal weights
                tracker.update(moments)
        found, true = tracker.estimate(), self.measured[truth]
        if true["noise_scale"] is None or true["noise_scale_high"] is None:
            return found.high >= (true["noise_scale_low"] or 0.0)  # the truth is a bound: the two overlap
        return found.low <= true["noise_scale"] <= found.high


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what `rlgns calibrate --json` printed")
    policies = [Policy.read(file) for file in parser.parse_args().files]
    print("\n".join([*truths(policies), "", *sets(policies), "", *estimators(policies)]))


def truths(policies: Sequence[Policy]) -> list[str]:
    """Returns a table: both noise scales of each policy, the run's own over them, and how far the two are apart."""
    lines = [
        "| policy | along the steps | the run's own over it | as played | the run's own over it | as played / along |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for policy in policies:
        cells = []
        for truth in TRUTHS:
            known = policy.measured[truth]
            cells.append(number(known["noise_scale"], known["noise_scale_low"], known["noise_scale_high"]))
            run = (policy.measured.get("run") or {}).get(truth)
            cells.append(number(**run["over_truth"]) if run else "-")
        along, played = (policy.measured[truth]["noise_scale"] for truth in TRUTHS)
        cells.append(f"{played / along:.2g}" if along and played else "-")
        lines.append(f"| {policy.name} | {' | '.join(cells)} |")
    return lines


def sets(policies: Sequence[Policy]) -> list[str]:
    """Returns a table: how many intervals of single live sets and of blocks of rows hold their own truth."""
    lines = [
        "| policy | live sets along the steps | live sets as played | blocks along the steps | blocks as played |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    totals = [[0, 0] for _ in range(2 * len(TRUTHS))]
    for policy in policies:
        live = [policy.measured["live_sets"][truth] for truth in TRUTHS]
        found = [(one["sets_that_hold_truth"] or 0, len(one["sets"])) for one in live]
        found += [policy.blocks_that_hold(truth) for truth in TRUTHS]
        for total, (held, count) in zip(totals, found, strict=True):
            total[0] += held
            total[1] += count
        lines.append(f"| {policy.name} | " + " | ".join(f"{held} of {count}" for held, count in found) + " |")
    share = [f"{held} of {count}, {'met' if count and held / count >= NEEDED else 'not met'}" for held, count in totals]
    return [*lines, f"| all, goal {100 * NEEDED:.0f} % | " + " | ".join(share) + " |"]


def estimators(policies: Sequence[Policy]) -> list[str]:
    """Returns a table: each estimator's noise scale over the truth that it estimates, a column per policy."""
    lines = [
        f"| estimator | {' | '.join(policy.name for policy in policies)} |",
        "| --- |" + " ---: |" * len(policies),
    ]
    for name, first in policies[0].measured["estimators"].items():
        cells = []
        for policy in policies:
            found = policy.measured["estimators"].get(name, {}).get(first["truth"])
            cells.append(number(**found["noise_scale"]) if found else "-")
        lines.append(f"| {name} ({TRUTHS[first['truth']][0]}) | {' | '.join(cells)} |")
    return lines


def number(value: float | None, low: float | None, high: float | None) -> str:
    """Returns a number with its interval, a bound where there is only one, or a dash."""
    if not low and high is None:
        return "-"
    assert low is not None
    if value is None or high is None:
        return f"at least {_digits(low)}"
    return f"{_digits(value)} ({_digits(low)} to {_digits(high)})"


def _digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.10g}"


if __name__ == "__main__":
    main()
