"""Values of a row as short texts for the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rlgns import formatting
from rlgns.critical.advice import advice_of, steps_advice_of
from rlgns.critical.whose_noise import whose_noise
from rlgns.monitor.listener import Row
from rlgns.noise.in_row import now_in


def noise_scale_text(row: Row, number: Callable[[float | None], str] = formatting.rounded) -> str:
    """Returns the noise scale now: '410 (280 to 640)', 'at least 900' or 'measuring'; off policy with ', lag 1'.

    Args:
        row: The row.
        number: Returns one number as text.
    """
    scale = now_in(row)
    lag = f", lag {row['policy_lag']}" if row.get("policy_lag") else ""
    return formatting.interval(scale.value, scale.low, scale.high, number=number) + lag


def critical_batch_text(row: Row) -> str:
    """Returns the run's predicted critical batch: '920 (110 to 7,500)', 'at least 40', or 'measuring'."""
    return formatting.interval(*(row.get(f"critical_batch/{name}") for name in ("predicted", "low", "high")))


def short_critical_batch_text(row: Row, number: Callable[[float | None], str] = formatting.rounded) -> str:
    """Returns it without its interval: '230', '> 40' where only a bound is known, or a dash.

    Args:
        row: The row.
        number: Returns one number as text.
    """
    low = row.get("critical_batch/low")
    if row.get("critical_batch/high") is None and low:
        return f"> {number(low)}"
    return number(row.get("critical_batch/predicted"))


def batch_text(row: Row) -> str:
    """Returns a row's batch size: '512' or '512 (adaptive)'."""
    batch = formatting.count(row["batch_observations"])
    return f"{batch} (adaptive)" if row.get("batch_mode") == "adaptive" else batch


def adaptive_line(row: Row) -> list[str]:
    """Returns an adaptive batch with its environments and its target; empty where the batch is fixed."""
    if row.get("batch_mode") != "adaptive":
        return []
    target = row.get("target_batch_observations")
    aim = formatting.rounded(target) if formatting.known(target) else "not known yet"
    batch = formatting.count(row["batch_observations"])
    return [f"adaptive batch: {batch} observations from {row['num_envs']} environments; target {aim}"]


def advice_lines(row: Row) -> list[str]:
    """Returns what twice the environments would buy; where known, what twice the steps would, and whose noise it is."""
    longer = steps_advice_of(row)
    more = [longer.sentence() if longer.step_ratio_high is not None else "", whose_noise(row)]
    return [advice_of(row).sentence(), *filter(None, more)]
