"""Settings of a task: what is trained, its loss goals, the grid of its sweep. The defaults of every task as data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rlgns.errors import UserError, nearest
from rlgns.sweep.learning_rates import LearningRateRule
from rlgns.sweep.plan import SweepPlan

GROUPS = 4
"""Groups of a measured step; two where the batch has fewer than four draws or no multiple of four."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings:
    """One task and the grid of its sweep. Batches and budget are in observations: images, words or characters."""

    name: str
    """Stands in the column `game` of points.csv."""
    dataset: str
    """A name that the loaders know; `--data` says where its files are."""
    model: str
    """softmax, mlp, conv, autoencoder, vae or lstm."""
    width: int
    optimizer: str
    """sgd or adam, at a constant learning rate."""
    momentum: float = 0.0
    """Of SGD."""
    goals: tuple[float, ...]
    """Losses to reach, smoothed as `examples/tasks/trial.py` says."""
    batches: tuple[int, ...]
    """Observations per optimizer step."""
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rate: float
    """eps* of the rule eps* / (1 + B*/B)^alpha that centres a batch's learning rates."""
    learning_rate_batch: float
    """B* of the rule, observations."""
    learning_rate_exponent: float
    """alpha of the rule: 1 for SGD, 0.5 for Adam."""
    learning_rates: int = 7
    """Learning rates per batch size at the start, a factor of 2 apart."""
    widenings: int = 3
    """Most learning rates added on either side while the best is on the edge."""
    budget: int
    """Observations after which a trial gives up."""
    data: str = ""
    """A file or folder with the data; empty where the task needs none."""

    @property
    def plan(self) -> SweepPlan:
        """Which trials the sweep has, and when one may stop. A goal's score is the negative loss."""
        return SweepPlan(
            games=(self.name,),
            batches=self.batches,
            seeds=self.seeds,
            goals={self.name: tuple(-loss for loss in self.goals)},
            budget=self.budget,
            learning_rate_rule=LearningRateRule(
                largest=self.learning_rate,
                batch=self.learning_rate_batch,
                exponent=self.learning_rate_exponent,
                count=self.learning_rates,
                widenings=self.widenings,
            ),
        )


def groups_of(batch: int, per_draw: int) -> int:
    """Returns into how many groups a batch is split. Raises UserError where it has no two whole draws of equal number.

    Args:
        batch: observations.
        per_draw: observations in one draw, which stay in one group.
    """
    for groups in (GROUPS, GROUPS // 2):
        if batch > 0 and batch % (groups * per_draw) == 0:
            return groups
    smallest = GROUPS // 2 * per_draw
    raise UserError(f"--batches must be positive multiples of {smallest} observations for this task, got {batch}")


def find_task(name: str) -> TaskSettings:
    """Returns the defaults of a task. Raises UserError with the nearest name."""
    if name not in TASKS:
        raise UserError(f"no task {name!r}{nearest(name, TASKS)}; there are: {', '.join(TASKS)}")
    return TASKS[name]


def _powers(smallest: int, count: int) -> tuple[int, ...]:
    return tuple(smallest << place for place in range(count))


_DIGITS = TaskSettings(
    name="digits-sgd",
    dataset="digits",
    model="mlp",
    width=64,
    optimizer="sgd",
    goals=(1.0, 0.2, 0.05),
    batches=_powers(4, 9),
    learning_rate=1.0,
    learning_rate_batch=64,
    learning_rate_exponent=1.0,
    budget=500_000,
)

_CONV = TaskSettings(
    name="mnist-conv",
    dataset="mnist",
    model="conv",
    width=8,
    optimizer="sgd",
    goals=(0.5, 0.2, 0.08),
    batches=_powers(4, 9),
    learning_rate=0.5,
    learning_rate_batch=64,
    learning_rate_exponent=1.0,
    learning_rates=6,
    budget=1_000_000,
)

_AUTOENCODER = TaskSettings(
    name="mnist-autoencoder",
    dataset="mnist",
    model="autoencoder",
    width=16,
    optimizer="adam",
    goals=(0.6, 0.45),
    batches=_powers(4, 8),
    learning_rate=0.01,
    learning_rate_batch=256,
    learning_rate_exponent=0.5,
    learning_rates=6,
    budget=600_000,
)

_VAE = dataclasses.replace(_AUTOENCODER, name="mnist-vae", model="vae", goals=(180.0, 140.0))

_WORDS = TaskSettings(
    name="words-lstm-32",
    dataset="words",
    model="lstm",
    width=32,
    optimizer="adam",
    goals=(4.2, 3.8),
    batches=_powers(128, 7),
    seeds=(0, 1),
    learning_rate=0.03,
    learning_rate_batch=4096,
    learning_rate_exponent=0.5,
    learning_rates=5,
    budget=4_000_000,
)

_CHARACTERS = dataclasses.replace(_WORDS, name="characters-lstm-32", dataset="characters", goals=(2.5, 2.1))

TASKS: dict[str, TaskSettings] = {
    task.name: task
    for task in (
        _DIGITS,
        dataclasses.replace(
            _DIGITS,
            name="digits-adam",
            optimizer="adam",
            learning_rate=0.02,
            learning_rate_batch=256,
            learning_rate_exponent=0.5,
        ),
        dataclasses.replace(_DIGITS, name="digits-softmax", model="softmax", goals=(1.0, 0.4, 0.2)),
        _CONV,
        _AUTOENCODER,
        _VAE,
        _WORDS,
        dataclasses.replace(_WORDS, name="words-lstm-64", width=64),
        _CHARACTERS,
        dataclasses.replace(_CHARACTERS, name="characters-lstm-64", width=64),
        dataclasses.replace(
            _CHARACTERS,
            name="characters-lstm-64-longer",
            width=64,
            goals=(2.1, 1.9, 1.85),
            batches=_powers(1024, 7),
            learning_rates=3,
            budget=40_000_000,
        ),
        dataclasses.replace(_CONV, name="fashion-conv", dataset="fashion", goals=(0.8, 0.5, 0.35)),
        dataclasses.replace(
            _CONV, name="svhn-conv", dataset="svhn", width=32, goals=(1.5, 0.8, 0.5), budget=10_000_000
        ),
        dataclasses.replace(
            _CONV, name="cifar10-conv", dataset="cifar10", width=32, goals=(1.7, 1.3, 1.0), budget=10_000_000
        ),
        dataclasses.replace(
            _CONV, name="imagenet-conv", dataset="imagenet", width=64, goals=(6.0, 5.0), budget=50_000_000
        ),
        dataclasses.replace(_AUTOENCODER, name="svhn-autoencoder", dataset="svhn", goals=(0.3, 0.15), budget=3_000_000),
        dataclasses.replace(_VAE, name="svhn-vae", dataset="svhn", goals=(2000.0, 1950.0), budget=3_000_000),
    )
}
"""Goals and grids of every task, fixed before any sweep; docs/notes/contest.md says which of them are compared."""
