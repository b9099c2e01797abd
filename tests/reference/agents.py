"""Slow, obvious twins of what the packages compute fast: plain loops in float64, no cleverness."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.stats import f, trim_mean

from rlgns.agents.config import AgentConfig
from rlgns.agents.rollout import Rollout

# ---- convolutions in bfloat16: every position by itself ------------------------------------------------------------


def to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Rounds to the nearest number that bfloat16 has."""
    return torch.from_numpy(np.asarray(numbers, np.float64)).to(torch.bfloat16).double().numpy()


def slow_convolutions(
    images: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray, int]], gradient: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rectified convolutions of images [n, channels, side, side], and the gradients by every weight and bias.

    Each layer is weights [out, in, k, k], biases and stride. Between layers, and on the way back, all is rounded to
    bfloat16, as are the weights; sums are exact. `gradient` gives that by the last outputs [n, out, side, side].
    """
    inputs = [images]
    for weight, bias, stride in layers:
        kernel, side = weight.shape[2], (inputs[-1].shape[2] - weight.shape[2]) // stride + 1
        outputs = np.zeros((len(images), len(weight), side, side))
        for y, x in itertools.product(range(side), repeat=2):
            seen = inputs[-1][:, :, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            outputs[:, :, y, x] = np.einsum("ncij,ocij->no", seen, to_bfloat16(weight)) + bias
        inputs.append(to_bfloat16(np.maximum(outputs, 0)))
    back = np.where(inputs[-1] > 0, to_bfloat16(gradient(inputs[-1])), 0)
    gradients: list[np.ndarray] = []
    for (weight, _, stride), seen in zip(reversed(layers), reversed(inputs[:-1]), strict=True):
        kernel, by_weight, by_input = weight.shape[2], np.zeros(weight.shape), np.zeros(seen.shape)
        for y, x in itertools.product(range(back.shape[2]), repeat=2):
            rows, columns = slice(y * stride, y * stride + kernel), slice(x * stride, x * stride + kernel)
            by_weight += np.einsum("no,ncij->ocij", back[:, :, y, x], seen[:, :, rows, columns])
            by_input[:, :, rows, columns] += np.einsum("no,ocij->ncij", back[:, :, y, x], to_bfloat16(weight))
        gradients[:0] = [by_weight, back.sum((0, 2, 3))]
        back = np.where(seen > 0, to_bfloat16(by_input), 0)
    return inputs[-1], gradients


# ---- noise: one gradient per observation, sums written out ---------------------------------------------------------


def observation_gradients(model: torch.nn.Module, losses: Callable[[int], torch.Tensor], count: int) -> np.ndarray:
    """[observations, parameters] float64: one autograd.grad call for the loss of each observation."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows: list[np.ndarray] = []
    for i in range(count):
        loss = losses(i)
        if not loss.requires_grad:  # PPO's clip: this observation pulls at nothing
            rows.append(np.zeros(sum(p.numel() for p in parameters)))
            continue
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        flat = [
            (torch.zeros_like(p) if g is None else g).double().flatten()
            for p, g in zip(parameters, gradients, strict=True)
        ]
        rows.append(torch.cat(flat).numpy())
    return np.stack(rows)


def slow_moments(groups: list[np.ndarray]) -> tuple[float, float]:
    """(grad_sq, trace) of groups of per-observation gradients [observations, parameters], all of one size.

    grad_sq by its definition, the mean inner product of the means of two different groups; trace as the
    sample variance of the group means times the observations in a group.
    """
    means = []
    for group in groups:
        total = np.zeros(group.shape[1])
        for row in group:
            total = total + row
        means.append(total / len(group))
    products = [float(np.dot(a, b)) for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
    centre = sum(means) / len(means)
    spread = [float(np.sum((mean - centre) ** 2)) for mean in means]
    return sum(products) / len(products), len(groups[0]) * sum(spread) / (len(means) - 1)


def slow_hessian(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor]) -> np.ndarray:
    """[parameters, parameters]: every second derivative, one entry of the gradient differentiated at a time."""
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
    rows = []
    for entry in torch.cat([gradient.flatten() for gradient in gradients]):
        second = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in second]).numpy())
    return np.stack(rows)


