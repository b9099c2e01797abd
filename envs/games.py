"""The 57 games of the benchmark: reference scores, the paper's score goals, human-normalised scores.

Random and human scores: google-deepmind/dqn_zoo, `dqn_zoo/atari_data.py` (Apache-2.0): games started with up to 30
no-ops, cap of 108,000 frames. CleanRL scores: mean of CleanRL's PPO on EnvPool after 10 million observations without
sticky actions (vwxyzjn/cleanrl, docs/rl-algorithms/ppo.md), to be compared with protocol `baselines` only.
Score goals: McCandlish et al. 2018, arXiv:1812.06162, legends of figures 11 and 12.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Game:
    """One game and its reference scores: raw scores of full games, as the emulator counts them."""

    name: str
    """ROM name, by which rlgns names games: `ms_pacman`."""

    title: str
    """Name in papers and in Gymnasium's ids: `MsPacman`. Surround has a ROM but no Gymnasium id of the old style."""

    random_score: float
    """Mean score of uniformly random actions."""

    human_score: float
    """Mean score of a human player."""

    cleanrl_score: float | None = None
    """Mean score of CleanRL's PPO."""

    score_goals: tuple[float, ...] = ()
    """Scores at which the paper measured the critical batch size; empty for games that it did not measure."""


# ROM name, title, random, human, CleanRL's PPO.
_SCORES = (
    ("alien", "Alien", 227.8, 7127.7, 1736.39),
    ("amidar", "Amidar", 5.8, 1719.5, 653.53),
    ("assault", "Assault", 222.4, 742.0, 6791.74),
    ("asterix", "Asterix", 210.0, 8503.3, 4820.33),
    ("asteroids", "Asteroids", 719.1, 47388.7, 1633.67),
    ("atlantis", "Atlantis", 12850.0, 29028.1, 3778458.33),
    ("bank_heist", "BankHeist", 14.2, 753.1, 1195.44),
    ("battle_zone", "BattleZone", 2360.0, 37187.5, 24283.75),
    ("beam_rider", "BeamRider", 363.9, 16926.5, 2478.44),
    ("berzerk", "Berzerk", 123.7, 2630.4, 992.88),
    ("bowling", "Bowling", 23.1, 160.7, 51.62),
    ("boxing", "Boxing", 0.1, 12.1, 92.68),
    ("breakout", "Breakout", 1.7, 30.5, 430.09),
    ("centipede", "Centipede", 2090.9, 12017.0, 3309.34),
    ("chopper_command", "ChopperCommand", 811.0, 7387.8, 5642.83),
    ("crazy_climber", "CrazyClimber", 10780.5, 35829.4, 118763.04),
    ("defender", "Defender", 2874.5, 18688.9, 48558.98),
    ("demon_attack", "DemonAttack", 152.1, 1971.0, 29283.83),
    ("double_dunk", "DoubleDunk", -18.6, -16.4, -6.81),
    ("enduro", "Enduro", 0.0, 860.5, 1297.23),
    ("fishing_derby", "FishingDerby", -91.7, -38.7, 21.21),
    ("freeway", "Freeway", 0.0, 29.6, 33.1),
    ("frostbite", "Frostbite", 65.2, 4334.7, 1137.34),
    ("gopher", "Gopher", 257.6, 2412.5, 6505.29),
    ("gravitar", "Gravitar", 173.0, 3351.4, 1099.33),
    ("hero", "Hero", 1027.0, 30826.4, 26429.65),
    ("ice_hockey", "IceHockey", -11.2, 0.9, -4.33),
    ("jamesbond", "Jamesbond", 29.0, 302.8, 496.08),
    ("kangaroo", "Kangaroo", 52.0, 3035.0, 6582.12),
    ("krull", "Krull", 1598.0, 2665.5, 9718.09),
    ("kung_fu_master", "KungFuMaster", 258.5, 22736.3, 26000.25),
    ("montezuma_revenge", "MontezumaRevenge", 0.0, 4753.3, 0.08),
    ("ms_pacman", "MsPacman", 307.3, 6951.6, 2345.67),
    ("name_this_game", "NameThisGame", 2292.3, 8049.0, 5750.0),
    ("phoenix", "Phoenix", 761.4, 7242.6, 14474.11),
    ("pitfall", "Pitfall", -229.4, 6463.7, 0.0),
    ("pong", "Pong", -20.7, 14.6, 20.39),
    ("private_eye", "PrivateEye", 24.9, 69571.3, 100.0),
    ("qbert", "Qbert", 163.9, 13455.0, 17246.27),
    ("riverraid", "Riverraid", 1338.5, 17118.0, 8275.25),
    ("road_runner", "RoadRunner", 11.5, 7845.0, 33040.38),
    ("robotank", "Robotank", 2.2, 11.9, 14.43),
    ("seaquest", "Seaquest", 68.4, 42054.7, 1240.3),
    ("skiing", "Skiing", -17098.1, -4336.9, -18483.46),
    ("solaris", "Solaris", 1236.3, 12326.7, 2198.36),
    ("space_invaders", "SpaceInvaders", 148.0, 1668.7, 1188.82),
    ("star_gunner", "StarGunner", 664.0, 10250.0, 43519.12),
    ("surround", "Surround", -10.0, 6.5, -2.58),
    ("tennis", "Tennis", -23.8, -8.3, -17.64),
    ("time_pilot", "TimePilot", 3568.0, 5229.2, 6476.46),
    ("tutankham", "Tutankham", 11.4, 167.6, 249.05),
    ("up_n_down", "UpNDown", 533.4, 11693.2, 487495.41),
    ("venture", "Venture", 0.0, 1187.5, 0.0),
    ("video_pinball", "VideoPinball", 16256.9, 17667.9, 43133.94),
    ("wizard_of_wor", "WizardOfWor", 563.5, 4756.5, 6353.58),
    ("yars_revenge", "YarsRevenge", 3092.9, 54576.9, 55757.68),
    ("zaxxon", "Zaxxon", 32.5, 9173.3, 3689.67),
)

