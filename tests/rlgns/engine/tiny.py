"""The smallest configuration that trains on real Atari."""

from pathlib import Path

from rlgns.agents.config import AgentConfig, NetworkConfig
from rlgns.config.load import to_dict
from rlgns.config.schema import Config, EngineConfig, RunConfig, WandbConfig
from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.run_settings import TrialSpec
from rlgns.envs.config import EnvConfig
from rlgns.machine.placement import Node, Placement, TrialShare
from rlgns.noise.config import NoiseConfig
from rlgns.storage.run_folder import RunFolder


def tiny(**engine: object) -> Config:
    """4 environments x 8 steps of a small network: iterations of milliseconds. No probe: the clock sets its cadence."""
    return Config(
        run=RunConfig(observations=128),
        env=EnvConfig(num_envs=4, image_size=32, stagger_steps=4),
        network=NetworkConfig(channels=(4,), kernels=(8,), strides=(8,), hidden=16),
        agent=AgentConfig(rollout_steps=8, epochs=2, minibatches=2),
        noise=NoiseConfig(shuffled_every=2, overhead_budget=0),
        engine=EngineConfig(precision="float32", checkpoint_every_s=0, **engine),  # type: ignore[arg-type]
        wandb=WandbConfig(mode="disabled"),
    )


def build(config: Config, path: Path) -> AtariPPO:
    """Builds the algorithm as a trial would; a run that exists resumes."""
    folder = RunFolder(path)
    if not folder.config_path.exists():
        folder.create(to_dict(config), {"game": "pong"})
    placement = Placement.of(config, TrialShare.of([Node(cpus=2)], 1))
    trial = TrialSpec(game="pong", num_actions=6, folder=str(path), placement=placement)
    algorithm = AtariPPO.configured(config, trial).build_algo()
    assert isinstance(algorithm, AtariPPO)
    return algorithm
