"""PPO on Atari that tells you, while it trains, how large a batch is still worth paying for.

From Python (docs/python.md):

    import rlgns

    run = rlgns.train("pong", observations=200_000)     # or rlgns.load_run("runs/pong-20260101-120000")
    print(run.estimate())                               # noise scale and critical batch, with intervals
    run["noise/scale"]                                  # a NumPy array, one number per iteration

Names are imported when they are first used, so that `import rlgns` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rlgns.errors import FaultError, UserError

if TYPE_CHECKING:
    from rlgns.noise.monitor import NoiseScaleMonitor
    from rlgns.python.points import fit_pareto, paper_points
    from rlgns.python.runs import Run, load_run, load_runs
    from rlgns.python.train import train

__version__ = "0.1.0"

__all__ = [
    "FaultError",
    "NoiseScaleMonitor",
    "Run",
    "UserError",
    "fit_pareto",
    "load_run",
    "load_runs",
    "paper_points",
    "train",
]

_HOMES = {
    "NoiseScaleMonitor": "rlgns.noise.monitor",
    "Run": "rlgns.python.runs",
    "fit_pareto": "rlgns.python.points",
    "load_run": "rlgns.python.runs",
    "load_runs": "rlgns.python.runs",
    "paper_points": "rlgns.python.points",
    "train": "rlgns.python.train",
}
"""Module of each name that is imported late. No module of the package may have such a name: it would hide it."""

_OF_TRAINER = ("Run", "load_run", "load_runs", "train")
"""Names that need more than `pip install rlgns` brings."""


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _OF_TRAINER:
        from rlgns.extras import lacks_trainer

        if lack := lacks_trainer(f"rlgns.{name}"):
            raise ModuleNotFoundError(lack)
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
