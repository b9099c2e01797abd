"""How far back the noise scale looks: against dense linear algebra, over a checkpoint, in a loop with known truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from rlgns.noise import Moments, NoiseScaleMonitor, NoiseScaleTracker
from rlgns.noise.horizon import CAUTION, KAPPAS, LOCAL, MIN_HORIZON_BLOCKS, SHARES, STILL, choose_horizon


def slow_steps(observations: np.ndarray, means: np.ndarray, errors: np.ndarray, clock: np.ndarray) -> list[float]:
    """The walk's variance from each block to the next for kappa = 1: proportional to the local ratio squared."""
    blocks, ratios, behind = len(observations), [], []
    for here in clock:
        near = [n * max(0.0, 1 - abs(here - c) / LOCAL) for n, c in zip(observations, clock, strict=True)]
        ratios.append(max(0.0, float(near @ means[:, 0])) / float(near @ means[:, 1]))
        behind.append(sum(near) ** 2 / sum(k * k / n for k, n in zip(near, observations, strict=True)))
    jumps = [
        (errors[j + 1] - errors[j]) ** 2 / (1 / observations[j] + 1 / observations[j + 1]) for j in range(blocks - 1)
    ]
    square = [r * r + sum(jumps) / (blocks - 1) / max(behind) for r in ratios]
    steps = []
    for j in range(blocks):
        after = min(j + 1, blocks - 1)
        time = clock[j] - (clock[j + 1] if j + 1 < blocks else 0.0)
        steps.append(time * math.sqrt(square[j] * square[after]) / square[-1])
    return steps


def slow_horizon(observations: np.ndarray, means: np.ndarray, longest: float) -> tuple[float, float]:
    """Horizon and drift variance by the covariance matrices of the model itself."""
    blocks, total = len(observations), observations.sum()
    ages = np.array([observations[j + 1 :].sum() + observations[j] / 2 for j in range(blocks)])
    clock = -np.log(1 - 0.999 * ages / total)
    grad_sq, trace = observations @ means / total
    errors = (means[:, 0] - grad_sq / trace * means[:, 1]) / trace
    walked = slow_steps(observations, means, errors, clock)
    since = [sum(walked[j:]) for j in range(blocks)]
    walk, one = np.minimum.outer(since, since), np.ones(blocks)
    logs, variances = [], []
    for kappa in KAPPAS:
        covariance = np.diag(total / observations) + kappa * walk
        inverse = np.linalg.inv(covariance)
        residual = errors - (one @ inverse @ errors) / (one @ inverse @ one)
        square = residual @ inverse @ residual
        determinants = np.linalg.slogdet(covariance)[1] + math.log(one @ inverse @ one)
        prior = math.log(STILL) if kappa == 0 else 0.0
        logs.append(prior - 0.5 * (determinants + (blocks - 1) * math.log(square)))
        variances.append(square / (blocks - 1))
    posterior = np.exp(np.array(logs) - max(logs))
    posterior *= np.array(variances) / posterior.sum()
    found = []
    for horizon in [longest, *(share * total for share in SHARES if share * blocks >= MIN_HORIZON_BLOCKS)]:
        weights = observations * np.exp(-ages / min(horizon, longest))
        weights /= weights.sum()
        noise, drift = posterior.sum() * np.sum(weights**2 * total / observations), weights @ walk @ weights
        drift *= posterior @ KAPPAS
        found.append((noise + CAUTION * drift, min(horizon, longest), drift * trace**2))
    return min(found)[1:]


@pytest.mark.parametrize("blocks", [4, 20, 64])
@pytest.mark.parametrize("drift", [0.0, 1.0])
@pytest.mark.parametrize("longest", [math.inf, 500.0])
def test_equals_dense_linear_algebra(blocks: int, drift: float, longest: float) -> None:
    rng = np.random.default_rng([blocks, int(drift)])
    observations = rng.uniform(100, 300, blocks)
    grad_sq = rng.normal(1, 0.3, blocks) + drift * np.linspace(3, 0, blocks)
    means = np.stack([grad_sq, rng.normal(30, 1, blocks)], axis=1)
    found = choose_horizon(observations, means, longest)
    assert (found.observations, found.drift_variance) == pytest.approx(slow_horizon(observations, means, longest))


