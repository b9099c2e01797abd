"""The named protocols."""

from __future__ import annotations

import pytest

from rlgns.envs.config import EnvConfig
from rlgns.envs.protocols import PROTOCOLS


def test_the_two_protocols_of_the_field() -> None:
    baselines, machado = PROTOCOLS["baselines"], PROTOCOLS["machado"]
    assert (baselines.sticky_probability, baselines.noop_max, baselines.full_action_space) == (0.0, 30, False)
    assert (machado.sticky_probability, machado.noop_max, machado.full_action_space) == (0.25, 0, True)
    assert baselines.life_loss_ends_return
    assert not machado.life_loss_ends_return
    assert baselines.env_id("MsPacman") == "MsPacmanNoFrameskip-v4"
    assert machado.env_id("Pong") == "ALE/Pong-v5"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_protocol_can_be_configured_and_described(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert protocol.name == name == EnvConfig(protocol=name).protocol
    line = protocol.describe()
    assert "\n" not in line
    assert name in line
    assert type(protocol)(**protocol.as_dict()) == protocol  # type: ignore[arg-type]


def test_another_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"env.protocol must be one of baselines, .*; got 'sticky'"):
        EnvConfig(protocol="sticky")
