"""The probe: extra passes over an iteration's fresh observations, within a budget of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from rlgns.agents.batches import Indices, environment_batches
from rlgns.agents.buffers import Buffers
from rlgns.agents.compute.flat_gradients import equal_parts
from rlgns.agents.compute.products import inner_products
from rlgns.agents.network import ActorCritic
from rlgns.agents.rollout_gradients import LOSSES, RolloutGradients, loss_coefficients
from rlgns.config import random_streams
from rlgns.config.schema import Config
from rlgns.noise.budget import ProbeBudget
from rlgns.noise.losses_and_layers import products_by_layer
from rlgns.noise.probe_views import ProbeProducts, ProbeViews, SplitProducts

MOST_GROUPS = 8
"""Groups of whole environments, at most: more hardly improve |G|^2, and passes over small parts are slow."""

SEGMENTS = 4
"""Segments of a rollout in time, at most: rungs at T/4, T/2 and T."""

SHUFFLED_SHARE = 8
"""One observation in so many is drawn for the shuffled split: a trace needs many groups, not large ones."""


@final
class Probe:
    """Measures the views of the noise scale on all observations of an iteration, before its first step.

    It uses all observations, because all are fresh at this parameter vector. Far below the noise scale, one probe of n
    batches gives n times as much information on |G|^2 as n probes of one batch each.
    """

    def __init__(self, run: Config, network: ActorCritic, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts with nothing measured; `clock` returns monotonic seconds."""
        self._run, self._clock = run, clock
        self._layers = {name: sum(p.numel() for p in parts) for name, parts in network.layers().items()}
        self._parameters = sum(self._layers.values())
        self._views = ProbeViews(
            list(self._layers),
            dict(zip(LOSSES, loss_coefficients(run.agent), strict=True)),
            run.noise.horizon_observations or None,
            run.noise.level,
            follows_run=run.noise.horizon_follows_run,
            steady_horizon_observations=run.noise.steady_horizon_observations or None,
        )
        self._budget = ProbeBudget(run.noise.overhead_budget if run.noise.enabled else 0.0)
        self._buffers = Buffers()
        self._probe_s: float | None = None
        self._taken = False

    def due(self) -> bool:
        """Returns whether the next iteration is probed."""
        return self._budget.due()

    def measure(self, fresh: RolloutGradients, seed: Sequence[int]) -> None:
        """Takes a probe; `seed`: integers that determine its groups."""
        began = self._clock()
        rng = np.random.default_rng([*seed, random_streams.PROBE])
        # P^(-1/2) g: the metric in which the optimizer's step, P^(-1) g, is plain gradient descent.
        scale = fresh.inverse_preconditioner(self._buffers("scale", self._parameters, device=fresh.device))
        if scale is not None:
            scale.sqrt_()
        groups = self._groups(fresh, rng)
        rows, segments = self._gradients(fresh, groups, _segments(fresh.num_steps))
        by_env = self._products(fresh, rows, scale, groups)
        drawn = self._shuffled(fresh, rng, len(groups))
        rows, _ = self._gradients(fresh, drawn, 1)
        shuffled = self._products(fresh, rows, scale, drawn)
        probe = ProbeProducts(
            by_env=by_env,
            shuffled=shuffled,
            segments=segments.cpu().numpy(),
            steps=fresh.num_steps,
            envs_per_group=fresh.num_envs // len(groups),
        )
        self._taken = self._views.update(probe)
        self._probe_s = self._clock() - began

    def end_iteration(self, *, seconds: float, measure_s: float) -> None:
        """Notes an iteration's length and the time of the ride-along in it."""
        self._budget.iteration(seconds=seconds, measure_s=measure_s, probe_s=self._probe_s)

    @property
    def seconds(self) -> float:
        """Seconds of this iteration's probe; 0 without one."""
        return self._probe_s or 0.0

    def report(self, batch_observations: int) -> dict[str, Any]:
        """Ends an iteration at this batch: returns its entries of the metrics row."""
        row: dict[str, Any] = {}
        if self._run.noise.enabled and self._run.noise.overhead_budget:
            row = {
                "noise/probe_every_iterations": self._budget.every,
                "noise/probe_s": self.seconds,
                "noise/probes": self._views.probes,
                "noise/probes_skipped": self._views.skipped,
                **self._along_time(),
            }
        if self._taken:
            row |= self._report_views(batch_observations)
        self._probe_s, self._taken = None, False
        return row

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums and how often a probe is taken, plain types."""
        return {"views": self._views.state_dict(), "budget": self._budget.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._views.load_state_dict(state["views"])
        self._budget.load_state_dict(state["budget"])

    def _groups(self, fresh: RolloutGradients, rng: np.random.Generator) -> list[Indices]:
        count = equal_parts(fresh.num_envs, MOST_GROUPS)
        count = count if count > 1 else fresh.num_envs  # a prime number of environments
        batches = environment_batches(
            rng, num_steps=fresh.num_steps, num_envs=fresh.num_envs, minibatches=1, groups=count
        )
        return next(batches)

    def _shuffled(self, fresh: RolloutGradients, rng: np.random.Generator, groups: int) -> list[Indices]:
        observations = fresh.num_steps * fresh.num_envs
        each = max(1, observations // (SHUFFLED_SHARE * groups))
        return list(rng.permutation(observations)[: groups * each].reshape(groups, each))

    def _gradients(self, fresh: RolloutGradients, groups: Sequence[Indices], segments: int) -> tuple[Tensor, Tensor]:
        """Takes the gradients of each group.

        Returns:
            Gradients of this learner's share by loss [losses, groups of the share, parameters], overwritten by the next
            call. And float64 [groups, segments, segments]: within each group, of all learners, the inner products of
            the whole loss's gradients of its segments. Segments are a group's observations cut in order.
        """
        share = fresh.data_parallel.share(len(groups))
        mine = groups[share]
        rows = self._buffers("rows", len(LOSSES), len(mine), self._parameters, device=fresh.device)
        weights = torch.tensor(fresh.coefficients, device=fresh.device)

        def work(group: int) -> Tensor:
            whole = self._buffers("segments", segments, self._parameters, device=fresh.device)
            gradients = self._buffers("losses", len(LOSSES), self._parameters, device=fresh.device)
            total = rows[:, group]
            for segment, part in enumerate(np.split(mine[group], segments)):
                fresh.loss_gradients(part, gradients)
                torch.mv(gradients.T, weights, out=whole[segment])
                if segment:
                    total += gradients
                else:
                    total.copy_(gradients)
            total /= segments
            return inner_products(whole)

        within = torch.zeros(len(groups), segments, segments, dtype=torch.float64, device=fresh.device)
        if mine:
            within[share] = torch.stack(fresh.map(work, range(len(mine))))
        return rows, fresh.data_parallel.add_up(within)

    def _products(
        self, fresh: RolloutGradients, rows: Tensor, scale: Tensor | None, groups: Sequence[Indices]
    ) -> SplitProducts:
        """Returns inner products of all groups' rows, overwriting them; each learner takes its columns of all."""
        learners, parameters = fresh.data_parallel, rows.shape[2]
        own = learners.own_columns(parameters)
        if learners.count > 1:
            several = [learners.columns(row, len(groups))[:, : own.stop - own.start] for row in rows]
            rows = torch.stack(several)
        by_layer = learners.add_up(
            products_by_layer(rows, _overlaps(list(self._layers.values()), own), inner_products).contiguous()
        )
        preconditioned = None
        if scale is not None:
            whole = rows[0].mul_(fresh.coefficients[0])
            for coefficient, row in zip(fresh.coefficients[1:], rows[1:], strict=True):
                whole.add_(row, alpha=coefficient)
            preconditioned = learners.add_up(inner_products(whole.mul_(scale[own]))).cpu().numpy()
        return SplitProducts(
            by_layer=by_layer.cpu().numpy(), preconditioned=preconditioned, observations_per_group=len(groups[0])
        )

    def _report_views(self, batch: int) -> dict[str, Any]:
        views = self._views
        row: dict[str, Any] = {}
        for name, view in views.estimates().items():
            latest, smoothed = view.latest, view.estimate
            row |= {
                f"noise/{name}/grad_sq": latest.grad_sq if latest else None,
                f"noise/{name}/trace": latest.trace if latest else None,
                f"noise/{name}/scale": smoothed.noise_scale,
                f"noise/{name}/scale_low": smoothed.low,
                f"noise/{name}/scale_high": smoothed.high,
                f"noise/{name}/resolved": smoothed.resolved,
                f"noise/{name}/dimension": view.dimension,
                f"noise/{name}/design_effect": view.design_effect,
                f"noise/{name}/updates_to_resolve": view.updates_to_resolve(batch),
            }
        row["noise/resolves_first"] = views.resolves_first(batch)
        row["noise/cross_terms"] = [
            {"losses": f"{LOSSES[i]}-{LOSSES[j]}", "grad_sq": moments.grad_sq, "trace": moments.trace}
            for i, several in enumerate(views.cross)
            for j, moments in enumerate(several)
            if i < j
        ]
        row["noise/layers"] = [
            {
                "layer": name,
                "grad_sq": view.latest.grad_sq if view.latest else None,
                "trace": view.latest.trace if view.latest else None,
                "scale": view.estimate.noise_scale,
            }
            for name, view in views.layers().items()
        ]
        return row

    def _along_time(self) -> dict[str, Any]:
        ladder = self._views.time_ladder()
        low, high = self._views.twice_steps_interval()
        return {
            "noise/time_ladder": [{"steps": rung.steps, "trace": rung.trace} for rung in ladder.rungs]
            if ladder
            else [],
            "noise/twice_steps_noise": ladder.twice_steps_noise if ladder else math.nan,
            "noise/twice_steps_noise_low": low,
            "noise/twice_steps_noise_high": high,
        }


def _overlaps(sizes: Sequence[int], part: slice) -> list[int]:
    """Returns how many parameters of each layer lie in a part of the flat parameter vector."""
    edges = np.clip(np.cumsum([0, *sizes]), part.start, part.stop)
    return [int(size) for size in np.diff(edges)]


def _segments(steps: int) -> int:
    """Returns the largest power of two, at most SEGMENTS, that divides the steps."""
    return math.gcd(steps, SEGMENTS)
