"""The independent units of a train batch of RLlib: the rows of each game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

from rlgns.adapters.groups import Indices


def games_of_chunks(episodes: Sequence[Any]) -> dict[str, list[str]]:
    """Returns, by module, the game of each chunk of an episode, in the order of the train batch's rows."""
    found: dict[str, list[str]] = {}
    for episode in episodes:
        of_agents = episode.agent_episodes.values() if isinstance(episode, MultiAgentEpisode) else [episode]
        for each in of_agents:
            module_id = str(each.module_id) if isinstance(episode, MultiAgentEpisode) else DEFAULT_MODULE_ID
            found.setdefault(module_id, []).append(str(episode.id_))
    return found


def rows_of_games(valid: Any, games: Sequence[str], learner: str) -> list[Indices]:
    """Returns the rows of each game: a chunk ends with a row that is not valid; chunks of one name are one game.

    Args:
        valid: [rows], RLlib's loss mask.
        games: By chunk, the name of its game.
        learner: The name of the class, for the message.

    Raises:
        ValueError: There are not as many chunks as names.
    """
    ends = np.flatnonzero(~valid)
    if len(ends) != len(games) or (len(ends) and ends[-1] != len(valid) - 1):
        raise ValueError(
            f"the train batch has {len(ends)} episodes and the rollout {len(games)}: {learner} needs RLlib's default "
            "learner connectors"
        )
    rows: dict[str, list[Indices]] = {}
    for game, begin, end in zip(games, [0, *(ends + 1)][:-1] if len(ends) else [], ends, strict=True):
        rows.setdefault(game, []).append(np.arange(begin, end))
    return [np.concatenate(chunks) for chunks in rows.values()]