def slow_decayed_means(
    values: list[list[float]], observations: list[int], horizon: float | None
) -> tuple[list[float], float]:
    """Weighted means of several quantities and the sum of weights, every weight written out from its age."""
    weights = []
    for i in range(len(observations)):
        age = sum(observations[i + 1 :])
        weights.append(observations[i] * (1.0 if horizon is None else math.exp(-age / horizon)))
    means = []
    for column in range(len(values[0])):
        means.append(sum(w * value[column] for w, value in zip(weights, values, strict=True)) / sum(weights))
    return means, sum(weights)


def slow_fieller(
    numerator: float, denominator: float, covariance: np.ndarray, quantile: float, candidates: np.ndarray
) -> np.ndarray:
    """Which of the candidate ratios Fieller's test accepts, one after the other."""
    accepted = []
    for ratio in candidates:
        difference = numerator - ratio * denominator
        variance = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
        accepted.append(difference**2 <= quantile**2 * variance)
    return np.array(accepted)


# ---- critical: the fit by a general solver, its interval by trying every value, averages step by step ----------------


def slow_pareto(batch: np.ndarray, steps: np.ndarray) -> tuple[float, float, float]:
    """(B_crit, S_min, sum of squares) of least squares in log space: the best of many starts of a general solver."""

    def residuals(p: np.ndarray) -> np.ndarray:
        return np.log(steps) - p[0] - np.log1p(np.exp(p[1]) / batch)

    starts = [(math.log(steps.min()), math.log(b)) for b in batch]
    best = min((least_squares(residuals, start, xtol=1e-14, ftol=1e-14) for start in starts), key=lambda fit: fit.cost)
    return float(np.exp(best.x[1])), float(np.exp(best.x[0])), 2 * float(best.cost)


def slow_pareto_interval(
    batch: np.ndarray, steps: np.ndarray, critical: np.ndarray, level: float
) -> list[tuple[float, float]]:
    """[(low, high)] of B_crit, S_min and E_min: the extremes over all pairs on a grid that F does not reject."""
    least = slow_pareto(batch, steps)[2]
    bound = least * (1 + f.ppf(level, 1, len(batch) - 2) / (len(batch) - 2))
    accepted = []
    for b in critical:
        around = float(np.mean(np.log(steps) - np.log1p(b / batch)))
        for log_min_steps in around + np.linspace(-0.4, 0.4, 161):
            squares = np.sum((np.log(steps) - log_min_steps - np.log1p(b / batch)) ** 2)
            if squares <= bound:
                accepted.append((b, math.exp(log_min_steps), b * math.exp(log_min_steps)))
    return [(float(min(column)), float(max(column))) for column in zip(*accepted, strict=True)]


def slow_run_average(rows: list[dict[str, float]], batch: float) -> float:
    """Sum w N / sum w over rows of known noise scale, w = steps / (1 + N / B), one row after the other."""
    above = below = 0.0
    for row in rows:
        noise_scale = row["trace"] / row["grad_sq"]
        weight = row["steps"] / (1 + noise_scale / batch)
        above += weight * noise_scale
        below += weight
    return above / below


def slow_gamma(rows: list[dict[str, float]], exchange_rate: float) -> float:
    """(S/S_min - 1) (E/E_min - 1) of a run at B = sqrt(r N), step by step through its full-batch steps.

    Rows: ds full-batch steps, noise_scale meanwhile. At B one of them takes 1 + N/B steps and N + B observations.
    """
    steps = observations = min_steps = min_observations = 0.0
    for row in rows:
        batch = math.sqrt(exchange_rate * row["noise_scale"])
        steps += row["ds"] * (1 + row["noise_scale"] / batch)
        observations += row["ds"] * (row["noise_scale"] + batch)
        min_steps += row["ds"]
        min_observations += row["ds"] * row["noise_scale"]
    return (steps / min_steps - 1) * (observations / min_observations - 1)


