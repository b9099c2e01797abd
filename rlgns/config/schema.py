"""The configuration of a run: one frozen tree of sections, most of them defined beside the code that they configure."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from rlgns.agents.config import AgentConfig, NetworkConfig, check_at_most
from rlgns.config.output import OutputConfig, WandbConfig
from rlgns.critical.adaptive_config import AdaptiveConfig
from rlgns.envs.config import LARGEST, EnvConfig
from rlgns.noise.config import NoiseConfig

LARGEST_RUN = 10**15
"""Observations."""

LARGEST_ENGINE = {"runners": 10_000, "learners": 10_000, "threads": 65_536}
"""Bounds far beyond any use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """What to train and for how long."""

    games: tuple[str, ...] = ("pong",)
    """Games, by ROM name (`rlgns games`); each is a separate trial."""

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
        if self.observations > LARGEST_RUN:
            raise ValueError(f"run.observations must be at most {LARGEST_RUN:,}, got {self.observations}")
        if len(set(self.games)) < len(self.games):
            raise ValueError(f"run.games must name each game once, got {', '.join(self.games)}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"run.seed must lie between 0 and {2**31 - 1}, got {self.seed}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """How the work is distributed over processes and machines."""

    runners: int = 0
    """Remote Ray actors that play; 0: the learner's process plays, nothing is copied."""

    learners: int = 0
    """Remote Ray actors that share every optimizer step (torch.distributed); 0: the trial's own process learns."""

    async_lag: int = 0
    """1: the next rollout is played while the learners learn from this one, with weights one update old. 0: never."""

    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""

    precision: str = "auto"
    """`float32`, `bfloat16` (weights stay float32) or `auto`: bfloat16 where the hardware has it."""

    cuda_graphs: str = "auto"
    """`auto`: a GPU replays optimizer steps that it has recorded, one launch each; `never`: it runs them operation by
    operation. Several learners always do."""

    threads: int = 0
    """torch threads of the learner; 0: the cores that its process may use."""

    learner_timeout_s: float = 300.0
    """Seconds that a learner waits for the others before all restart from the newest checkpoint."""

    sample_timeout_s: float = 120.0
    """Seconds after which a runner that has not answered is restarted."""

    checkpoint_every_s: float = 120.0
    """Seconds between checkpoints (one is always written at the end and when interrupted)."""

    checkpoints_kept: int = 2
    """How many of the newest checkpoints are kept."""

    max_failures: int = 3
    """Restarts of a failing trial from its newest checkpoint before it is given up; an iteration resets the count."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"engine.device must be one of auto, cpu, cuda; got {self.device!r}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"engine.precision must be one of auto, float32, bfloat16; got {self.precision!r}")
        if self.cuda_graphs not in ("auto", "never"):
            raise ValueError(f"engine.cuda_graphs must be auto or never; got {self.cuda_graphs!r}")
        for name in ("runners", "learners", "threads", "checkpoint_every_s", "max_failures"):
            if getattr(self, name) < 0:
                raise ValueError(f"engine.{name} must be zero or positive, got {getattr(self, name)}")
        for name in ("learner_timeout_s", "sample_timeout_s", "checkpoints_kept"):
            if getattr(self, name) <= 0:
                raise ValueError(f"engine.{name} must be positive, got {getattr(self, name)}")
        check_at_most("engine", self, LARGEST_ENGINE)
        if self.async_lag not in (0, 1):
            raise ValueError(f"engine.async_lag must be 0 or 1, got {self.async_lag}")
        if self.async_lag and not self.runners:
            raise ValueError(
                "engine.async_lag 1 needs remote runners, which play while the learners learn: "
                "engine.runners must be at least 1, got 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The whole configuration of a run. Raises ValueError where sections contradict each other."""

    run: RunConfig = field(default_factory=RunConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    adaptive: AdaptiveConfig = field(default_factory=AdaptiveConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        if self.agent.batch == "adaptive" and not self.noise.enabled:
            raise ValueError("agent.batch adaptive follows the noise scale: leave out --noise.enabled false")
        if self.agent.batch == "adaptive" and self.engine.async_lag:
            raise ValueError(
                "agent.batch adaptive needs engine.async_lag 0, got 1: a rollout played ahead has a fixed size"
            )
        if self.env_tiers[-1] > LARGEST["num_envs"]:
            raise ValueError(f"adaptive.largest_envs must be at most {LARGEST['num_envs']:,}, got {self.env_tiers[-1]}")
        # What divides the smallest number of environments divides all its doublings.
        envs, parts, runners = self.env_tiers[0], self.agent.minibatches, max(1, self.engine.runners)
        name = "env.num_envs" if envs == self.env.num_envs else "adaptive.smallest_envs"
        if envs % parts:
            raise ValueError(
                f"agent.minibatches must divide {name} (batches of the first epoch are whole environments), "
                f"got {parts} and {envs} (nearest: {name} {self._near_envs(envs)}{self._near_parts(envs)})"
            )
        if envs % runners:
            raise ValueError(
                f"engine.runners must divide {name}, got {runners} and {envs} "
                f"(nearest that divides: {_near_divisor(runners, envs)})"
            )
        if self.noise.enabled and envs // parts < 2:
            raise ValueError(
                f"noise.groups: a batch needs at least 2 environments to form groups, got {envs // parts} "
                f"({name} {envs} / agent.minibatches {parts}); use more environments, fewer minibatches or "
                "--noise.enabled false"
            )
        if self.noise.enabled and self._groups(envs // parts) < 2:
            per_batch = envs // parts  # odd, so both neighbours split into halves
            divisor = next(m for m in range(2, per_batch + 1) if per_batch % m == 0)
            raise ValueError(
                f"noise.groups: the {per_batch} environments of a batch ({name} {envs} / agent.minibatches "
                f"{parts}) cannot be split into 2 to {self.noise.groups} equal groups; nearest {name} that can: "
                f"{parts * (per_batch - 1)} or {parts * (per_batch + 1)}, nearest noise.groups: {divisor}"
            )
        self.network.check_image_size(self.env.image_size)

    @property
    def env_tiers(self) -> tuple[int, ...]:
        """How many environments may be in use, ascending: doublings, or env.num_envs alone with a fixed batch."""
        if self.agent.batch == "fixed":
            return (self.env.num_envs,)
        return self.adaptive.tiers(self.env.num_envs)

    def at(self, num_envs: int) -> Config:
        """Returns this configuration with a fixed batch of `num_envs` environments: its sizes while they are in use."""
        if self.agent.batch == "fixed" and num_envs == self.env.num_envs:
            return self
        agent = dataclasses.replace(self.agent, batch="fixed")
        return dataclasses.replace(self, env=dataclasses.replace(self.env, num_envs=num_envs), agent=agent)

    @property
    def rollout_observations(self) -> int:
        """Observations per iteration; with an adaptive batch, while env.num_envs are in use, like all sizes here."""
        return self.env.num_envs * self.agent.rollout_steps

    @property
    def batch_observations(self) -> int:
        """Observations per optimizer step."""
        return self.rollout_observations // self.agent.minibatches

    @property
    def groups_per_batch(self) -> int:
        """Groups of whole environments that a first-epoch batch is split into."""
        return self._groups(self.env.num_envs // self.agent.minibatches)

    def _groups(self, envs_per_batch: int) -> int:
        return max(m for m in range(1, min(envs_per_batch, self.noise.groups) + 1) if envs_per_batch % m == 0)

    def _near_envs(self, envs: int) -> int:
        """The nearest number of environments whose batches can be split into groups."""
        parts = self.agent.minibatches
        usable = (n for n in range(2, 2 * envs // parts + 4) if not self.noise.enabled or self._groups(n) > 1)
        return parts * min(usable, key=lambda n: abs(n * parts - envs))

    def _near_parts(self, envs: int) -> str:
        usable = [d for d in range(1, envs + 1) if envs % d == 0 and self._groups(envs // d) > 1]
        parts = self.agent.minibatches
        return f", or agent.minibatches {min(usable, key=lambda d: abs(d - parts))}" if usable else ""

    @property
    def iterations(self) -> int:
        """Iterations of the whole run."""
        return math.ceil(self.run.observations / self.rollout_observations)


def _near_divisor(value: int, number: int) -> int:
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - value))
