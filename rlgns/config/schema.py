"""One frozen tree of settings; each section is defined beside the code it governs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from agents.config import AgentConfig, NetworkConfig
from envs.config import EnvConfig
from rlgns.noise.config import NoiseConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What to train and for how long."""

    games: tuple[str, ...] = ("pong",)
    """Games, by ROM name (`rlgns games`); each is a trial of its own."""

    observations: int = 10_000_000
    """Observations per game after which training ends."""

    seed: int = 0
    """Seed of everything random."""

    name: str = ""
    """Experiment name: the group in W&B; empty: made from the preset's name."""

    def __post_init__(self) -> None:
        if not self.games:
            raise ValueError("run.games must name at least one game")
        if self.observations <= 0:
            raise ValueError(f"run.observations must be positive, got {self.observations}")
        if len(set(self.games)) < len(self.games):
            raise ValueError(f"run.games must name each game once, got {', '.join(self.games)}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"run.seed must lie between 0 and {2**31 - 1}, got {self.seed}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """How the work is laid out on machines."""

    runners: int = 0
    """Remote Ray actors that play; 0: the learner's process plays, nothing is copied."""

    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""

    precision: str = "auto"
    """`float32`, `bfloat16` (autocast; weights stay float32) or `auto`: bfloat16 where the hardware has it."""

    threads: int = 0
    """torch threads of the learner; 0: the cores that its process may use."""

    sample_timeout_s: float = 120.0
    """Seconds after which a runner that has not answered is restarted."""

    checkpoint_every_s: float = 120.0
    """Seconds between checkpoints (one is always written at the end and when interrupted)."""

    checkpoints_kept: int = 2
    """Newest checkpoints that are kept."""

    max_failures: int = 3
    """How often a trial that failed is restarted from its newest checkpoint, until it has a new iteration."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"engine.device must be one of auto, cpu, cuda; got {self.device!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"engine.precision must be one of auto, float32, bfloat16; got {self.precision!r}")
        for name in ("runners", "threads", "checkpoint_every_s", "max_failures"):
            if getattr(self, name) < 0:
                raise ValueError(f"engine.{name} must be zero or positive, got {getattr(self, name)}")
        for name in ("sample_timeout_s", "checkpoints_kept"):
            if getattr(self, name) <= 0:
                raise ValueError(f"engine.{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class WandbConfig:
    """Weights & Biases."""

    mode: str = "auto"
    """`auto` (online if logged in, else offline), `online`, `offline` or `disabled`."""

    project: str = "rlgns"
    """W&B project."""

    entity: str = ""
    """W&B user or team; empty: the login's default."""

    tags: tuple[str, ...] = ()
    """Tags beside game, protocol and preset."""

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "online", "offline", "disabled"):
            raise ValueError(f"wandb.mode must be one of auto, online, offline, disabled; got {self.mode!r}")
        if not self.project:
            raise ValueError("wandb.project must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The whole configuration of a run. Raises ValueError where sections contradict each other."""

    run: RunConfig = field(default_factory=RunConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        envs, parts, runners = self.env.num_envs, self.agent.minibatches, max(1, self.engine.runners)
        if envs % parts:
            raise ValueError(
                f"agent.minibatches must divide env.num_envs (batches of the first epoch are whole environments), "
                f"got {parts} and {envs}{_near_divisor(parts, envs)}"
            )
        if envs % runners:
            raise ValueError(
                f"engine.runners must divide env.num_envs, got {runners} and {envs}{_near_divisor(runners, envs)}"
            )
        if self.noise.enabled and envs // parts < 2:
            raise ValueError(
                f"noise.groups: a batch needs at least 2 environments to form groups, got {envs // parts} "
                f"(env.num_envs {envs} / agent.minibatches {parts}); use more environments, fewer minibatches or "
                "--noise.enabled false"
            )
        if self.noise.enabled and self.groups_per_batch < 2:
            per_batch = envs // parts  # odd, so that its neighbours can be halved
            divisor = next(m for m in range(2, per_batch + 1) if per_batch % m == 0)
            raise ValueError(
                f"noise.groups: the {per_batch} environments of a batch (env.num_envs {envs} / agent.minibatches "
                f"{parts}) cannot be split into 2 to {self.noise.groups} equal groups; nearest env.num_envs that can: "
                f"{parts * (per_batch - 1)} or {parts * (per_batch + 1)}, nearest noise.groups: {divisor}"
            )
        size = self.env.image_size
        for kernel, stride in zip(self.network.kernels, self.network.strides, strict=True):
            size = (size - kernel) // stride + 1 if size >= kernel else 0
        if size < 1:
            raise ValueError(
                f"env.image_size {self.env.image_size} is too small for network.kernels {self.network.kernels} "
                f"with network.strides {self.network.strides}"
            )

    @property
    def rollout_observations(self) -> int:
        """Observations per iteration."""
        return self.env.num_envs * self.agent.rollout_steps

    @property
    def batch_observations(self) -> int:
        """Observations per optimizer step."""
        return self.rollout_observations // self.agent.minibatches

    @property
    def groups_per_batch(self) -> int:
        """Groups of whole environments that a first-epoch batch is split into."""
        envs = self.env.num_envs // self.agent.minibatches
        return max(m for m in range(1, min(envs, self.noise.groups) + 1) if envs % m == 0)

    @property
    def iterations(self) -> int:
        """Iterations of the whole run."""
        return math.ceil(self.run.observations / self.rollout_observations)


def _near_divisor(value: int, number: int) -> str:
    divisors = [d for d in range(1, number + 1) if number % d == 0]
    return f" (nearest that divides: {min(divisors, key=lambda d: abs(d - value))})"
