"""The table of goals: what was to be reached, what was measured, and whether the goal is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from benchmarks.throughput_memory import GOAL_MINUTES, MB, Growth
from benchmarks.throughput_processes import Memory
from benchmarks.throughput_results import FEWEST_FOR_INTERVAL, Spread

LEANRL_RATE = 6_800.0
"""Observations/s of LeanRL's best PPO on Atari, EnvPool on one H100 (meta-pytorch/LeanRL, README)."""

PEER_GOALS = {"Stable-Baselines3 PPO": 3.0, "RLlib PPO as it comes": 6.0}
"""Ratio of ours to a peer's best setting that is to be reached."""

LIMIT_GOAL, RUNNERS_GOAL = 0.7, 0.95
NOISE_COST_GOAL, OVERHEAD_GOAL = 1.0, 3.0
"""Per cent of the wall-clock time."""

GPU_GOAL, ENV_SHARE_GOAL, LEARNER_GOAL = 3.0, 0.9, 10.0
"""Times LeanRL's rate; share of the environments' rate; times LeanRL's rate for the learner alone."""

GROWTH_SHARE = 0.01
"""Allowed share of the first memory: Ray's daemons take a little more now and then."""

NOT_MEASURED = "not measured"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One goal."""

    what: str
    goal: str
    measured: str = NOT_MEASURED
    spread: str = ""
    verdict: str = NOT_MEASURED


def goal_rows(
    summary: Mapping[str, Any], *, gpu: str, memory: Mapping[str, Memory], held: int, growth: Growth | None
) -> list[Row]:
    """Compares the measurements with every goal.

    Args:
        summary: As `throughput_results.summarise` returns it.
        gpu: Name of the GPU that trained, or empty.
        memory: What each contender held at the end.
        held: Bytes that training must hold, counted from the configuration.
        growth: Growth of our memory.
    """
    rows = [
        ratio_row(
            f"{peer}, its best setting",
            f"at least {goal:g} times",
            _best(summary, peer),
            at_least=goal,
        )
        for peer, goal in PEER_GOALS.items()
    ]
    compared = summary["comparisons"]
    rows += [
        ratio_row("the limit", f"at least {LIMIT_GOAL:g} of it", compared.get("the limit"), at_least=LIMIT_GOAL),
        _noise_row(summary),
        ratio_row(
            "2 remote runners against local mode, equal cores",
            f"at least {RUNNERS_GOAL:g}",
            compared.get("2 remote runners against local mode"),
            at_least=RUNNERS_GOAL,
        ),
        ratio_row(
            "RLlib's overhead, % of an iteration",
            f"at most {OVERHEAD_GOAL:g}",
            summary.get("overhead_percent"),
            at_most=OVERHEAD_GOAL,
        ),
        _memory_row(memory, summary["settings"], held),
        _growth_row(growth),
    ]
    rows += [
        ratio_row(f"start to the first step, time against {peer}", "less", ratio, at_most=1.0)
        for peer, ratio in summary["start_ratio"].items()
    ] or [Row(what="start to the first step, time against stock RLlib", goal="less")]
    return rows + _gpu_rows(summary, gpu)


def ratio_row(
    what: str, goal: str, found: Spread | None, *, at_least: float | None = None, at_most: float | None = None
) -> Row:
    """Returns the row of a paired quantity, with the verdict of `judge`."""
    if found is None:
        return Row(what=what, goal=goal)
    return Row(
        what=what,
        goal=goal,
        measured=f"{found.median:.2f}",
        spread=f"{_interval(found)}, {found.count} values",
        verdict=judge(found.median, found.median_low, found.median_high, at_least=at_least, at_most=at_most),
    )


def judge(value: float, low: float, high: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    """Returns whether a goal is met; `open` where the interval from low to high contains it."""
    if at_least is not None:
        return judge(-value, -high, -low, at_most=-at_least)
    assert at_most is not None
    if low <= at_most < high:
        return f"open ({'met' if value <= at_most else 'not met'} by the estimate)"
    return "met" if value <= at_most else "not met"


def goal_table(rows: list[Row]) -> list[str]:
    """Returns the rows as Markdown."""
    return [
        "| ours against | goal | measured | spread | verdict |",
        "| --- | --- | ---: | --- | --- |",
        *(f"| {row.what} | {row.goal} | {row.measured} | {row.spread} | {row.verdict} |" for row in rows),
    ]


def _best(summary: Mapping[str, Any], peer: str) -> Spread | None:
    setting = summary["settings"].get(peer)
    found: Spread | None = summary["ratios"].get(peer, {}).get(setting)
    return found


def _interval(found: Spread) -> str:
    if found.count < FEWEST_FOR_INTERVAL:
        return f"{found.low:.2f} to {found.high:.2f} (all)"
    return f"{found.median_low:.2f} to {found.median_high:.2f} (95 % of the median)"


def _noise_row(summary: Mapping[str, Any]) -> Row:
    """Uses total time, not the median of pairs, and includes probes, which are part of the defaults."""
    what, goal = "time that the noise scale adds, %", f"at most {NOISE_COST_GOAL:g}"
    if "noise_cost_percent" not in summary:
        return Row(what=what, goal=goal)
    total, low, high = summary["noise_cost_percent"]
    count = summary["noise_riding_percent"].count
    return Row(
        what=what,
        goal=goal,
        measured=f"{total:+.1f}",
        spread=f"{low:+.1f} to {high:+.1f} (95 %, {count} pairs resampled), "
        f"of it probes {summary['noise_probe']['percent']:+.1f}",
        verdict="open (too few pairs)"
        if count < FEWEST_FOR_INTERVAL
        else judge(total, low, high, at_most=NOISE_COST_GOAL),
    )


def _memory_row(memory: Mapping[str, Memory], settings: Mapping[str, str], held: int) -> Row:
    what = "memory, all processes' own"
    goal = f"stated; rollout, network and what training must hold are {held / MB:,.0f} MB"
    if "ours" not in memory:
        return Row(what=what, goal=goal)
    others = ", ".join(f"{name} {memory[name].all_own / MB:,.0f}" for name in settings.values() if name in memory)
    return Row(
        what=what,
        goal=goal,
        measured=f"{memory['ours'].all_own / MB:,.0f} MB",
        spread=f"peers: {others} MB" if others else "",
        verdict="stated",
    )


def _growth_row(found: Growth | None) -> Row:
    what = "growth of that memory, MB an hour"
    goal = f"none over {GOAL_MINUTES} minutes: at most {100 * GROWTH_SHARE:g} % in them"
    if found is None:
        return Row(what=what, goal=goal)
    most = GROWTH_SHARE * found.first / (GOAL_MINUTES / 60)
    verdict = judge(found.bytes_per_hour, found.low, found.high, at_most=most)
    if found.minutes < GOAL_MINUTES:
        verdict = f"open ({found.minutes:.0f} of {GOAL_MINUTES} minutes)"  # caches and buffers fill up at first
    return Row(
        what=what,
        goal=goal,
        measured=f"{found.bytes_per_hour / MB:+,.1f}",
        spread=f"{found.low / MB:+,.1f} to {found.high / MB:+,.1f} (95 %)",
        verdict=verdict,
    )


def _gpu_rows(summary: Mapping[str, Any], gpu: str) -> list[Row]:
    """Returns the goals for a GPU, which rates on a processor do not answer."""
    rates = summary["rates"] if gpu else {}
    where = gpu or "a GPU"
    return [
        ratio_row(
            f"LeanRL's {LEANRL_RATE:,.0f} observations/s on an H100, all of training on {where}",
            f"at least {GPU_GOAL:g} times",
            _scaled(rates.get("ours")),
            at_least=GPU_GOAL,
        ),
        ratio_row(
            f"the environments alone, all of training on {where}",
            f"at least {ENV_SHARE_GOAL:g} of them",
            summary.get("env_share") if gpu else None,
            at_least=ENV_SHARE_GOAL,
        ),
        ratio_row(
            f"LeanRL's {LEANRL_RATE:,.0f} observations/s, our learner alone on {where}",
            f"at least {LEARNER_GOAL:g} times",
            _scaled(rates.get("ours-learner")),
            at_least=LEARNER_GOAL,
        ),
    ]


def _scaled(rate: Spread | None) -> Spread | None:
    return None if rate is None else rate.scaled(1 / LEANRL_RATE)