def slow_next_envs(target: dict[str, float], now: int, batch: float, tiers: list[int], held: int) -> int:
    """The rule of the adaptive batch, sentence by sentence. `target`: best (absent where not resolved), low, high."""
    if held < 8:
        return now
    for tier in sorted(tiers, reverse=True):
        if tier == 2 * now:
            centre = target.get("best", target["low"])
            if math.log2(centre / batch) > 0.75 and target["low"] > batch:
                return tier
        if 2 * tier == now and "best" in target and math.log2(batch / target["best"]) > 0.75 and target["high"] < batch:
            return tier
    return now


def slow_iqm(scores: dict[str, list[float]]) -> float:
    """Interquartile mean as the authors of rliable compute it: SciPy's trimmed mean of all runs."""
    return float(trim_mean([score for runs in scores.values() for score in runs], 0.25))


def slow_two_batch(small: list[np.ndarray], big: np.ndarray, b: int, total: int) -> tuple[float, float]:
    """(grad_sq, trace) that solve E|g_n|^2 = |G|^2 + trace / n at n = b (mean over `small`) and n = total."""
    left = sum(float(np.dot(g, g)) for g in small) / len(small)
    grad_sq, trace = np.linalg.solve([[1.0, 1 / b], [1.0, 1 / total]], [left, float(np.dot(big, big))])
    return float(grad_sq), float(trace)


def slow_gpt_neox(steps: list[np.ndarray], batch: int) -> tuple[float, float]:
    """(grad_sq, trace) as GPT-NeoX gets them from one window of steps: a buffer that is summed, then the last alone."""
    buffer = np.zeros_like(steps[0])
    for gradient in steps:
        buffer = buffer + gradient
    return slow_two_batch([steps[-1]], buffer / len(steps), batch, batch * len(steps))


def slow_across_steps(steps: list[np.ndarray], batch: int) -> tuple[float, float]:
    """(grad_sq, trace) from inner products of neighbouring steps' gradients."""
    neighbours = [float(np.dot(first, second)) for first, second in itertools.pairwise(steps)]
    grad_sq = sum(neighbours) / len(neighbours)
    return grad_sq, batch * (sum(float(np.dot(g, g)) for g in steps) / len(steps) - grad_sq)


def slow_brute_force(rollouts: np.ndarray, steps: int) -> tuple[float, float]:
    """(grad_sq, trace) from mean gradients [sets, rounds, environments, parameters]: every pair of two sets."""
    sets = [[gradient for played in rollouts[s] for gradient in played] for s in range(len(rollouts))]
    products = [
        float(np.dot(a, b))
        for i, mine in enumerate(sets)
        for j, other in enumerate(sets)
        if i != j
        for a in mine
        for b in other
    ]
    grad_sq = sum(products) / len(products)
    squares = [float(np.dot(a, a)) for mine in sets for a in mine]
    return grad_sq, steps * (sum(squares) / len(squares) - grad_sq)


# ---- agents: stacks, advantages, loss and one whole iteration, observation by observation ---------------------------


def slow_stacks(frames: np.ndarray, begins: np.ndarray, stack: int) -> np.ndarray:
    """Stacks [time, env, stack, H, W] from frames [time, env, H, W], looked up one frame at a time.

    begins[t, n]: frame t is the first of a game. What lies before a game's first frame is zero.
    """
    stacks = np.zeros((*frames.shape[:2], stack, *frames.shape[2:]), frames.dtype)
    for t in range(frames.shape[0]):
        for env in range(frames.shape[1]):
            source = t
            for place in range(stack - 1, -1, -1):
                stacks[t, env, place] = frames[source, env]
                if begins[source, env] or source == 0:
                    break
                source -= 1
    return stacks