def test_too_little_or_nothing_that_scatters_leaves_the_longest_horizon() -> None:
    few = np.full(3, 10.0)
    assert choose_horizon(few, np.ones((3, 2)), 50.0).observations == 50.0
    constant = choose_horizon(np.full(20, 10.0), np.ones((20, 2)), math.inf)
    assert (constant.observations, constant.drift_variance) == (math.inf, 0.0)


def stream(count: int, seed: int = 0) -> list[Moments]:
    """|G|^2 falls to a fifth at half of the stream; trace 30."""
    rng = np.random.default_rng(seed)
    truth = np.where(np.arange(count) < count // 2, 1.0, 0.2)
    return [Moments(grad_sq=float(g), trace=30.0, groups=8, observations_per_group=4) for g in rng.normal(truth, 0.2)]


def test_after_a_jump_it_looks_back_to_the_jump_and_a_fixed_horizon_does_not() -> None:
    follows, fixed = NoiseScaleTracker(follows_run=True), NoiseScaleTracker()
    for moments in stream(400):
        follows.update(moments)
        fixed.update(moments)
    now, old = follows.estimate(), fixed.estimate()
    assert now.now_low < 150 < now.now_high
    assert now.now_low <= now.low and now.high <= now.now_high
    assert now.horizon_observations < 100 * 32
    assert not old.low < 150 < old.high
    assert (old.now_low, old.now_high, old.horizon_observations) == (old.low, old.high, 400 * 32)


def test_the_horizon_is_part_of_the_state_and_an_older_state_gets_one() -> None:
    whole, first, second, older = (NoiseScaleTracker(1e6, follows_run=True) for _ in range(4))
    batches = stream(300)
    for place, moments in enumerate(batches):
        whole.update(moments)
        (first if place < 173 else second).update(moments)
        if place == 172:
            state = json.loads(json.dumps(first.state_dict()))
            second.load_state_dict(state)
            older.load_state_dict({name: state[name] for name in ("sums", "ladder", "updates", "skipped")})
    assert second.state_dict() == whole.state_dict()
    assert second.estimate() == whole.estimate()
    assert older.estimate().horizon_observations < 173 * 32
    empty = NoiseScaleTracker(follows_run=True)
    empty.load_state_dict(NoiseScaleTracker(follows_run=True).state_dict())
    assert math.isnan(empty.estimate().noise_scale)


def test_a_loop_without_a_setting_says_what_holds_now() -> None:
    """Linear regression under Adam: the noise scale at every step is known, and grows a hundredfold and more."""
    dimension, generator = 40, torch.Generator().manual_seed(0)
    model = torch.nn.Linear(dimension, 1, bias=False).double()
    target = torch.ones(dimension, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    monitor, plain = NoiseScaleMonitor(model, groups=8), NoiseScaleTracker()
    found = {}
    for step in range(1, 501):
        # loss (x (w - w*) - noise)^2 with x normal: G = 2 d, E |g|^2 = 4 (|d|^2 (dimension + 2) + dimension)
        away = float(torch.sum((model.weight.detach() - target) ** 2))
        truth = (4 * (away * (dimension + 2) + dimension) - 4 * away) / (4 * away)
        with monitor.step(observations=32):
            for _ in range(8):
                x = torch.randn(4, dimension, generator=generator, dtype=torch.float64)
                y = x @ target + torch.randn(4, generator=generator, dtype=torch.float64)
                monitor.backward(torch.nn.functional.mse_loss(model(x).squeeze(1), y))
        assert monitor.moments is not None
        plain.update(monitor.moments)
        if step in (50, 150, 500):
            now, old = monitor.estimate(), plain.estimate()
            found[step] = (now.now_low <= truth <= now.now_high, old.low <= truth <= old.high)
        optimizer.step()
    assert sum(covered for covered, _ in found.values()) >= 2, "12 such runs cover 32 of 36"
    assert not found[150][1] and not found[500][1], "plain sums describe the start"
