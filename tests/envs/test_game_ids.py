"""Names of games in other libraries."""

from __future__ import annotations

import re

import pytest

from rlgns.envs.game_ids import understand
from rlgns.envs.games import GAMES


@pytest.mark.parametrize(
    ("name", "game", "protocol", "words"),
    [
        ("pong", "pong", None, ""),
        ("MsPacman", "ms_pacman", None, ""),
        ("ALE/Pong-v5", "pong", "machado", "ALE/Pong-v5: pong, protocol machado: sticky actions 0.25, 4 frames"),
        ("PongNoFrameskip-v4", "pong", "baselines", "PongNoFrameskip-v4: pong, protocol baselines: no sticky actions"),
        ("MsPacmanDeterministic-v4", "ms_pacman", "baselines", "no sticky actions"),
        ("PongNoFrameskip-v0", "pong", "machado", "sticky actions 0.25"),
        ("space_invaders_v2", "space_invaders", None, "PettingZoo's has two agents"),
    ],
)
def test_what_an_id_means(name: str, game: str, protocol: str | None, words: str) -> None:
    found = understand(name)
    assert (found.game, found.protocol) == (game, protocol)
    assert words in found.meaning
    assert bool(found.meaning) == bool(words)


def test_every_game_has_its_ids() -> None:
    for game in GAMES.values():
        assert understand(f"ALE/{game.title}-v5").game == game.name
        assert understand(f"{game.title}NoFrameskip-v4").game == game.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Pong-v5", "is ambiguous: give ALE/Pong-v5 (sticky actions) or PongNoFrameskip-v4 (none"),
        ("Pong-v4", "skips 2 to 4 frames at random, which is not played here; give PongNoFrameskip-v4 (4 frames"),
        ("Pong-v7", "unknown id 'Pong-v7'; give pong, ALE/Pong-v5 or PongNoFrameskip-v4"),
        ("ALE/PongNoFrameskip-v4", "unknown id"),
        ("Pong-ram-v4", "observations are the screen here, not the memory (ram); give pong"),
        ("CartPole-v1", "CartPole-v1 is no Atari game: rlgns train plays Atari alone"),
        ("HalfCheetah-v4", "put NoiseScaleMonitor into its torch loop (docs/torch-loop.md)"),
        ("dm_control/cheetah-run-v0", "is no Atari game"),
        ("cartpole", "is no Atari game"),
        ("ALE/Adventure-v5", "unknown game 'Adventure'"),
        ("BreakotNoFrameskip-v4", "did you mean breakout?"),
        ("brekout", "did you mean breakout?"),
        ("", "unknown game"),
    ],
)
def test_what_cannot_be_played_says_what_can(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        understand(name)
