"""A set of Atari games played in lockstep, on `ale_py.vector_env.AtariVectorEnv`.

What a caller of ale-py 0.12's vector environment must know, and what this module does about it (file names are those of
Farama-Foundation's Arcade-Learning-Environment, src/ale/vector/):

* `episodic_life` resets the whole game at each lost life, and `life_loss_info` reports a lost life as the end of a game
  (preprocessed_env.cpp). Both stay off; lost lives are derived here from the count of lives.
* An action out of range raises inside a worker thread, which never delivers its result: `recv` then waits for ever
  (env_vectorizer.cpp). Actions are checked before they are sent.
* `reward_clipping` destroys the raw reward. It stays off: the learner clips.
* `NEXT_STEP` resets insert a phantom step after each game, which must be masked everywhere. `SAME_STEP` inserts none:
  the row after the end is the first observation of the next game, and the last observation is returned separately.
* In `final_obs`, rows of games that have not ended are uninitialised memory.
* `noop_max=n` draws 0 to n-1 no-ops, of which FIRE is one: n+1 is passed, so that a protocol's "up to 30" holds.
* An integer seed gives consecutive seeds, which overlap between workers; only arrays of seeds are used.
* A seeded reset reloads the ROM, as the start does (0.1 s per environment, on one thread): only the first is seeded.
* The default number of threads is the machine's and ignores what the process may use. It is always set.
* Frames of a stack from before a game's first are zero. Games that need FIRE to continue get it at the start only (see
  `rlgns.envs.protocols`).
"""

from __future__ import annotations

from collections.abc import Callable
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
    """One full game, from its reset to its end, with all lives."""

    env: int
    """Index of the environment that played it."""

    score: float
    """Sum of raw rewards."""

    length: int
    """Observations acted on."""


@dataclass(frozen=True, slots=True)
class Step:
    """Result of one action in each of N environments."""

    observations: npt.NDArray[np.uint8]
    """Observations to act on next, [N, stack, H, W]; where a game ended, the first of the next game."""

    rewards: npt.NDArray[np.float32]
    """Raw rewards, [N]."""

    terminated: npt.NDArray[np.bool_]
    """The game is over, [N]."""

    truncated: npt.NDArray[np.bool_]
    """The game was cut off by the frame limit and is not over, [N]."""

    life_lost: npt.NDArray[np.bool_]
    """A life was lost and the game continues, [N]; never true where the protocol ignores lives."""

    final_observations: npt.NDArray[np.uint8] | None
    """Last observations of the games that ended, [N, stack, H, W]; rows of other games are uninitialised memory. None
    where no game ended."""

    episodes: list[Episode]
    """Full games that ended with this step."""


class AtariEnvs:
    """N environments of one game; each starts a new game when one ends.

    Environments are not in phase: `reset` lets environment i play k_i random actions in its first game, k_i uniform in
    0..stagger_steps (McCandlish et al. 2018, section 3.1, after Stooke and Abbeel 2018). Games with such actions are
    not reported as episodes, since their score is not the policy's.
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
            worker_index: Which of the run's sets this is. Each has its own random stream.
            restarts: How often this set was started before (after a failure or on resuming); each start has its own
                random stream.
            threads: Emulator threads.
            protocol: Replaces the one that `config` names.

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

    def reset(self, started: Callable[[int], None] = lambda more: None) -> npt.NDArray[np.uint8]:
        """Starts new games, staggered, and returns their observations, [N, stack, H, W].

        The first call seeds everything; later calls continue the same random streams.

        Args:
            started: Called with the number of environments that have just begun their game, N over all calls.
        """
        observations: npt.NDArray[np.uint8]
        observations, info = self._envs.reset(seed=None if self._started else draw_seeds(self._rng, self.num_envs))
        self._begin_games(np.ones(self.num_envs, np.bool_), info["lives"])
        self._started = True
        random_steps = self._rng.integers(0, self._stagger_steps, self.num_envs, endpoint=True)
        for steps_left in range(int(random_steps.max()), 0, -1):
            # No environment can pause, so all play, and each starts its first real game when its turn comes.
            starting = random_steps == steps_left
            if starting.any():
                _, info = self._envs.reset(options={"reset_mask": starting})
                self._begin_games(starting, info["lives"])
                started(int(starting.sum()))
            self._reported[:] = False
            observations = self.step(self._rng.integers(0, self.num_actions, self.num_envs)).observations
        starting = random_steps == 0
        if starting.any() and not starting.all():
            observations, info = self._envs.reset(options={"reset_mask": starting})
            self._begin_games(starting, info["lives"])
        started(int(starting.sum()))
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
            # The rule of Baselines and EnvPool: a fall to 0 lives does not count, since games may stay there for some
            # frames before they are over. (Bank Heist plays its last life at 0 lives, so the loss before it is missed.)
            # Where a game ended, `lives` are those of the next game.
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
        """Stops the emulators and their threads; may be called more than once."""
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
    """Returns the random stream of a seed, worker and restart, independent of all others (numpy's SeedSequence)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(worker_index, restarts)))


def draw_seeds(rng: np.random.Generator, num_envs: int) -> npt.NDArray[np.int64]:
    """Returns distinct positive seeds of 31 bits, [num_envs]: the emulator takes an int, and -1 as "any"."""
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
