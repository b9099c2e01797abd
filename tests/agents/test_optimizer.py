"""The optimizer of a configuration."""

from dataclasses import replace

import torch

from rlgns.agents.compute.team import Team
from rlgns.agents.optimizer import make_optimizer
from tests.agents.synthetic import small_network
from tests.agents.training import PPO


def test_optimizers_have_the_settings_of_the_configuration() -> None:
    parameters = list(small_network().parameters())
    adam = make_optimizer(parameters, replace(PPO, optimizer_epsilon=3e-4), Team(1))
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["eps"], adam.defaults["betas"], adam.defaults["weight_decay"]) == (3e-4, (0.9, 0.999), 0)
    rmsprop = make_optimizer(parameters, replace(PPO, optimizer="rmsprop", optimizer_epsilon=3e-4), Team(1))
    assert isinstance(rmsprop, torch.optim.RMSprop)
    assert [rmsprop.defaults[name] for name in ("eps", "alpha", "momentum", "centered")] == [3e-4, 0.99, 0, False]