def slow_advantages(rollout: Rollout, gamma: float, gae_lambda: float) -> np.ndarray:
    """[time, env] float64: the sum of (gamma lambda)^k td_error_{t+k} up to the end, written out for every t."""
    steps, envs = rollout.rewards.shape
    advantages = np.zeros((steps, envs))
    for env in range(envs):
        for start in range(steps):
            weight = 1.0
            for t in range(start, steps):
                reward = float(np.sign(rollout.rewards[t, env]))
                if rollout.terminal[t, env]:
                    next_value = 0.0
                elif rollout.truncated[t, env]:
                    next_value = float(rollout.final_values[t, env])
                else:
                    next_value = float(rollout.values[t + 1, env])
                advantages[start, env] += weight * (reward + gamma * next_value - float(rollout.values[t, env]))
                if rollout.terminal[t, env] or rollout.truncated[t, env]:
                    break
                weight *= gamma * gae_lambda
    return advantages


def slow_returns(rollout: Rollout, gamma: float) -> np.ndarray:
    """[time, env] float64: discounted rewards up to the end, and the value there unless the end is terminal."""
    steps, envs = rollout.rewards.shape
    returns = np.zeros((steps, envs))
    for env in range(envs):
        for start in range(steps):
            discount = 1.0
            for t in range(start, steps):
                returns[start, env] += discount * float(np.sign(rollout.rewards[t, env]))
                discount *= gamma
                if rollout.terminal[t, env]:
                    break
                if rollout.truncated[t, env]:
                    returns[start, env] += discount * float(rollout.final_values[t, env])
                    break
                if t == steps - 1:
                    returns[start, env] += discount * float(rollout.values[steps, env])
    return returns


def slow_loss(
    logits: torch.Tensor,
    value: torch.Tensor,
    *,
    action: int,
    log_prob: float,
    old_value: float,
    advantage: float,
    target: float,
    config: AgentConfig,
) -> dict[str, torch.Tensor]:
    """The loss of one observation and its parts; logits [actions], value []."""
    probabilities = torch.exp(logits) / torch.exp(logits).sum()
    ratio = probabilities[action] / math.exp(log_prob)
    if config.algorithm == "a2c":
        objective = ratio * advantage
    elif advantage >= 0:  # the gain is capped above ...
        objective = ratio * advantage if ratio < 1 + config.clip else logits.new_tensor((1 + config.clip) * advantage)
    else:  # ... and the loss below
        objective = ratio * advantage if ratio > 1 - config.clip else logits.new_tensor((1 - config.clip) * advantage)
    error = (value - target) ** 2
    moved = value.item() - old_value
    if config.algorithm == "ppo" and config.clip_value and abs(moved) > config.clip:
        bound = old_value + math.copysign(config.clip, moved)
        if (bound - target) ** 2 > error.item():
            error = logits.new_tensor((bound - target) ** 2)
    entropy = -(probabilities * torch.log(probabilities)).sum()
    return {
        "total": -objective - config.entropy_coefficient * entropy + config.value_coefficient * 0.5 * error,
        "policy": -objective,
        "value": 0.5 * error,
        "entropy": entropy,
        "approx_kl": (ratio - 1) - torch.log(ratio),
        "clip_fraction": (abs(ratio - 1) > config.clip).double(),
    }


