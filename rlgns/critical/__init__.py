"""From the noise scale to the critical batch and to advice: pure arithmetic, no Ray, no I/O."""

from rlgns.critical.advice import Advice, advice_of, step_ratio, steps_advice_of, twice_envs, twice_steps
from rlgns.critical.learning_rate import learning_rate_warning
from rlgns.critical.pareto import ParetoFit, fit_pareto
from rlgns.critical.run_average import RunAverage

__all__ = [
    "Advice",
    "ParetoFit",
    "RunAverage",
    "advice_of",
    "fit_pareto",
    "learning_rate_warning",
    "step_ratio",
    "steps_advice_of",
    "twice_envs",
    "twice_steps",
]
