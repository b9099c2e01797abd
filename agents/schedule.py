"""The learning rate over a run."""

from __future__ import annotations

import math

from rlgns.agents.config import AgentConfig


def learning_rate(
    config: AgentConfig,
    *,
    observations: int,
    total_observations: int,
    batch_observations: int,
    base_batch_observations: int,
) -> float:
    """Returns the step size of every optimizer step of one iteration.

    An adaptive batch scales `agent.learning_rate` by the square root of its size over the configured one. With
    `agent.anneal` the result falls linearly, to zero at the run's end.

    Args:
        config: Settings of the update.
        observations: Observations before this iteration.
        total_observations: Observations of the whole run.
        batch_observations: Observations per optimizer step of this iteration.
        base_batch_observations: Observations per optimizer step with the configured number of environments.
    """
    rate = config.learning_rate * math.sqrt(batch_observations / base_batch_observations)
    if not config.anneal:
        return rate
    return rate * max(0.0, 1 - observations / total_observations)
