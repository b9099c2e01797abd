"""A set of Atari games played in step, on `ale_py.vector_env.AtariVectorEnv`.

What the vector environment of ale-py 0.12 does that a caller must know (file names are of Farama-Foundation's
Arcade-Learning-Environment, src/ale/vector/), and what is done about it here:

* `episodic_life` resets the whole game at each lost life, and `life_loss_info` reports one as the end of a game
  (preprocessed_env.cpp). Both stay off; lost lives are derived here from the count of lives.
* An action out of range raises inside a worker thread, which never delivers its result: `recv` then waits for ever
  (env_vectorizer.cpp). Actions are checked before they are sent.
* `reward_clipping` destroys the raw reward. Off: the learner clips.
* With `NEXT_STEP` resets there is a phantom step after each game that must be masked everywhere. `SAME_STEP` has none:
  the row after the end is the first observation of the next game, and the last observation comes apart.
* Rows of `final_obs` of games that go on are uninitialised memory.
* `noop_max=n` draws 0 to n-1 no-ops, of which FIRE is one: n+1 is passed, so that a protocol's "up to 30" holds.
* An integer seed gives consecutive seeds, which overlap between workers; only arrays of seeds are used.
* A seeded reset loads the ROM once more (about 0.1 s an environment, on one thread, as does the start): only the first
  reset is seeded.
* Unset threads are taken from the machine and not from what the process may use. Always set.
* Frames of the stack before a game's first are zero. Games that need FIRE to go on get it at the start only (see
  `rlgns.envs.protocols`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from rlgns.envs.config import EnvConfig
from rlgns.envs.games import find
from rlgns.envs.protocols import PROTOCOLS, Protocol


@dataclass(frozen=True, slots=True)
class Episode:
    """One full game, from its reset to its end, all lives."""

    env: int
    """Which environment of the set played it."""

    score: float
    """Sum of raw rewards."""

    length: int
    """Observations acted on."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one action in each of N environments led to."""

    observations: npt.NDArray[np.uint8]
    """What to act on next, [N, stack, H, W]; of an environment whose game ended, the first of its next game."""

    rewards: npt.NDArray[np.float32]
    """Raw rewards, [N]."""

    terminated: npt.NDArray[np.bool_]
    """The game is over, [N]."""

    truncated: npt.NDArray[np.bool_]
    """The game was cut off by the frame limit and is not over, [N]."""

    life_lost: npt.NDArray[np.bool_]
    """A life was lost and the game goes on, [N]; never where the protocol ignores lives."""

    final_observations: npt.NDArray[np.uint8] | None
    """Last observation of the games that ended, [N, stack, H, W]; only rows that are terminated or truncated mean
    anything (the others are uninitialised memory). None where no game ended."""

    episodes: list[Episode]
    """Full games that ended with this step."""


