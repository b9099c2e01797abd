"""Invalid settings are refused; the message names the key and the value."""

import pytest

from rlgns.agents.config import AgentConfig, NetworkConfig


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "dqn"}, "agent.algorithm must be one of ppo, a2c; got 'dqn'"),
        ({"optimizer": "sgd"}, "agent.optimizer must be one of adam, rmsprop; got 'sgd'"),
        ({"rollout_steps": 0}, "agent.rollout_steps must be positive, got 0"),
        ({"epochs": -1}, "agent.epochs must be positive, got -1"),
        ({"minibatches": 0}, "agent.minibatches must be positive, got 0"),
        ({"learning_rate": 0.0}, "agent.learning_rate must be positive, got 0.0"),
        ({"max_grad_norm": 0.0}, "agent.max_grad_norm must be positive, got 0.0"),
        ({"optimizer_epsilon": 0.0}, "agent.optimizer_epsilon must be positive, got 0.0"),
        ({"gamma": 1.1}, "agent.gamma must lie between 0 and 1, got 1.1"),
        ({"gae_lambda": -0.1}, "agent.gae_lambda must lie between 0 and 1, got -0.1"),
        ({"clip": -0.1}, "agent.clip must be zero or positive, got -0.1"),
        ({"algorithm": "a2c", "minibatches": 1}, "agent.algorithm a2c needs agent.epochs 1 .* got 4 and 1"),
    ],
)
def test_agent(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AgentConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channels": (4,)}, "must be equally long and not empty, got 1, 3 and 3 entries"),
        ({"channels": (), "kernels": (), "strides": ()}, "got 0, 0 and 0 entries"),
        ({"strides": (4, 0, 1)}, r"network.strides must all be positive, got \(4, 0, 1\)"),
        ({"hidden": 0}, "network.hidden must be positive, got 0"),
    ],
)
def test_network(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkConfig(**given)  # type: ignore[arg-type]


def test_the_defaults_are_those_of_ppo_on_atari() -> None:
    """As in openai/baselines: baselines/ppo2/defaults.py:atari, then the defaults of ppo2.learn."""
    config = AgentConfig()
    assert (config.rollout_steps, config.epochs, config.minibatches) == (128, 4, 4)
    assert (config.learning_rate, config.anneal, config.clip, config.clip_value) == (2.5e-4, True, 0.1, True)
    assert (config.gamma, config.gae_lambda) == (0.99, 0.95)
    assert (config.value_coefficient, config.entropy_coefficient, config.max_grad_norm) == (0.5, 0.01, 0.5)
    assert (config.optimizer, config.optimizer_epsilon) == ("adam", 1e-5)
