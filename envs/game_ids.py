"""Names of Atari games in other libraries: which game and protocol `ALE/Pong-v5` or `PongNoFrameskip-v4` mean here.

Sources: Farama-Foundation/Arcade-Learning-Environment, `src/ale/python/registration.py` (sticky actions and frame skip
of every id); Farama-Foundation/PettingZoo (`pong_v3`, two players); sail-sg/envpool (`Pong-v5`, no sticky actions).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from rlgns.envs.games import GAMES, find

_ID = re.compile(r"(?P<space>[\w.-]+/)?(?P<base>[A-Za-z][\w-]*?)(?P<kind>NoFrameskip|Deterministic)?-v(?P<version>\d+)")
_PETTING_ZOO = re.compile(r"(?P<base>[a-z_]+)_v\d+")

STICKY = (
    "sticky actions 0.25, 4 frames per observation; unlike the id's default, all 18 actions (Machado et al. 2018) "
    "instead of the minimal set"
)
PLAIN = "no sticky actions, 4 frames per observation, with the usual wrappers: no-ops, FIRE, lives, clipped rewards"


@dataclass(frozen=True, kw_only=True, slots=True)
class GameId:
    """What an id means here."""

    game: str
    """ROM name."""
    protocol: str | None
    """The protocol that is nearest to it, or None where the name says nothing about it."""
    meaning: str
    """One line for the user; empty where there is nothing to say."""


def understand(name: str) -> GameId:
    """Returns the game and protocol of a name: ours, or an id of Gymnasium, ALE or PettingZoo.

    Raises:
        ValueError: No such game, or an id that is ambiguous or cannot be played; the message says what can be done.
    """
    if found := _PETTING_ZOO.fullmatch(name):
        game = _game(name, found["base"])
        meaning = f"{name}: trains {game} against the game's own player; PettingZoo's has two agents"
        return GameId(game=game, protocol=None, meaning=meaning)
    found = _ID.fullmatch(name)
    if found is None:
        return GameId(game=_game(name, name), protocol=None, meaning="")
    base, kind, version = found["base"], found["kind"], int(found["version"])
    if base.endswith(("-ram", "-ramDeterministic", "-ramNoFrameskip")):
        raise ValueError(f"{name}: observations are the screen here, not the memory (ram); give {_game(name, base)}")
    game = _game(name, base)
    if version == 5 and not kind:
        if found["space"] != "ALE/":
            raise ValueError(
                f"{name} is ambiguous: give ALE/{GAMES[game].title}-v5 (sticky actions) or "
                f"{GAMES[game].title}NoFrameskip-v4 (none, as EnvPool's {GAMES[game].title}-v5)"
            )
        return GameId(game=game, protocol="machado", meaning=f"{name}: {game}, protocol machado: {STICKY}")
    if version not in (0, 4) or found["space"]:
        raise ValueError(f"unknown id {name!r}; give {game}, ALE/{GAMES[game].title}-v5 or {_plain_id(game)}")
    if not kind:
        raise ValueError(
            f"{name} skips 2 to 4 frames at random, which is not played here; give {_plain_id(game)} "
            f"(4 frames{', no sticky actions' if version == 4 else ''}) or ALE/{GAMES[game].title}-v5"
        )
    if version == 0:
        return GameId(game=game, protocol="machado", meaning=f"{name}: {game}, protocol machado: {STICKY}")
    return GameId(game=game, protocol="baselines", meaning=f"{name}: {game}, protocol baselines: {PLAIN}")


def _plain_id(game: str) -> str:
    return f"{GAMES[game].title}NoFrameskip-v4"


def _game(name: str, base: str) -> str:
    """Returns the ROM name. Raises ValueError, for ids of other environments with what can be done."""
    base = re.sub(r"-ram.*", "", base)
    try:
        return find(base).name
    except ValueError:
        plain = base.lower().replace("_", "")
        near = difflib.get_close_matches(plain, [game.replace("_", "") for game in GAMES], n=1, cutoff=0.7)
        other = re.search(r"[-_]v\d+$", name) or plain in _OTHER_TASKS
        if other and not near and not name.startswith("ALE/"):
            raise ValueError(
                f"{name} is no Atari game: rlgns train plays Atari alone (`rlgns games` lists {len(GAMES)}); to "
                "measure the noise scale of other tasks, use an adapter for its trainer (docs/hosts) or put "
                "NoiseScaleMonitor into its torch loop (docs/torch-loop.md)"
            ) from None
        raise


_OTHER_TASKS = (
    *("acrobot", "ant", "bipedalwalker", "carracing", "cartpole", "coinrun", "dmcontrol", "doom", "frozenlake"),
    *("halfcheetah", "hopper", "humanoid", "lunarlander", "mario", "minigrid", "minecraft", "mountaincar", "mujoco"),
    *("pendulum", "procgen", "pusher", "reacher", "swimmer", "taxi", "walker2d"),
)
"""Tasks that people ask for by name."""
