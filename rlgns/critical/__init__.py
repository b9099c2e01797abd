"""From the noise scale to the critical batch and to advice: pure arithmetic, no Ray, no I/O."""

from rlgns.critical.advice import Advice, observation_ratio, step_ratio, twice_envs
from rlgns.critical.pareto import ParetoFit, fit_pareto
from rlgns.critical.run_average import RunAverage

__all__ = ["Advice", "ParetoFit", "RunAverage", "fit_pareto", "observation_ratio", "step_ratio", "twice_envs"]
