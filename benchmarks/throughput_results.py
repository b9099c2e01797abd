"""What the benchmark's turns say: medians, paired ratios, the cost of the noise scale, RLlib's overhead."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PEERS = {
    "Stable-Baselines3 PPO": ("sb3-dummy", "sb3-subproc"),
    "RLlib PPO as it comes": ("rllib-local-encoder", "rllib-2-runners-encoder"),
    "RLlib PPO given our network": (
        "rllib-local",
        "rllib-2-runners",
        "rllib-local-connectors",
        "rllib-2-runners-connectors",
    ),
}
GOALS = {"Stable-Baselines3 PPO": 2.0, "RLlib PPO as it comes": 4.0, "RLlib PPO given our network": 4.0}
"""Times a peer's best setting that ours is meant to reach."""

NOISE_COST_GOAL = 3.0
"""Per cent of the wall-clock time."""

REMOTE_GOAL = 0.95
"""Of local mode's observations per second."""

FEWEST_FOR_INTERVAL = 6
"""Rounds below which even the whole range misses the median in more than 5 % of cases: 2 / 2^5."""

DESCRIPTIONS = {
    "ours": "rlgns, local mode, noise scale measured in every iteration",
    "ours-no-noise": "the same with noise.enabled false",
    "ours-float32": "ours, engine.precision float32",
    "ours-2-runners": "ours with 2 remote runners on the same cores",
    "sb3-dummy": "PPO CnnPolicy, make_atari_env, DummyVecEnv",
    "sb3-subproc": "the same with SubprocVecEnv",
    "rllib-local": "PPO, new API stack, 0 env runners, frames stacked in the environment",
    "rllib-2-runners": "the same with 2 env runners",
    "rllib-local-connectors": "PPO, 0 env runners, frames stacked in connectors",
    "rllib-2-runners-connectors": "the same with 2 env runners",
    "rllib-local-encoder": "as rllib-local with RLlib's default encoder, which is larger (padded; two hidden layers)",
    "rllib-2-runners-encoder": "the same with 2 env runners",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One contender's share of one round."""

    round: int
    contender: str
    observations: int
    seconds: float
    foreign_cores: float
    """Cores that everything else on the machine kept busy meanwhile."""

    overhead_s: tuple[float, ...] = ()
    """By iteration: wall-clock time that was neither sampling nor learning; ours only."""

    wall_s: tuple[float, ...] = ()
    """By iteration: wall-clock time; ours only."""

    @property
    def rate(self) -> float:
        """Observations per second."""
        return self.observations / self.seconds

    @classmethod
    def of(cls, number: int, contender: str, report: dict[str, Any]) -> Turn:
        """Reads a contender's report."""
        wall = report.get("wall_s", ())
        parts = zip(wall, report.get("sample_s", ()), report.get("learn_s", ()), strict=True)
        return cls(
            round=number,
            contender=contender,
            observations=report["observations"],
            seconds=report["seconds"],
            foreign_cores=report["foreign_cores"],
            overhead_s=tuple(whole - sample - learn for whole, sample, learn in parts),
            wall_s=tuple(wall),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A median with its spread over rounds."""

    median: float
    low: float
    lower_quartile: float
    upper_quartile: float
    high: float
    count: int
    median_low: float
    median_high: float
    """95 % interval of the median by the sign test; from low to high where fewer than 6 rounds allow none."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarises at least one value."""
        ordered = sorted(values)
        count = len(ordered)
        quartiles = statistics.quantiles(ordered, n=4, method="inclusive") if count > 1 else [ordered[0]] * 3
        skipped = sign_test_rank(count)
        return cls(
            median=statistics.median(ordered),
            low=ordered[0],
            lower_quartile=quartiles[0],
            upper_quartile=quartiles[2],
            high=ordered[-1],
            count=count,
            median_low=ordered[skipped],
            median_high=ordered[count - 1 - skipped],
        )


def sign_test_rank(count: int, miss: float = 0.05) -> int:
    """Returns how many values to skip at each end so that the rest spans the median with probability 1 - miss or more.

    The number of values below the median is binomial(count, 1/2). 0 where even the whole range misses more often.
    """
    rank, tail = 0, 0.5**count
    while rank < count // 2:
        following = tail + math.comb(count, rank + 1) * 0.5**count
        if 2 * following > miss:
            break
        rank, tail = rank + 1, following
    return rank


def summarise(turns: Sequence[Turn]) -> dict[str, Any]:
    """Computes everything that is reported.

    Returns:
        rates: Spread of observations/s by contender; settings: by peer, its best setting's name; ratios: by peer and
        setting, Spread of ours/peer from rounds in which both ran; noise_cost_percent: Spread of paired time
        on/off - 1; noise_cost_total_percent: the same of all time together; remote_ratio: Spread of ours with remote
        runners against local mode; overhead_ms, overhead_percent: Spread over
        iterations of ours; foreign_cores: Spread over turns.
    """
    rates = {name: Spread.of([turn.rate for turn in turns if turn.contender == name]) for name in _names(turns)}
    summary: dict[str, Any] = {"rates": rates, "settings": {}, "ratios": {}}
    for peer, settings in PEERS.items():
        present = [name for name in settings if name in rates]
        if not present:
            continue
        summary["settings"][peer] = max(present, key=lambda name: rates[name].median)
        if "ours" in rates:
            summary["ratios"][peer] = {
                name: Spread.of([ours.rate / other.rate for ours, other in pairs(turns, "ours", name)])
                for name in present
            }
    if "ours" in rates and "ours-float32" in rates:
        both = pairs(turns, "ours", "ours-float32")
        summary["ratios"]["ours in float32"] = {
            "ours-float32": Spread.of([ours.rate / other.rate for ours, other in both])
        }
        summary["settings"]["ours in float32"] = "ours-float32"
    both = pairs(turns, "ours", "ours-no-noise")
    if both:
        summary["noise_cost_percent"] = Spread.of([100 * (off.rate / on.rate - 1) for on, off in both])
        on_s, off_s = (sum(turn.seconds / turn.observations for turn in side) for side in zip(*both, strict=True))
        summary["noise_cost_total_percent"] = 100 * (on_s / off_s - 1)
    both = pairs(turns, "ours-2-runners", "ours")
    if both:
        summary["remote_ratio"] = Spread.of([remote.rate / local.rate for remote, local in both])
    timed = [turn for turn in turns if turn.contender == "ours"]
    overhead = [(over, wall) for turn in timed for over, wall in zip(turn.overhead_s, turn.wall_s, strict=True)]
    if overhead:
        summary["overhead_ms"] = Spread.of([1000 * over for over, _ in overhead])
        summary["overhead_percent"] = Spread.of([100 * over / wall for over, wall in overhead])
    summary["foreign_cores"] = Spread.of([turn.foreign_cores for turn in turns])
    return summary


def pairs(turns: Sequence[Turn], first: str, second: str) -> list[tuple[Turn, Turn]]:
    """Returns the two contenders' turns of every round in which both ran."""
    by_round = {(turn.round, turn.contender): turn for turn in turns}
    rounds = sorted({turn.round for turn in turns})
    return [
        (by_round[number, first], by_round[number, second])
        for number in rounds
        if (number, first) in by_round and (number, second) in by_round
    ]


def tables(summary: dict[str, Any]) -> list[str]:
    """Returns the results as Markdown, which is also what the terminal shows."""
    lines = [
        "| contender | observations/s, median | lowest to highest | turns |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, rate in summary["rates"].items():
        what = f"{name}: {DESCRIPTIONS[name]}"
        lines.append(f"| {what} | {rate.median:.0f} | {rate.low:.0f} to {rate.high:.0f} | {rate.count} |")
    if summary["ratios"]:
        lines += [
            "",
            "| ours against | ratio, median of paired rounds | lowest to highest | rounds | goal |",
            "| --- | ---: | ---: | ---: | --- |",
        ]
    for peer, settings in summary["ratios"].items():
        for name, ratio in settings.items():
            is_best = name == summary["settings"][peer]
            goal = f"{GOALS[peer]:g}: {_verdict(ratio.median >= GOALS[peer])}" if is_best and peer in GOALS else ""
            best = " (its best setting)" if is_best and len(settings) > 1 else ""
            lines.append(
                f"| {peer}, {name}{best} | {ratio.median:.2f} | {ratio.low:.2f} to {ratio.high:.2f} | {ratio.count} "
                f"| {goal} |"
            )
    lines += ["", *_noise_lines(summary), *_remote_lines(summary)]
    return [*lines, *_overhead_lines(summary), *_foreign_lines(summary)]


def _noise_lines(summary: dict[str, Any]) -> list[str]:
    cost: Spread | None = summary.get("noise_cost_percent")
    if cost is None:
        return []
    if cost.count < FEWEST_FOR_INTERVAL:
        interval, verdict = "too few rounds for an interval", "open"
    else:
        interval = f"95 % interval of the median {cost.median_low:+.1f} to {cost.median_high:+.1f}"
        verdict = (
            "open"
            if cost.median_low <= NOISE_COST_GOAL < cost.median_high
            else _verdict(cost.median <= NOISE_COST_GOAL)
        )
    return [
        f"- Cost of the noise scale (time on / time off - 1): median {cost.median:+.1f} % ({interval}, quartiles "
        f"{cost.lower_quartile:+.1f} to {cost.upper_quartile:+.1f}, {cost.count} paired rounds); all time together "
        f"{summary['noise_cost_total_percent']:+.1f} %. Goal: at most {NOISE_COST_GOAL:g} %: {verdict}."
    ]


def _remote_lines(summary: dict[str, Any]) -> list[str]:
    ratio: Spread | None = summary.get("remote_ratio")
    if ratio is None:
        return []
    known = not ratio.median_low < REMOTE_GOAL <= ratio.median_high
    return [
        f"- Two remote runners against local mode on the same cores: median {ratio.median:.3f} (95 % interval of the "
        f"median {ratio.median_low:.3f} to {ratio.median_high:.3f}, {ratio.count} paired rounds). Goal: at least "
        f"{REMOTE_GOAL:g}: {_verdict(ratio.median >= REMOTE_GOAL) if known else 'open'}."
    ]


def _overhead_lines(summary: dict[str, Any]) -> list[str]:
    if "overhead_ms" not in summary:
        return []
    ms, percent = summary["overhead_ms"], summary["overhead_percent"]
    return [
        f"- RLlib's own overhead (time of algo.train() that is neither sampling nor learning): median {ms.median:.1f} "
        f"ms an iteration (quartiles {ms.lower_quartile:.1f} to {ms.upper_quartile:.1f}), {percent.median:.2f} % "
        f"(quartiles {percent.lower_quartile:.2f} to {percent.upper_quartile:.2f}), {ms.count} iterations."
    ]


def _foreign_lines(summary: dict[str, Any]) -> list[str]:
    foreign: Spread = summary["foreign_cores"]
    return [
        f"- Everything else on the machine kept {foreign.median:.2f} cores busy meanwhile (median over turns; highest "
        f"{foreign.high:.2f}). Contenders that were not measured stood still (SIGSTOP)."
    ]


def _verdict(met: bool) -> str:
    return "met" if met else "not met"


def _names(turns: Sequence[Turn]) -> list[str]:
    present = {turn.contender for turn in turns}
    return [name for name in DESCRIPTIONS if name in present]
