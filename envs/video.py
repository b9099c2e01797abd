"""One game played frame by frame with its screen in colour, for videos; observations are those of `rlgns.envs.vector`.

The vector environment shows no screen. This one plays the same protocol and preprocessing step by step in Python, so
tests also use it as the slow, obvious reference for the vector environment.
"""

from __future__ import annotations

import ale_py
import cv2
import numpy as np
import numpy.typing as npt

from rlgns.envs.config import EnvConfig
from rlgns.envs.games import find
from rlgns.envs.protocols import PROTOCOLS, Protocol

FRAMES_PER_SECOND = 60
"""Rate of the emulated console's television."""


class FilmedGame:
    """One environment without automatic resets."""

    def __init__(self, game: str, config: EnvConfig, *, seed: int, protocol: Protocol | None = None) -> None:
        """Loads the game. Arguments are as for `rlgns.envs.vector.AtariEnvs`.

        Raises:
            ValueError: Unknown game.
        """
        self.protocol = protocol or PROTOCOLS[config.protocol]
        self._config = config
        self._rng = np.random.default_rng(seed)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", self.protocol.sticky_probability)
        self._ale.setInt("random_seed", int(self._rng.integers(1, 2**31)))
        rom = ale_py.roms.get_rom_path(find(game).name)
        assert rom is not None
        self._ale.loadROM(rom)
        full = self.protocol.full_action_space
        self._actions = self._ale.getLegalActionSet() if full else self._ale.getMinimalActionSet()
        self._stack = np.zeros((config.frame_stack, config.image_size, config.image_size), np.uint8)
        height, width = self._ale.getScreenDims()
        self._newest = np.zeros((height, width), np.uint8)
        self._before = np.zeros((height, width), np.uint8)
        self._frames = 0

    def reset(self) -> npt.NDArray[np.uint8]:
        """Starts a new game and returns its first observation, [1, stack, H, W]."""
        self._ale.reset_game()
        fire = self.protocol.use_fire_reset and ale_py.Action.FIRE in self._actions
        if fire:
            self._ale.act(ale_py.Action.FIRE)
        for _ in range(int(self._rng.integers(0, self.protocol.noop_max, endpoint=True)) - fire):
            self._ale.act(ale_py.Action.NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
        self._frames = 0
        self._stack[:] = 0
        self._before[:] = 0
        self._ale.getScreenGrayscale(self._newest)
        return self._observe()

    def step(self, action: int) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.uint8]], float, bool, bool]:
        """Plays one action for `frame_skip` frames, or until the game ends.

        Returns:
            Observation [1, stack, H, W]; screens of the frames, uint8 [height, width, 3]; raw reward; whether the game
            is over; whether it was cut off.
        """
        screens, reward, terminated, truncated = [], 0.0, False, False
        for frames_left in range(self._config.frame_skip - 1, -1, -1):
            reward += self._ale.act(self._actions[action])
            screens.append(self._ale.getScreenRGB())
            self._frames += 1
            terminated = self._ale.game_over()
            truncated = not terminated and self._frames >= self.protocol.max_frames_per_episode
            if terminated or truncated:
                break  # the frame that ends a game is not observed (also in the vector environment and in Gymnasium)
            if frames_left == 1:
                self._ale.getScreenGrayscale(self._before)
            elif frames_left == 0:
                self._ale.getScreenGrayscale(self._newest)
        return self._observe(), screens, reward, terminated, truncated

    @property
    def screen_size(self) -> tuple[int, int]:
        """Width and height of the screen, pixels."""
        height, width = self._newest.shape
        return width, height

    @property
    def lives(self) -> int:
        """Lives left, as the emulator counts them (0 in games without lives)."""
        return int(self._ale.lives())

    def _observe(self) -> npt.NDArray[np.uint8]:
        np.maximum(self._newest, self._before, out=self._newest)
        size = (self._config.image_size, self._config.image_size)
        self._stack[:-1] = self._stack[1:].copy()
        self._stack[-1] = cv2.resize(self._newest, size, interpolation=cv2.INTER_AREA)
        return self._stack[None].copy()
