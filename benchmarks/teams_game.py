"""Level-based foraging for a team that is paid together, as RLlib's multi-agent environment."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from lbforaging.foraging import ForagingEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

FIELD = 5
"""Cells on a side."""

FOODS = 2

MOST_STEPS = 25
"""Of a game."""

MOST_PLAYERS = 4
"""For which every observation has room, so that all team sizes have one network."""

ACTIONS = 6

PerPlayer = dict[Any, Any]


class Foraging(MultiAgentEnv):
    """Players of level 1 collect food of level 2, which takes two of them at the same time; a lone player's is of 1.

    Every player is paid what the team collected in the step, as a share of the game's food: a game's score is from 0
    to 1 for every team. An observation is the game's own for the player (places and levels of food, of itself, of the
    others), divided by the size of the field, with the game's mark of the unseen for players that are not there, and
    the share of the time that has passed.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """Builds a game of `config["players"]` players."""
        super().__init__()
        players = int(config["players"])
        self._game = ForagingEnv(
            players=players,
            min_player_level=1,
            max_player_level=1,
            min_food_level=1,
            max_food_level=min(players, 2),
            field_size=(FIELD, FIELD),
            max_num_food=FOODS,
            sight=FIELD,
            max_episode_steps=MOST_STEPS,
            force_coop=True,
        )
        self._players = [f"player {index}" for index in range(players)]
        self.possible_agents = self.agents = list(self._players)
        size = 3 * (FOODS + MOST_PLAYERS) + 1
        self.observation_spaces = dict.fromkeys(self._players, Box(-1.0, 1.0, (size,), np.float32))
        self.action_spaces = dict.fromkeys(self._players, Discrete(ACTIONS))

    def reset(self, *, seed: int | None = None, options: PerPlayer | None = None) -> tuple[PerPlayer, PerPlayer]:
        """Begins a game."""
        found, _ = self._game.reset(seed=seed)
        return self._seen(found), {}

    def step(  # type: ignore[override]  # as RLlib's own
        self, action_dict: PerPlayer
    ) -> tuple[PerPlayer, PerPlayer, PerPlayer, PerPlayer, PerPlayer]:
        """Moves all players."""
        found, rewards, over, _, _ = self._game.step([action_dict[player] for player in self._players])
        paid = float(sum(rewards))
        ends = dict.fromkeys([*self._players, "__all__"], bool(over))
        return self._seen(found), dict.fromkeys(self._players, paid), ends, dict.fromkeys(ends, False), {}

    def _seen(self, found: Any) -> PerPlayer:
        absent = [-1.0, -1.0, 0.0] * (MOST_PLAYERS - len(self._players))
        time = FIELD * self._game.current_step / MOST_STEPS
        seen = [np.array([*one, *absent, time], np.float32) / np.float32(FIELD) for one in found]
        return dict(zip(self._players, seen, strict=True))
