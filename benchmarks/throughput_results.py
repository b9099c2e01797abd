"""Statistics of the turns: medians, paired ratios, the cost of the noise scale, RLlib's overhead, starts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

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
COMPARISONS = {
    "the limit": ("ours", "limit"),
    "2 remote runners against local mode": ("ours-2-runners", "ours"),
    "bfloat16 against float32": ("ours", "ours-float32"),
    "learner alone against all": ("ours-learner", "ours"),
}
"""Other ratios of two contenders' rates, paired within rounds."""

RESAMPLED = 10_000
"""Draws of pairs behind the interval of a ratio of sums."""

FEWEST_FOR_INTERVAL = 6
"""With fewer rounds even the whole range misses the median in more than 5 % of cases (with five: 2 / 2^5)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One contender's share of one round; round 0 warms it up."""

    round: int
    contender: str
    observations: int
    seconds: float
    foreign_cores: float
    """Cores that everything else on the machine kept busy meanwhile."""

    cpu_s: float = 0.0
    """CPU seconds of all the contender's processes; 0: not measured."""

    overhead_s: tuple[float, ...] = ()
    """By iteration: wall-clock time that was neither sampling nor learning; ours only."""

    wall_s: tuple[float, ...] = ()
    """By iteration: wall-clock time; ours only."""

    probes: int = 0
    """Probes of the noise scale in this turn; ours only."""

    probe_s: float = 0.0
    """Seconds of these probes together."""

    probe_every: int | None = None
    """Iterations between two probes under the budget, at the end of the turn; ours only."""

    details: dict[str, float] = field(default_factory=dict)
    """Parts of the limit; the limit only."""

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
            cpu_s=report.get("cpu_s", 0.0),
            overhead_s=tuple(whole - sample - learn for whole, sample, learn in parts),
            wall_s=tuple(wall),
            probes=report.get("probes", 0),
            probe_s=report.get("probe_s", 0.0),
            probe_every=report.get("probe_every"),
            details=report.get("details", {}),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """One contender's start in a fresh process."""

    round: int
    contender: str
    built_s: float
    """From the start of the process until it was ready to train."""

    seconds: float
    """Until the end of its first iteration."""


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

    def scaled(self, factor: float) -> Spread:
        """Returns the same in another unit; the factor is positive."""
        values = asdict(self)
        count = values.pop("count")
        return Spread(count=count, **{name: factor * value for name, value in values.items()})


def sign_test_rank(count: int, miss: float = 0.05) -> int:
    """Returns how many values to skip at each end so that the rest spans the median with probability 1 - miss or more.

    The number of values below the median is binomial(count, 1/2). 0 where even the whole range misses more often.
    """
    rank = int(binom.ppf(miss / 2, count, 0.5))  # the first that is reached or passed
    return max(0, rank if binom.cdf(rank, count, 0.5) <= miss / 2 else rank - 1)


def summarise(turns: Sequence[Turn], starts: Sequence[Start] = ()) -> dict[str, Any]:
    """Computes all reported statistics of turns and starts.

    Returns:
        rates: Spread of observations/s by contender; settings: by peer, its best setting's name; ratios: by peer and
        setting, Spread of ours/peer from rounds in which both ran; comparisons: Spread by name of COMPARISONS;
        comparison_cpu_percent: processor time of ours over that of the other checkout, and its 95 % interval;
        noise_riding_percent: Spread of paired time on/off - 1 where no probe was taken; noise_riding_total_percent:
        the same of all that time together with its 95 % interval; noise_riding_cpu_percent: the same of processor
        time, which scatters less on a shared machine; noise_probe: a probe's seconds, its cadence (every so many
        iterations) and its share of the time in percent; noise_cost_percent: both together, with the interval;
        overhead_ms, overhead_percent: Spread over iterations of ours; details: Spread of what the limit is made of;
        env_share, peak_share: Spread of ours against the environments alone and against the limit at the machine's
        peak; start_s, built_s: Spread by contender; start_ratio: by peer, Spread of ours/peer within rounds;
        foreign_cores: Spread over turns.
    """
    every_turn, turns = turns, [turn for turn in turns if turn.round]
    rates = {name: Spread.of([turn.rate for turn in turns if turn.contender == name]) for name in _names(turns)}
    summary: dict[str, Any] = {"rates": rates, "settings": {}, "ratios": {}, "comparisons": {}}
    for peer, settings in PEERS.items():
        present = [name for name in settings if name in rates]
        if not present:
            continue
        summary["settings"][peer] = max(present, key=lambda name: rates[name].median)
        if "ours" in rates:
            summary["ratios"][peer] = {name: _ratio(pairs(turns, "ours", name)) for name in present}
    others = {f"{name}, the other checkout": ("ours", name) for name in rates if "@" in name}
    for what, (first, second) in (COMPARISONS | others).items():
        if both := pairs(turns, first, second):
            summary["comparisons"][what] = _ratio(both)
            if what in others and all(turn.cpu_s for pair in both for turn in pair):
                summary["comparison_cpu_percent"] = _more_in_all(_cpu_s(both))
    summary |= _noise_cost(every_turn) | _overhead(turns) | _limit(turns) | _starts(starts)
    if turns:
        summary["foreign_cores"] = Spread.of([turn.foreign_cores for turn in turns])
    return summary


