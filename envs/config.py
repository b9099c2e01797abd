"""Settings of the environments."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlgns.envs.protocols import PROTOCOLS

LARGEST = {"num_envs": 1_000_000, "image_size": 4096, "frame_stack": 1024, "frame_skip": 1024, "threads": 65_536}
"""Bounds far beyond any use, which keep a slip of the keyboard from filling the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvConfig:
    """Settings of the vector environment, the same for every runner."""

    protocol: str = field(default="baselines", metadata={"choices": tuple(PROTOCOLS)})
    """How games are played and scored (see `rlgns.envs.protocols`)."""

    num_envs: int = 8
    """Environments over all runners together."""

    image_size: int = 84
    """Height and width of a frame after scaling, pixels."""

    frame_stack: int = 4
    """Frames per observation: the newest ones."""

    frame_skip: int = 4
    """Emulator frames per observation."""

    stagger_steps: int = 500
    """Each environment first plays random actions, their number uniform up to this many (0: all start together)."""

    threads: int = 0
    """Emulator threads of one runner; 0: as many as the cores that it may use."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"env.protocol must be one of {', '.join(PROTOCOLS)}; got {self.protocol!r}")
        for name in ("num_envs", "image_size", "frame_stack", "frame_skip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"env.{name} must be positive, got {getattr(self, name)}")
        for name, largest in LARGEST.items():
            if getattr(self, name) > largest:
                raise ValueError(f"env.{name} must be at most {largest:,}, got {getattr(self, name)}")
        if self.image_size < 8:
            raise ValueError(f"env.image_size must be at least 8 pixels, got {self.image_size}")
        for name in ("stagger_steps", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"env.{name} must be zero or positive, got {getattr(self, name)}")
