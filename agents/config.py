"""Settings of the network and of the update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

MOST_CONVOLUTIONS = 32
LARGEST_NETWORK = {"channels": 16_384, "kernels": 4096, "strides": 4096, "hidden": 1_000_000}
LARGEST_AGENT = {"rollout_steps": 1_000_000, "epochs": 10_000}
"""Bounds far beyond any use, which keep a slip of the keyboard from filling the memory."""


def check_at_most(section: str, settings: object, largest: Mapping[str, int]) -> None:
    """Raises ValueError where a key, or an entry of its list, is above its bound.

    Args:
        section: Name of the settings, for the message.
        settings: With an attribute for every key.
        largest: Bound by key.
    """
    for name, most in largest.items():
        value = getattr(settings, name)
        if max(value if isinstance(value, tuple) else (value,)) > most:
            raise ValueError(f"{section}.{name} must be at most {most:,}, got {value}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """Convolutions, one hidden layer, two linear heads."""

    channels: tuple[int, ...] = (32, 64, 64)
    """Output channels of each convolution. The default is the Nature network (Mnih et al. 2015)."""

    kernels: tuple[int, ...] = (8, 4, 3)
    """Kernel size of each convolution, pixels."""

    strides: tuple[int, ...] = (4, 2, 1)
    """Stride of each convolution, pixels."""

    hidden: int = 512
    """Units of the hidden layer."""

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.strides) > 0:
            raise ValueError(
                "network.channels, network.kernels and network.strides must be equally long and not empty, got "
                f"{len(self.channels)}, {len(self.kernels)} and {len(self.strides)} entries"
            )
        if len(self.channels) > MOST_CONVOLUTIONS:
            raise ValueError(f"network.channels may have {MOST_CONVOLUTIONS} entries, got {len(self.channels)}")
        for name in ("channels", "kernels", "strides"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"network.{name} must all be positive, got {getattr(self, name)}")
        if self.hidden <= 0:
            raise ValueError(f"network.hidden must be positive, got {self.hidden}")
        check_at_most("network", self, LARGEST_NETWORK)

    def sides(self, image_size: int) -> list[int]:
        """Returns the side of the input and of each convolution's output, pixels; 0 once a kernel does not fit."""
        sides = [image_size]
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            sides.append((sides[-1] - kernel) // stride + 1 if sides[-1] >= kernel else 0)
        return sides

    def check_image_size(self, image_size: int) -> None:
        """Raises ValueError where images of that side are too small for the network."""
        for size, kernel in zip(self.sides(image_size), self.kernels, strict=False):
            if size < kernel:
                raise ValueError(
                    f"env.image_size {image_size} is too small for network.kernels {self.kernels} with network.strides "
                    f"{self.strides}: {size} pixels are left before a kernel of {kernel}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConfig:
    """PPO (Schulman et al. 2017) and, as one epoch of one batch, A2C (Mnih et al. 2016)."""

    algorithm: str = field(default="ppo", metadata={"choices": ("ppo", "a2c")})
    """`ppo`, or `a2c`: no clipping, needs epochs 1 and minibatches 1."""

    rollout_steps: int = 128
    """Observations of each environment per rollout."""

    epochs: int = 4
    """Passes over a rollout. The first uses whole environments and is measured; the others are shuffled."""

    minibatches: int = 4
    """Optimizer steps per epoch; must divide the number of environments."""

    batch: str = field(default="fixed", metadata={"choices": ("fixed", "adaptive")})
    """`fixed`, or `adaptive`: the noise scale decides how many environments play (section `adaptive`)."""

    learning_rate: float = 2.5e-4
    """Step size at the start. An adaptive batch scales it by the square root of its size over that at env.num_envs."""

    anneal: bool = True
    """Lower the learning rate linearly to zero over the run's observations."""

    gamma: float = 0.99
    """Discount per observation."""

    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation (Schulman et al. 2016)."""

    clip: float = 0.1
    """PPO clip of the probability ratio."""

    clip_value: bool = True
    """Clip the value's change by `clip` as well, as OpenAI Baselines does."""

    value_coefficient: float = 0.5
    """Weight of the value loss."""

    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus."""

    max_grad_norm: float = 0.5
    """Global norm to which a step's gradient is clipped, after the measurement."""

    normalise_advantages: bool = True
    """Shift and scale advantages to mean 0 and variance 1: once per rollout, so that groups stay independent."""

    optimizer: str = field(default="adam", metadata={"choices": ("adam", "rmsprop")})
    """`adam` or `rmsprop` (smoothing 0.99)."""

    optimizer_epsilon: float = 1e-5
    """Term that the optimizer adds to its denominator."""

    def __post_init__(self) -> None:
        for key in fields(self):
            value, choices = getattr(self, key.name), key.metadata.get("choices")
            if choices is not None and value not in choices:
                raise ValueError(f"agent.{key.name} must be one of {', '.join(choices)}; got {value!r}")
        for name in ("rollout_steps", "epochs", "minibatches", "learning_rate", "max_grad_norm", "optimizer_epsilon"):
            if getattr(self, name) <= 0:
                raise ValueError(f"agent.{name} must be positive, got {getattr(self, name)}")
        check_at_most("agent", self, LARGEST_AGENT)
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"agent.{name} must lie between 0 and 1, got {getattr(self, name)}")
        for name in ("clip", "value_coefficient", "entropy_coefficient"):
            if getattr(self, name) < 0:
                raise ValueError(f"agent.{name} must be zero or positive, got {getattr(self, name)}")
        if self.algorithm == "a2c" and (self.epochs, self.minibatches) != (1, 1):
            raise ValueError(
                "agent.algorithm a2c needs agent.epochs 1 and agent.minibatches 1, "
                f"got {self.epochs} and {self.minibatches}"
            )
