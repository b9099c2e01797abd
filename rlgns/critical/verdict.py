r"""The verdict on a run's batch: the predicted critical batch, and whether to keep, double or halve the environments.

At a critical batch C a batch B takes S = S_min (1 + C/B) steps and E = E_min (1 + B/C) observations (McCandlish et al.
2018, arXiv:1812.06162, equation 2.11), each counted as often as steps use it. Let one step be worth E_min / S_min = C
observations, the rate at which the paper's critical batch is the best batch. Then a batch costs

    S/S_min + E/E_min = 2 + C/B + B/C

Twice the batch costs less where C/(2B) + 2B/C < C/B + B/C, that is where C > sqrt(2) B; half of it where C < B/sqrt(2).
The interval decides: double only if its low end is above sqrt(2) B, halve only if its high end is below B/sqrt(2). So
"keep" means that this batch is the best of the three or that too little is known to say otherwise.

The critical batch is that of the run so far, and it usually grows: "halve" is said of a run of this length. And while
the learning rate is as tuned, "halve" also needs the critical batch of now (`critical_batch/now_high`) below B/sqrt(2):
a run of 30,000 observations has seen nothing but the easy beginning.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlgns.critical.tuned_rate import TUNED_SHARE
from rlgns.formatting import count, first_upper, interval, known, percent, plural, rate, rounded, short
from rlgns.noise.gradient_size import MANY_OUTLIERS

MARGIN = math.sqrt(2)
"""Ratio of critical batch and batch beyond which the next doubling or halving costs less."""

FROM_OUTLIERS = (
    "few steps with very large gradients make most of the signal, so the true noise scale may be several times larger"
)

FULL_SHARE = 0.95
"""From this share of the steps on, no share is named: the first iteration and failed measurements never count."""


class Decision(enum.Enum):
    """What to do with the batch."""

    KEEP = "keep"
    DOUBLE = "double"
    HALVE = "halve"
    UNKNOWN = "not known yet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What is known of a run's critical batch, and what follows. Observations; NaN where not known."""

    decision: Decision
    value: float
    low: float
    high: float
    """Infinite where only the lower end is known."""
    batch: float
    """In use."""
    num_envs: int
    """That make this batch; 0: not known, and nothing is said of environments."""
    missing_observations: float
    """Until the critical batch is likely to be known; NaN where that cannot be said."""
    longer: float
    """How many times as long a run would have to be, where its learning rate has fallen too far for more to count; NaN
    where it has not."""
    noise_scale: str
    """The raw noise scale behind it, with its interval."""
    conditions: tuple[str, ...]
    """At which it was measured: learning rate, share of the run, preset, calibration."""

    def headline(self) -> str:
        """Returns the result in one sentence, without the conditions."""
        if not math.isfinite(self.value):
            known_so_far = f": at least {rounded(self.low)} observations" if self.low > 0 else ""
            if self.decision is Decision.DOUBLE:
                return f"Critical batch{known_so_far[1:]}; {self._use()}: {self._advice()}."
            more = ""
            if math.isfinite(self.longer):
                more = f"{'; ' if known_so_far else ': '}a run about {self.longer:.2g} times as long would show it"
            elif math.isfinite(self.missing_observations):
                missing = short(float(f"{self.missing_observations:.1e}"))  # two digits: it is a forecast
                more = f"{', ' if known_so_far else ': '}about {missing} more observations"
            return f"Critical batch not known yet{known_so_far}{more}."
        text = interval(self.value, self.low, self.high)
        envs = ""
        if self.num_envs and self.batch > 0:
            envs = f", the batch of {self._environments()}"
        return f"Critical batch about {text} observations{envs}; {self._use()}: {self._advice()}."

    def _environments(self) -> str:
        """The critical batch in environments, with its interval where both ends are known."""
        middle, low, high = (x * self.num_envs / self.batch for x in (self.value, self.low, self.high))
        if not (math.isfinite(low) and math.isfinite(high)):
            return plural(max(1, round(middle)), "environment")
        if low <= 0:
            return f"{max(1, round(middle)):,} (at most {max(1, round(high)):,}) environments"
        middle, low, high = (max(1, round(x)) for x in (middle, low, high))
        return f"{middle:,} ({low:,} to {high:,}) environments" if low < high else plural(middle, "environment")

    def sentence(self) -> str:
        """Returns the result with its conditions in brackets."""
        conditions = ", ".join(self.conditions)
        return f"{self.headline()} ({first_upper(conditions)}.)" if conditions else self.headline()

    def _use(self) -> str:
        return f"you use {self.num_envs}" if self.num_envs else f"you use {count(self.batch)}"

    def _advice(self) -> str:
        them = "them" if self.num_envs else "it"
        if self.decision is Decision.HALVE:
            return f"halve {them} in a run of this length; a longer one needs more"
        if self.decision is not Decision.KEEP:
            return f"{self.decision.value} {them}"
        if decide(self.batch, self.low, self.high) is Decision.HALVE:
            return f"keep {them}, since it may be larger by now"
        sure = decide(self.batch, self.value, self.value) is Decision.KEEP
        if sure:
            return f"keep {them}"
        side = "more" if self.value > self.batch else "fewer" if self.num_envs else "less"
        best = f"the best estimate says {side}, and only a sweep can decide"
        return f"keep {them}, since the interval includes {them}; {best}"


