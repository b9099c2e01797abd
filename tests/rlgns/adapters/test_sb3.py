"""Stable-Baselines3's callback: its loss is the host's, its moments a slow twin's, training is bit for bit the same."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlgns.config.calibrations import calibration_for
from rlgns.metrics.registry import KEYS
from tests.reference.noise import slow_moments

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")

from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rlgns.adapters.groups import split
from rlgns.adapters.measurement import AT_ROLLOUT
from rlgns.adapters.sb3 import NoiseScaleCallback
from rlgns.adapters.sb3_loss import environments, rollout_loss
from tests.rlgns.adapters.bandit import ContextBandit


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Images(gymnasium.Env):
    """Images and a vector in a dictionary, three switches as the action, episodes of length one to four."""

    observation_space = spaces.Dict(
        {"image": spaces.Box(0, 255, (1, 36, 36), np.uint8), "vector": spaces.Box(-1, 1, (3,), np.float32)}
    )
    action_space = spaces.MultiBinary(3)

    def observation(self) -> dict[str, np.ndarray]:
        image = self.np_random.integers(0, 256, (1, 36, 36), dtype=np.uint8)
        return {"image": image, "vector": self.np_random.uniform(-1, 1, 3).astype(np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation(), float(np.sum(action)), bool(self.np_random.random() < 0.4), False, {}


class DropoutNetwork(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 8)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2), torch.nn.Tanh()
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layers(observations)


SMALL = {"n_steps": 16, "seed": 3, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
CASES = {
    "PPO on CartPole": (PPO, "MlpPolicy", "CartPole-v1", {**SMALL, "batch_size": 32, "n_epochs": 2, "ent_coef": 0.01}),
    "PPO, value clip, gSDE, continuous": (
        PPO,
        "MlpPolicy",
        "Pendulum-v1",
        {**SMALL, "batch_size": 32, "n_epochs": 2, "clip_range_vf": 0.2, "use_sde": True, "ent_coef": 0.01},
    ),
    "A2C on CartPole": (A2C, "MlpPolicy", "CartPole-v1", {**SMALL, "ent_coef": 0.01}),
    "PPO on images and vectors": (
        PPO,
        "MultiInputPolicy",
        Images,
        {
            **SMALL,
            "batch_size": 32,
            "n_epochs": 1,
            "policy_kwargs": {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 8}},
        },
    ),
    "PPO, dropout and batch norm": (
        PPO,
        "MlpPolicy",
        "CartPole-v1",
        {
            **SMALL,
            "batch_size": 32,
            "n_epochs": 2,
            "policy_kwargs": {"net_arch": [8], "features_extractor_class": DropoutNetwork},
        },
    ),
}


def build(case: str, n_envs: int = 4, **more: Any) -> Any:
    kind, policy, env, settings = CASES[case]
    return kind(policy, make_vec_env(env, n_envs=n_envs, seed=11), **{**settings, **more})


def played(model: Any) -> None:
    """Plays one rollout, without training."""
    _, callback = model._setup_learn(10**6, None, True, "test", False)
    callback.on_training_start({}, {})
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)


def quiet(**more: Any) -> NoiseScaleCallback:
    return NoiseScaleCallback(**{"overhead": 0.9, "verbose": 0, **more})


@pytest.mark.parametrize("case", [case for case in CASES if "dropout" not in case])
def test_the_loss_is_the_hosts(case: str) -> None:
    """One step of the host over the whole rollout, with plain SGD, moves parameters by our gradient."""
    whole = {} if CASES[case][0] is A2C else {"batch_size": 64, "n_epochs": 1}
    model = build(case, max_grad_norm=math.inf, learning_rate=1.0, **whole)
    model.policy.optimizer = torch.optim.SGD(model.policy.parameters(), lr=1.0)
    played(model)
    parameters = [p for p in model.policy.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in parameters]
    loss = rollout_loss(model, ppo=isinstance(model, PPO))
    ours = torch.autograd.grad(loss(np.arange(64)), parameters, allow_unused=True, materialize_grads=True)
    model.train()
    scale = max(float(gradient.abs().max()) for gradient in ours)
    assert scale > 1e-4
    for old, new, gradient in zip(before, parameters, ours, strict=True):
        torch.testing.assert_close(old - new.detach(), gradient, rtol=1e-3, atol=2e-5 * max(1.0, scale))


@pytest.mark.parametrize("case", ["PPO on CartPole", "A2C on CartPole"])
def test_moments_are_those_of_a_twin_that_holds_every_observations_gradient(case: str) -> None:
    model, callback = build(case), quiet(groups=2)
    played(model)
    callback.init_callback(model)
    callback._measure(callback._started())
    loss, parameters = rollout_loss(model, ppo=isinstance(model, PPO)), list(model.policy.parameters())

    def gradient(index: int) -> np.ndarray:
        found = torch.autograd.grad(loss(np.array([index])), parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten() for g in found]).double().numpy()

    groups = [np.stack([gradient(i) for i in group]) for group in split(environments(model), 2)]
    assert [len(group) for group in groups] == [32, 32]
    grad_sq, trace = slow_moments(groups)
    entries = callback._entries
    assert entries["noise/at_rollout/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)
    assert entries["noise/at_rollout/trace"] == pytest.approx(trace, rel=1e-4)


def test_passes_over_parts_of_a_group_change_nothing() -> None:
    """11 environments in 8 groups, in passes of at most 5 observations."""
    model = build("PPO on CartPole", n_envs=11)
    played(model)
    found = []
    for chunk in (10**6, 5):
        callback = quiet()
        callback.init_callback(model)
        measurement = callback._started()
        measurement.measure(
            split(environments(model), 8),
            rollout_loss(model, ppo=True),
            chunk_observations=chunk,
            batch_observations=32,
            learning_rate=1e-3,
            observations=0,
        )
        found.append(measurement.row())
    for name in ("grad_sq", "trace"):
        assert found[0][f"noise/at_rollout/{name}"] == pytest.approx(found[1][f"noise/at_rollout/{name}"], rel=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_training_is_bit_for_bit_the_same(case: str) -> None:
    states, measured = [], 0.0
    for callback in (None, quiet()):
        model = build(case)
        model.learn(64 * 4, callback=callback)
        draws = (torch.rand(1).item(), float(np.random.random()))
        states.append((model.policy.state_dict(), model.policy.optimizer.state_dict()["state"], draws))
        measured = callback.estimate().updates if callback else 0
    (plain, optimizer, draws), (ours, our_optimizer, our_draws) = states
    assert measured >= 2
    assert draws == our_draws
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    for key, state in optimizer.items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(our_optimizer[key][n])) for n, v in state.items())


class Clock:
    """A second per observation and pass, forward or backward, of a policy."""

    def __init__(self) -> None:
        self.played = self.measured = self.trained = 0.0
        self.measuring = False

    def __call__(self) -> float:
        return self.played + self.measured + self.trained

    def count(self, policy: Any, callback: NoiseScaleCallback) -> None:
        forward, evaluate, measure = policy.forward, policy.evaluate_actions, callback._measure

        def counted_forward(observations: torch.Tensor, *more: Any) -> Any:
            self.played += len(observations)
            return forward(observations, *more)

        def counted_evaluate(observations: torch.Tensor, actions: torch.Tensor) -> Any:
            cost = 3.0 * len(observations)
            self.measured += cost * self.measuring
            self.trained += cost * (not self.measuring)
            return evaluate(observations, actions)

        def flagged(measurement: Any) -> None:
            self.measuring = True
            measure(measurement)
            self.measuring = False

        policy.forward, policy.evaluate_actions, callback._measure = counted_forward, counted_evaluate, flagged


@pytest.mark.parametrize(("overhead", "iterations"), [(0.0, 3), (0.1, 40)])
def test_passes_stay_inside_the_budget(overhead: float, iterations: int) -> None:
    clock = Clock()
    model, callback = build("PPO on CartPole"), quiet(overhead=overhead, clock=clock)
    clock.count(model.policy, callback)
    model.learn(64 * iterations, callback=callback)
    assert clock.measured <= overhead * clock()
    assert clock.measured >= 0.8 * overhead * clock() - 3 * 64
    assert clock.trained == 3 * 64 * iterations * 2


def test_the_logger_gets_documented_entries_and_the_verdict_is_printed(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build("PPO on CartPole")
    model.set_logger(configure(str(tmp_path), ["json", "csv", "stdout"]))
    model.learn(64 * 12, callback=NoiseScaleCallback(overhead=0.9))
    rows = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    logged = {name for row in rows for name in row if name.startswith(("noise/", "critical_batch/"))}
    documented = set(KEYS)
    assert logged <= documented
    assert {"noise/at_rollout/scale_low", "noise/updates", "noise/overhead_fraction"} <= logged
    assert {"critical_batch/low", "critical_batch/calibration", "noise/run_average_low"} <= logged
    assert rows[-1]["noise/updates"] >= 8
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Critical batch ") and "calibrated on A2C" in last


def test_the_critical_batch_of_now_is_predicted_from_the_interval_of_now() -> None:
    model, callback = build("A2C on CartPole"), quiet()
    model.learn(64 * 12, callback=callback)
    row, estimate = callback._started().row(), callback.estimate()
    assert estimate.now_low < estimate.low  # drift widens it
    calibration = calibration_for(algorithm="a2c", epochs=1, definition=AT_ROLLOUT)
    scale, high = (estimate.noise_scale, estimate.now_high) if estimate.resolved else (math.nan, math.inf)
    expected = calibration.predict(scale, estimate.now_low, high)
    assert (row["critical_batch/now_low"], row["critical_batch/now_high"]) == (expected.low, expected.high)


def test_a_state_is_restored_and_training_continues_its_sums() -> None:
    model, first, second = build("A2C on CartPole"), quiet(), quiet()
    model.learn(64 * 6, callback=first)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.init_callback(model)
    assert second.estimate() == first.estimate()
    assert second.verdict() == first.verdict()
    model.learn(64 * 4, callback=second)
    assert second.estimate().updates > first.estimate().updates


def test_one_environment_is_refused_before_it_plays() -> None:
    model = build("PPO on CartPole", n_envs=1)
    with pytest.raises(ValueError, match=r"^NoiseScaleCallback needs at least 2 environments, got 1: use make_vec_env"):
        model.learn(64, callback=quiet())
    assert model.num_timesteps == 0


def test_another_algorithm_is_refused_before_it_plays() -> None:
    class OwnLoss(PPO):
        def train(self) -> None:
            super().train()

    envs = make_vec_env("CartPole-v1", n_envs=2)
    for model in (OwnLoss("MlpPolicy", envs, n_steps=8, batch_size=8), DQN("MlpPolicy", envs)):
        with pytest.raises(ValueError, match=f"{type(model).__name__} trains otherwise: remove the callback"):
            model.learn(64, callback=quiet())


def test_a_buffer_without_the_hook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("PPO on CartPole")
    monkeypatch.delattr(BaseBuffer, "swap_and_flatten")
    with pytest.raises(
        ValueError, match=r"^RolloutBuffer of Stable-Baselines3 2\.\S+ has no swap_and_flatten: install"
    ):
        model.learn(64, callback=quiet())


@pytest.mark.parametrize("settings", [{"groups": 1}, {"overhead": 1.0}, {"overhead": -0.1}, {"level": 0.0}])
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"got (1|1\.0|-0\.1|0\.0)$"):
        NoiseScaleCallback(**settings)


def test_rewards_that_are_nan_are_not_counted_and_training_goes_on() -> None:
    envs = make_vec_env(lambda: ContextBandit(bad=math.nan), n_envs=4)
    model = A2C("MlpPolicy", envs, n_steps=4, seed=0, device="cpu", max_grad_norm=0.0, learning_rate=0.0)
    callback = quiet()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        played(model)
        callback.init_callback(model)
        for _ in range(3):
            callback._measure(callback._started())
    assert [str(w.message) for w in caught if "NaN or infinite" in str(w.message)] == [
        "the gradient of a rollout is NaN or infinite and is not counted; look at rewards and learning rate"
    ]
    assert callback.estimate().updates == 0 and callback.estimate().skipped == 3


def test_episodes_of_length_one_are_measured() -> None:
    model = PPO("MlpPolicy", make_vec_env(ContextBandit, n_envs=4), n_steps=4, batch_size=8, seed=0, device="cpu")
    callback = quiet()
    model.learn(16 * 8, callback=callback)
    assert callback.estimate().updates >= 4


def test_nothing_measured_yet_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"measured nothing yet: give it to model\.learn"):
        quiet().estimate()