class SlowRecord:
    """One iteration's rollouts as a flat list of observations in the order `step * envs + env`, float64."""

    def __init__(self, rollouts: list[Rollout], observations: list[np.ndarray], config: AgentConfig) -> None:
        """`observations`: of each rollout the stacks [time, env, stack, H, W]."""
        advantages = np.concatenate([slow_advantages(r, config.gamma, config.gae_lambda) for r in rollouts], axis=1)
        values = np.concatenate([r.values[:-1].astype(np.float64) for r in rollouts], axis=1)
        self.targets = (advantages + values).reshape(-1)
        if config.normalise_advantages:
            mean = advantages.sum() / advantages.size
            advantages = (advantages - mean) / math.sqrt(((advantages - mean) ** 2).sum() / (advantages.size - 1))
        self.advantages, self.values = advantages.reshape(-1), values.reshape(-1)
        self.actions = np.concatenate([r.actions for r in rollouts], axis=1).reshape(-1)
        self.log_probs = np.concatenate([r.log_probs for r in rollouts], axis=1).reshape(-1)
        stacks = np.concatenate(observations, axis=1)
        self.observations = torch.from_numpy(stacks.reshape(-1, *stacks.shape[2:]))
        self.config = config

    def loss(self, network: torch.nn.Module, index: int) -> dict[str, torch.Tensor]:
        """The loss of one observation and its parts."""
        logits, values = network(self.observations[index : index + 1])
        return slow_loss(
            logits[0],
            values[0],
            action=int(self.actions[index]),
            log_prob=float(self.log_probs[index]),
            old_value=float(self.values[index]),
            advantage=float(self.advantages[index]),
            target=float(self.targets[index]),
            config=self.config,
        )

    def gradients(self, network: torch.nn.Module, indices: np.ndarray, part: str = "total") -> np.ndarray:
        """[len(indices), parameters], of the loss or a part of it: one autograd call for each observation."""
        return observation_gradients(network, lambda i: self.loss(network, int(indices[i]))[part], len(indices))


def slow_second_moments(gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """[parameters] running mean of squares of the gradients [parameters], each weight written out; starts at zero."""
    total = np.zeros_like(gradients[0])
    for age, gradient in enumerate(reversed(gradients)):
        total = total + (1 - decay) * decay**age * gradient**2
    return total


def slow_update(
    network: torch.nn.Module, record: SlowRecord, batches: list[np.ndarray], learning_rate: float
) -> dict[str, float]:
    """Trains a float64 network in place, one optimizer step per batch, with optimizers written from their papers."""
    config = record.config
    parameters = list(network.parameters())
    size = sum(p.numel() for p in parameters)
    first, second = np.zeros(size), np.zeros(size)
    sums: dict[str, float] = {}
    for step, batch in enumerate(batches, start=1):
        losses = [record.loss(network, int(index)) for index in batch]
        for parts in losses:
            for name, part in parts.items():
                sums[name] = sums.get(name, 0.0) + part.item() / len(batch) / len(batches)
        gradient = observation_gradients(network, [part["total"] for part in losses].__getitem__, len(batch)).mean(
            axis=0
        )
        norm = math.sqrt((gradient**2).sum())
        sums["grad_norm"] = sums.get("grad_norm", 0.0) + norm / len(batches)
        if norm > config.max_grad_norm:
            gradient = gradient * config.max_grad_norm / norm
        if config.optimizer == "adam":
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            root = np.sqrt(second / (1 - 0.999**step))
            change = first / (1 - 0.9**step) / (root + config.optimizer_epsilon)
        else:
            second = 0.99 * second + 0.01 * gradient**2
            change = gradient / (np.sqrt(second) + config.optimizer_epsilon)
        with torch.no_grad():
            at = 0
            for p in parameters:
                p.sub_(learning_rate * torch.from_numpy(change[at : at + p.numel()]).view_as(p))
                at += p.numel()
    return sums


# ---- whether runs are of one kind -----------------------------------------------------------------------------------


def slow_permutation_p(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of relabellings of runs (rows) whose largest difference of means, in sd of all, is not below ours."""
    runs, count = [*ours, *theirs], len(ours)

    def largest(chosen: tuple[int, ...]) -> float:
        differences = []
        for column in range(len(runs[0])):
            values = [run[column] for run in runs]
            one = [values[i] for i in range(len(runs)) if i in chosen]
            other = [values[i] for i in range(len(runs)) if i not in chosen]
            differences.append(abs(sum(one) / len(one) - sum(other) / len(other)) / float(np.std(values)))
        return max(differences)

    real = largest(tuple(range(count)))
    all_ways = [largest(way) for way in itertools.combinations(range(len(runs)), count)]
    return sum(way >= real * (1 - 1e-9) for way in all_ways) / len(all_ways)
