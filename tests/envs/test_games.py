"""The table of games."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlgns.envs.config import EnvConfig
from rlgns.envs.games import GAMES, find, human_normalised
from rlgns.envs.vector import AtariEnvs

SMALL = EnvConfig(image_size=16, frame_stack=1, stagger_steps=0)


def test_the_benchmark_has_57_games_and_the_paper_goals_for_seven() -> None:
    assert len(GAMES) == 57
    assert all(name == game.name for name, game in GAMES.items())
    with_goals = {name for name, game in GAMES.items() if game.score_goals}
    assert with_goals == {"alien", "beam_rider", "breakout", "pong", "qbert", "seaquest", "space_invaders"}
    for game in GAMES.values():
        assert game.score_goals == tuple(sorted(set(game.score_goals)))
        assert game.human_score > game.random_score
        assert game.cleanrl_score is not None
        assert math.isfinite(game.cleanrl_score)


@pytest.mark.parametrize("name", GAMES)
def test_every_game_plays(name: str) -> None:
    envs = AtariEnvs(name, SMALL, num_envs=1, seed=0)
    assert 3 <= envs.num_actions <= 18
    assert envs.reset().shape == (1, 1, 16, 16)
    step = envs.step(np.zeros(1, np.int64))
    assert not step.life_lost.any()
    assert not step.terminated.any()
    envs.close()


def test_human_normalised_score() -> None:
    assert human_normalised("pong", -20.7) == 0.0
    assert human_normalised("pong", 14.6) == 1.0
    assert human_normalised("breakout", 430.09) == pytest.approx((430.09 - 1.7) / (30.5 - 1.7))
    with pytest.raises(KeyError):
        human_normalised("chess", 0)


def test_games_are_found_by_rom_name_and_title() -> None:
    assert find("MsPacman").name == find("ms-pacman").name == find("ms_pacman").name == "ms_pacman"
    assert find("Surround").name == "surround"
    with pytest.raises(ValueError, match=r"unknown game 'brekout' \(did you mean breakout\?\)"):
        find("brekout")
    with pytest.raises(ValueError, match="unknown game"):
        find("")
