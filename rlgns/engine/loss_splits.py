"""Splits some batches of training by loss, as many as a share of the time allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.noise.budget import ProbeBudget
from rlgns.noise.config import NoiseConfig
from rlgns.noise.noise_by_loss import NoiseByLoss

SHARE = 0.5
"""Of what the live measurement leaves of the budget; the probe gets the rest."""

FIRST = 8
"""Batches at the start of a run that come twice as often, and are paid off before the next: an interval needs five."""

COST = 0.75
"""Batches of an update that a split is counted as. Measured: 0.74 under `quick`, 0.61 under `ppo`, 0.48 under
`a2c-paper` (docs/notes/noise-by-loss.md)."""

GOLDEN = 0.6180339887498949


@final
class LossSplits:
    """Decides which batches are split by loss, and keeps what they say.

    A split costs a backward pass over one batch and some inner products. It is counted as COST of what a batch of the
    update takes on average, from the update's own time. So no clock runs within a step, and where a device works in the
    background the cost is not missed.
    """

    def __init__(
        self,
        config: NoiseConfig,
        *,
        minibatches: int,
        epochs: int,
        add_up: Callable[[Tensor], Tensor] = lambda products: products,
    ) -> None:
        """Starts with nothing measured.

        Args:
            config: Settings.
            minibatches: Optimizer steps per epoch.
            epochs: Of an update.
            add_up: Sums over all learners, each of which holds some columns of the groups' gradients. Default: a
                single learner holds all columns.
        """
        self._add_up = add_up
        self._minibatches, self._batches = minibatches, minibatches * epochs
        fraction = config.overhead_budget if config.enabled else 0.0
        self.enabled = fraction > 0
        self._budget, self._first = ProbeBudget(SHARE * fraction), ProbeBudget(2 * SHARE * fraction)
        self._by_loss = NoiseByLoss(config.steady_horizon_observations or None, config.level)
        self._waiting: tuple[Tensor, GroupSplit] | None = None
        self._seconds: float | None = None
        self._asked = 0
        self._observations = 0  # at the last batch that was split

    def due(self) -> bool:
        """Returns whether a batch of the next iteration is to be split."""
        return (self._first if self._by_loss.batches < FIRST else self._budget).due()

    def step(self, *, first_is_shuffled: bool) -> int | None:
        """Chooses the next batch to split, by the optimizer steps before it; all steps of an epoch equally often.

        Args:
            first_is_shuffled: Whether this iteration's first batch is split by shuffled observations, and of no use.

        Returns:
            Steps before the batch; None where the iteration has no batch of use.
        """
        if first_is_shuffled and self._minibatches == 1:
            return None
        step = int(self._minibatches * (self._asked * GOLDEN % 1))
        if first_is_shuffled and step == 0:
            return self._minibatches // 2
        self._asked += 1
        return step

    def on_losses(self, products: Tensor, split: GroupSplit) -> None:
        """Receives inner products by loss [2, 2, groups, groups], or this learner's columns of them, for `settle`."""
        self._waiting = products, split

    def settle(self, divisors: Mapping[int, float | None], observations: int) -> None:
        """Processes what was received since the last call; all learners must call it at the same points.

        Sums start again where the sizes of the gradients do (`GradientSize`): after a jump, nothing before it counts.

        Args:
            divisors: What the moments of each batch of this iteration were divided by, by optimizer steps before it;
                None: the batch began a phase.
            observations: Of training so far.
        """
        jump = max((step for step, divisor in divisors.items() if divisor is None), default=-1)
        if jump >= 0:
            self._by_loss.restart()
        if self._waiting is None:
            return
        (products, split), self._waiting = self._waiting, None
        self._by_loss.update(
            self._add_up(products.contiguous()).cpu().numpy(),
            split.observations_per_group,
            divisor=divisors.get(split.step) if split.step > jump else None,
            observations_since=max(observations - self._observations, 1),
        )
        self._observations, self._seconds = observations, 0.0

    def end_iteration(self, *, seconds: float, learn_s: float, measure_s: float) -> None:
        """Notes an iteration's time: in all, of its update without a probe, and of the live measurement."""
        if self._seconds is not None:
            self._seconds = COST * learn_s / self._batches
        # Half of the room f t - m is the room of half the budget with half of m.
        self._budget.iteration(seconds=seconds, measure_s=SHARE * measure_s, probe_s=self._seconds)
        self._first.iteration(seconds=seconds, measure_s=2 * SHARE * measure_s, probe_s=self._seconds)

    @property
    def seconds(self) -> float:
        """Seconds counted for this iteration's split; 0 without one."""
        return self._seconds or 0.0

    @property
    def per_iteration_s(self) -> float:
        """Seconds of a split, spread over the iterations from one to the next; 0 where none can follow."""
        return self._budget.per_iteration_s

    def report(self) -> dict[str, Any]:
        """Ends an iteration: returns its entries of the metrics row."""
        self._seconds = None
        if not self.enabled:
            return {}
        every = self._budget.every
        return self._by_loss.row() | {"noise/by_loss/every_iterations": every}

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums and how often a batch is split, plain types."""
        return {
            "by_loss": self._by_loss.state_dict(),
            "budget": self._budget.state_dict(),
            "first": self._first.state_dict(),
            "asked": self._asked,
            "observations": self._observations,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._by_loss.load_state_dict(state["by_loss"])
        self._budget.load_state_dict(state["budget"])
        self._first.load_state_dict(state["first"])
        self._asked, self._observations = int(state["asked"]), int(state["observations"])