_SCORE_GOALS: dict[str, tuple[float, ...]] = {
    "alien": (250, 300, 400, 750, 1100, 1250, 1750, 2000),
    "beam_rider": (600, 1000, 2000, 3000, 5000, 7500),
    "breakout": (2, 3, 10, 50, 100, 500, 600),
    "pong": (-19, 0, 19),
    "qbert": (300, 500, 800, 1000, 2000, 4000, 5000, 10000, 15000, 20000),
    "seaquest": (150, 300, 500, 700, 800, 1200, 1600, 1700, 1750),
    "space_invaders": (250, 500, 800, 1500, 3500, 10000, 20000, 30000, 50000, 70000),
}

GAMES: dict[str, Game] = {
    name: Game(name, title, random, human, cleanrl, _SCORE_GOALS.get(name, ()))
    for name, title, random, human, cleanrl in _SCORES
}
"""All games by ROM name, in the order of the benchmark's tables."""


def find(name: str) -> Game:
    """Returns a game by ROM name or title, in any case, with or without separators ('MsPacman', 'ms-pacman').

    Raises:
        ValueError: There is no such game; the message names the nearest.
    """
    wanted = _plain(name)
    for game in GAMES.values():
        if _plain(game.name) == wanted:
            return game
    plain = {_plain(game): game for game in GAMES}
    matches = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.5)
    hint = f" (did you mean {plain[matches[0]]}?)" if matches else ""
    raise ValueError(f"unknown game {name!r}{hint}; `rlgns games` lists all {len(GAMES)}")


def human_normalised(game: str, score: float) -> float:
    """Returns (score - random) / (human - random): 0 is as good as random actions, 1 as a human player.

    Values of Video Pinball say little: its random score is above many agents' and close to its human score (dqn_zoo).

    Args:
        game: ROM name.
        score: Raw score of full games.

    Source: Mnih et al. 2015, "Human-level control through deep reinforcement learning".
    """
    reference = GAMES[game]
    return (score - reference.random_score) / (reference.human_score - reference.random_score)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