def _ratio(both: Sequence[tuple[Turn, Turn]]) -> Spread:
    return Spread.of([first.rate / second.rate for first, second in both])


def _noise_cost(turns: Sequence[Turn]) -> dict[str, Any]:
    """Computes the cost of riding along from pairs without a probe, and that of probes from their cadence.

    The first probe always falls into the second iteration, so n measured iterations hold at least one probe, whatever
    the cadence. Resampling pairs with probes would measure that accident.
    """
    both = [pair for pair in pairs(turns, "ours", "ours-no-noise") if not pair[0].probes and pair[0].round]
    if not both:
        return {}
    seconds = np.array([[turn.seconds / turn.observations for turn in pair] for pair in both])
    off_s = seconds[:, 1].sum()
    riding = _more_in_all(seconds)
    found: dict[str, Any] = {
        "noise_riding_percent": Spread.of([100 * (off.rate / on.rate - 1) for on, off in both]),
        "noise_riding_total_percent": riding,
    }
    if all(turn.cpu_s for pair in both for turn in pair):
        found["noise_riding_cpu_percent"] = _more_in_all(_cpu_s(both))
    ours = [turn for turn in turns if turn.contender == "ours"]
    probed, every = [turn for turn in ours if turn.probes], ours[-1].probe_every
    if probed and every:
        probe_s = statistics.mean(turn.probe_s / turn.probes for turn in probed)
        iteration_s = off_s / len(both) * ours[-1].observations / max(1, len(ours[-1].wall_s))
        percent = 100 * probe_s / (every * iteration_s)
        found["noise_probe"] = {"seconds": probe_s, "every": every, "percent": percent}
        found["noise_cost_percent"] = tuple(part + percent for part in riding)
    return found


def _cpu_s(both: Sequence[tuple[Turn, Turn]]) -> NDArray[np.float64]:
    """Returns [pairs, 2], processor time per observation."""
    return np.array([[turn.cpu_s / turn.observations for turn in pair] for pair in both])


def _more_in_all(seconds: NDArray[np.float64]) -> tuple[float, float, float]:
    """Returns by how many percent the first column's sum of [pairs, 2] exceeds the second's, and its 95 % interval."""
    drawn = np.random.default_rng(0).integers(0, len(seconds), (RESAMPLED, len(seconds)))
    resampled = seconds[drawn].sum(1)
    low, high = np.quantile(100 * (resampled[:, 0] / resampled[:, 1] - 1), (0.025, 0.975))
    first, second = seconds.sum(0)
    return float(100 * (first / second - 1)), float(low), float(high)


def _overhead(turns: Sequence[Turn]) -> dict[str, Any]:
    timed = [turn for turn in turns if turn.contender == "ours"]
    overhead = [(over, wall) for turn in timed for over, wall in zip(turn.overhead_s, turn.wall_s, strict=True)]
    if not overhead:
        return {}
    return {
        "overhead_ms": Spread.of([1000 * over for over, _ in overhead]),
        "overhead_percent": Spread.of([100 * over / wall for over, wall in overhead]),
    }


def _limit(turns: Sequence[Turn]) -> dict[str, Any]:
    measured = [turn.details for turn in turns if turn.details]
    if not measured:
        return {}
    found: dict[str, Any] = {"details": {key: Spread.of([one[key] for one in measured]) for key in measured[0]}}
    if both := pairs(turns, "ours", "limit"):
        found["env_share"] = Spread.of([ours.rate / limit.details["env_rate"] for ours, limit in both])
        found["peak_share"] = Spread.of([ours.rate / limit.details["peak_limit"] for ours, limit in both])
    return found


def _starts(starts: Sequence[Start]) -> dict[str, Any]:
    by_round = {(start.round, start.contender): start.seconds for start in starts}
    names = list(dict.fromkeys(start.contender for start in starts))
    rounds = {start.round for start in starts}
    return {
        "start_s": {name: Spread.of([s.seconds for s in starts if s.contender == name]) for name in names},
        "built_s": {name: Spread.of([s.built_s for s in starts if s.contender == name]) for name in names},
        "start_ratio": {
            name: Spread.of([by_round[number, "ours"] / by_round[number, name] for number in sorted(rounds)])
            for name in names
            if name != "ours" and "ours" in names
        },
    }


def pairs(turns: Sequence[Turn], first: str, second: str) -> list[tuple[Turn, Turn]]:
    """Returns the two contenders' turns of every round in which both ran."""
    by_round = {(turn.round, turn.contender): turn for turn in turns}
    rounds = sorted({turn.round for turn in turns})
    return [
        (by_round[number, first], by_round[number, second])
        for number in rounds
        if (number, first) in by_round and (number, second) in by_round
    ]


def _names(turns: Sequence[Turn]) -> list[str]:
    return list(dict.fromkeys(turn.contender for turn in sorted(turns, key=lambda turn: turn.round)))