def decide(batch: float, low: float, high: float) -> Decision:
    """Returns what the interval of the critical batch says about a batch.

    Args:
        batch: In use, observations.
        low: Lower end of the critical batch; NaN: nothing is known.
        high: Upper end; infinite or NaN: only the lower end is known.
    """
    if low > MARGIN * batch:
        return Decision.DOUBLE
    if not math.isfinite(high) or math.isnan(low):
        return Decision.UNKNOWN
    return Decision.HALVE if high < batch / MARGIN else Decision.KEEP


def verdict_of(row: Mapping[str, Any], *, preset: str = "") -> Verdict:
    """Returns the verdict on the run whose newest row this is.

    Args:
        row: Of metrics.jsonl, with the entries of `rlgns.critical.predicted`; may be empty.
        preset: Its name, for the conditions; empty: none.
    """
    value, low, high = (_number(row, f"critical_batch/{name}") for name in ("predicted", "low", "high"))
    high = math.inf if math.isnan(high) else high
    batch = _number(row, "batch_observations")
    share, missing = _number(row, "noise/run_average_share"), _number(row, "noise/run_average_missing")
    fixed = row.get("batch_mode") != "adaptive"
    late = _late(row)
    decision = decide(batch, low, high)
    if decision is Decision.HALVE and not late and not _small_now(row, batch):
        decision = Decision.KEEP
    noise = ("noise/run_average", "noise/run_average_low", "noise/run_average_high")
    return Verdict(
        decision=decision,
        value=value,
        low=low,
        high=high,
        batch=batch,
        num_envs=int(row.get("num_envs") or 0) if fixed else 0,
        missing_observations=share * missing * _number(row, "observations") if missing else math.nan,
        longer=1 + missing if missing and late else math.nan,
        noise_scale=interval(*(row.get(name) if name != noise[0] or known(high) else None for name in noise)),
        conditions=tuple(_conditions(row, share, preset)),
    )


def _small_now(row: Mapping[str, Any], batch: float) -> bool:
    """Whether the critical batch of now allows half the batch; yes where the row says nothing of it."""
    if "critical_batch/now_high" not in row:
        return True
    return decide(batch, 0.0, _number(row, "critical_batch/now_high")) is Decision.HALVE


def many_outliers(row: Mapping[str, Any]) -> bool:
    """Whether steps with very large gradients make most of the signal of the run average (docs/notes/outliers.md)."""
    return _number(row, "noise/run_average_outlier_share") > MANY_OUTLIERS


def _late(row: Mapping[str, Any]) -> bool:
    """Whether the learning rate has fallen too far for more steps to count; by the mean rate in older rows."""
    if row.get("noise/run_average_tuned") is not None:
        return not row["noise/run_average_tuned"]
    return _number(row, "learning_rate") < TUNED_SHARE * _number(row, "noise/run_average_learning_rate")


def _conditions(row: Mapping[str, Any], share: float, preset: str) -> list[str]:
    mean, now = _number(row, "noise/run_average_learning_rate"), _number(row, "learning_rate")
    found = []
    late = _late(row)
    if late and share < FULL_SHARE:
        found.append(f"from the {percent(share)} of the run before the learning rate fell below half")
    if known(mean):
        found.append(f"learning rate {rate(mean)}{'' if math.isclose(mean, now, rel_tol=0.01) else ' on average'}")
    if not late and share < FULL_SHARE:
        found.append(f"{percent(share)} of the run counts")
    if many_outliers(row):
        found.append(FROM_OUTLIERS)
    if preset:
        found.append(f"preset {preset}")
    if row.get("critical_batch/calibration"):
        found.append(str(row["critical_batch/calibration"]))
    return found


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return float(value) if known(value) and value is not None else math.nan