class AtariEnvs:
    """N environments of one game, each starting a new game by itself when one ends.

    Environments are not in phase: `reset` lets environment i play k_i random actions in its first game, k_i uniform in
    0..stagger_steps (McCandlish et al. 2018, section 3.1, after Stooke and Abbeel 2018). Games in which random actions
    were played that way are not reported as episodes, for their score is not the policy's.
    """

    def __init__(
        self,
        game: str,
        config: EnvConfig,
        *,
        num_envs: int,
        seed: int,
        worker_index: int = 0,
        restarts: int = 0,
        threads: int = 1,
        protocol: Protocol | None = None,
    ) -> None:
        """Starts the emulators and their threads.

        Args:
            game: ROM name.
            config: Preprocessing, protocol and stagger. Its `num_envs` and `threads` are not read.
            num_envs: Environments of this set.
            seed: The run's seed.
            worker_index: Which of the run's sets this is. Each has random streams of its own.
            restarts: How often this set was started before (after a failure or on resuming); again streams of its own.
            threads: Emulator threads.
            protocol: Used in place of the one that `config` names.

        Raises:
            ValueError: Unknown game, or a number out of range.
        """
        for name, value, low in (
            ("num_envs", num_envs, 1),
            ("threads", threads, 1),
            ("seed", seed, 0),
            ("worker_index", worker_index, 0),
            ("restarts", restarts, 0),
        ):
            if value < low:
                raise ValueError(f"{name} must be at least {low}, got {value}")
        self.game = find(game).name
        self.protocol = protocol or PROTOCOLS[config.protocol]
        self.num_envs = num_envs
        self.threads = min(threads, num_envs)
        self._stagger_steps = config.stagger_steps
        self._rng = random_stream(seed, worker_index, restarts)
        self._envs = AtariVectorEnv(
            self.game,
            num_envs,
            num_threads=self.threads,
            autoreset_mode=AutoresetMode.SAME_STEP,
            max_num_frames_per_episode=self.protocol.max_frames_per_episode,
            repeat_action_probability=self.protocol.sticky_probability,
            full_action_space=self.protocol.full_action_space,
            img_height=config.image_size,
            img_width=config.image_size,
            stack_num=config.frame_stack,
            frameskip=config.frame_skip,
            noop_max=self.protocol.noop_max + 1,
            use_fire_reset=self.protocol.use_fire_reset,
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
        )
        self.num_actions = int(self._envs.single_action_space.n)  # type: ignore[attr-defined]
        self._lives = np.zeros(num_envs, np.int32)
        self._scores = np.zeros(num_envs, np.float64)
        self._lengths = np.zeros(num_envs, np.int64)
        self._reported = np.ones(num_envs, np.bool_)
        self._no_life_lost = np.zeros(num_envs, np.bool_)
        self._no_life_lost.flags.writeable = False
        self._started = False

    def reset(self) -> npt.NDArray[np.uint8]:
        """Starts new games, staggered, and returns their observations, [N, stack, H, W].

        The first call makes everything a function of the seed; a later one goes on with the same random streams.
        """
        observations: npt.NDArray[np.uint8]
        observations, info = self._envs.reset(seed=None if self._started else draw_seeds(self._rng, self.num_envs))
        self._begin_games(np.ones(self.num_envs, np.bool_), info["lives"])
        self._started = True
        random_steps = self._rng.integers(0, self._stagger_steps, self.num_envs, endpoint=True)
        for steps_left in range(int(random_steps.max()), 0, -1):
            # Environments cannot be held still, so all play, and each starts its first real game when its turn comes.
            starting = random_steps == steps_left
            if starting.any():
                _, info = self._envs.reset(options={"reset_mask": starting})
                self._begin_games(starting, info["lives"])
            self._reported[:] = False
            observations = self.step(self._rng.integers(0, self.num_actions, self.num_envs)).observations
        starting = random_steps == 0
        if starting.any() and not starting.all():
            observations, info = self._envs.reset(options={"reset_mask": starting})
            self._begin_games(starting, info["lives"])
        return observations

    def step(self, actions: npt.NDArray[np.int64]) -> Step:
        """Plays one action in each environment.

        Args:
            actions: [N], int64, each from 0 to `num_actions` - 1.

        Raises:
            ValueError: `actions` has another shape or type, or a value out of range. Nothing was played.
        """
        self._check(actions)
        observations, raw_rewards, terminated, truncated, info = self._envs.step(actions)
        self._scores += raw_rewards
        self._lengths += 1
        lives = info["lives"]
        ended = terminated | truncated
        if self.protocol.life_loss_ends_return:
            # Baselines' rule, EnvPool's too: a fall to 0 lives does not count, since games may stay there for some
            # frames before they are over. (In Bank Heist the last life is played at 0 lives: the loss before it is
            # not seen.) Where a game ended, `lives` are those of the next game.
            life_lost = (lives < self._lives) & (lives > 0) & ~ended
        else:
            life_lost = self._no_life_lost
        episodes: list[Episode] = []
        final_observations = None
        if ended.any():
            final_observations = info["final_obs"]
            episodes = [
                Episode(int(env), float(self._scores[env]), int(self._lengths[env]))
                for env in np.flatnonzero(ended & self._reported)
            ]
            self._begin_games(ended, lives)
        self._lives = lives
        return Step(
            observations, raw_rewards.astype(np.float32), terminated, truncated, life_lost, final_observations, episodes
        )

    @property
    def game_lengths(self) -> npt.NDArray[np.int64]:
        """Observations acted on in each environment's current game, [N]."""
        return self._lengths.copy()

    def close(self) -> None:
        """Stops the emulators and their threads; may be called again."""
        if hasattr(self._envs, "ale"):
            self._envs.close()
            del self._envs.ale  # its destructor joins the threads

    def _begin_games(self, starting: npt.NDArray[np.bool_], lives: npt.NDArray[np.int32]) -> None:
        self._scores[starting] = 0.0
        self._lengths[starting] = 0
        self._reported[starting] = True
        self._lives = lives

    def _check(self, actions: npt.NDArray[np.int64]) -> None:
        if not self._started:
            raise ValueError("reset() must be called before step()")
        if not isinstance(actions, np.ndarray) or actions.dtype != np.int64 or actions.shape != (self.num_envs,):
            got = f"{actions.dtype} {actions.shape}" if isinstance(actions, np.ndarray) else type(actions).__name__
            raise ValueError(f"actions must be an int64 array of shape ({self.num_envs},), got {got}")
        if actions.min() < 0 or actions.max() >= self.num_actions:
            raise ValueError(f"actions must lie in 0..{self.num_actions - 1}, got {actions.min()}..{actions.max()}")


def random_stream(seed: int, worker_index: int, restarts: int) -> np.random.Generator:
    """Returns a stream that is independent of those of all other seeds, workers and restarts (numpy's SeedSequence)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(worker_index, restarts)))


def draw_seeds(rng: np.random.Generator, num_envs: int) -> npt.NDArray[np.int64]:
    """Returns different positive seeds of 31 bits, [num_envs] (the emulator takes an int and -1 as "any")."""
    seeds = rng.integers(1, 2**31, num_envs)
    while len(np.unique(seeds)) < num_envs:
        seeds = rng.integers(1, 2**31, num_envs)
    return seeds


def num_actions(game: str, protocol: str) -> int:
    """Returns how many actions a game has under a named protocol. Raises ValueError where the game is unknown."""
    envs = AtariEnvs(game, EnvConfig(protocol=protocol, image_size=8), num_envs=1, seed=0)
    try:
        return envs.num_actions
    finally:
        envs.close()
