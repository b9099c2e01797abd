"""Which of several calibrations serves a run: its own, a user's, or the nearest, widened."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlgns.critical.calibration import (
    AT_GOAL,
    FEWEST_GAMES,
    KIND_DF,
    KIND_SD,
    PATH_AVERAGE,
    SHIPPED,
    SMOOTHED,
    Calibration,
)
from rlgns.formatting import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCalibrations:
    """The two calibrations of one run."""

    average: Calibration
    """Of the run average."""
    now: Calibration
    """Of the noise scale now, which is another definition."""


def one_of_each(found: Sequence[Calibration]) -> list[Calibration]:
    """Returns one calibration for each algorithm, number of epochs and definition: a user's own before a shipped one.

    Raises:
        ValueError: Two of the user's own are for the same.
    """
    chosen: dict[tuple[str, int, str], Calibration] = {}
    for one in found:
        other = chosen.get(one.key)
        if other is not None and one.name not in SHIPPED and other.name not in SHIPPED:
            raise ValueError(
                f"{other.name} and {one.name} are both for {one.algorithm} with {plural(one.epochs, 'epoch')} "
                f"({one.definition}); keep one of them"
            )
        if other is None or other.name in SHIPPED:
            chosen[one.key] = one
    return list(chosen.values())


def nearest_calibration(
    found: Sequence[Calibration], *, algorithm: str, epochs: int, definition: str | None = None
) -> Calibration:
    """Returns the calibration of an algorithm with so many epochs, else the nearest, widened and not `exact`.

    Nearest is one of the same algorithm, then of the nearest number of epochs (by ratio), then of the same definition,
    then that of most games. A path average of PPO serves a noise scale at the parameters that played last: along the
    steps of a rollout it is up to 76 times smaller (docs/results/brute-force.md).

    Args:
        found: At least one, as `one_of_each` returns them.
        algorithm: The run's.
        epochs: The run's passes over a rollout.
        definition: Of the noise scale that `predict` will get; None: that of the calibration.
    """

    def distance(other: Calibration) -> tuple[bool, bool, float, bool, int]:
        same = {None: (other.definition,), SMOOTHED: (SMOOTHED, AT_GOAL)}.get(definition, (definition,))
        differs = other.definition not in same
        along_steps = differs and other.definition == PATH_AVERAGE and other.algorithm == "ppo"
        along_steps &= definition != SMOOTHED
        return along_steps, other.algorithm != algorithm, abs(math.log(other.epochs / epochs)), differs, -other.games

    best = min(found, key=distance)
    return best if distance(best)[:4] == (False, False, 0.0, False) else _widened(best, found)


def _widened(best: Calibration, found: Sequence[Calibration]) -> Calibration:
    """The calibration for another algorithm or definition.

    The variance between calibrations is that of the ones that there are, pooled with that of Table 1 by degrees of
    freedom. The sum's degrees of freedom are Satterthwaite's.
    """
    own = [other.log_ratio for other in found if other.games >= FEWEST_GAMES] or [best.log_ratio]
    mean = sum(own) / len(own)
    freedom = KIND_DF + len(own) - 1
    between = (KIND_DF * KIND_SD**2 + sum((value - mean) ** 2 for value in own)) / freedom
    parts = best.proxy_sd**4 / best.degrees_of_freedom + between**2 / freedom
    total = best.proxy_sd**2 + between
    return dataclasses.replace(
        best, exact=False, widening_sd=math.sqrt(between), degrees_of_freedom=max(1.0, total**2 / parts)
    )
