"""Presets, files and overrides become one configuration; every mistake is one line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlgns.config import load
from rlgns.config.files import presets
from rlgns.config.schema import Config
from rlgns.envs.games import GAMES
from rlgns.errors import UserError


def resolved(*files: str | Path, **overrides: Any) -> Config:
    return load.resolve(files, {key.replace("__", "."): value for key, value in overrides.items()}, has_gpu=False)


def test_every_preset_resolves_and_gives_its_name_to_the_experiment() -> None:
    assert set(presets()) == {"ppo", "a2c-paper", "quick", "gpu"}
    for name in presets():
        assert resolved(name).run.name == name


def test_ppo_preset_is_the_defaults() -> None:
    config = resolved("ppo")
    assert dataclasses.replace(config, run=dataclasses.replace(config.run, name="")) == Config()


def test_gpu_preset_is_ppo_with_a_larger_batch_and_a_rate_for_it() -> None:
    gpu, ppo = resolved("gpu"), resolved("ppo")
    assert (gpu.env.num_envs, gpu.rollout_observations, gpu.batch_observations) == (128, 4096, 1024)
    assert (gpu.batch_observations // gpu.groups_per_batch, gpu.groups_per_batch) == (128, 8)
    assert gpu.agent.learning_rate == pytest.approx(
        ppo.agent.learning_rate * (gpu.batch_observations / ppo.batch_observations) ** 0.5
    )
    same = {"rollout_steps": 128, "learning_rate": 2.5e-4}
    assert dataclasses.replace(gpu.agent, **same) == ppo.agent


def test_a2c_preset_is_the_papers() -> None:
    agent = resolved("a2c-paper").agent
    assert (agent.algorithm, agent.rollout_steps, agent.optimizer, agent.gae_lambda) == ("a2c", 5, "rmsprop", 1.0)
    assert not agent.normalise_advantages
    assert not agent.clip_value


def test_without_a_file_the_hardware_decides() -> None:
    assert load.resolve(has_gpu=False).run.name == "quick"
    assert load.resolve(has_gpu=True).run.name == "gpu"


def test_overrides_win_over_the_file_and_the_file_over_its_base(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: a2c-paper\nagent: {gamma: 0.9, value_coefficient: 0.25}\nnetwork:\n")
    config = resolved(file, agent__gamma="0.8", network__channels="16, 32,32", run__games="MsPacman,pong")
    assert (config.agent.gamma, config.agent.value_coefficient, config.agent.algorithm) == (0.8, 0.25, "a2c")
    assert config.network.channels == (16, 32, 32)
    assert config.run.games == ("ms_pacman", "pong")
    assert config.run.name == "mine"


def test_a_base_may_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "under.yaml").write_text("agent: {gamma: 0.5}\n")
    (tmp_path / "over.yaml").write_text("base: under.yaml\nrun: {seed: 3}\n")
    config = resolved(tmp_path / "over.yaml")
    assert (config.agent.gamma, config.run.seed) == (0.5, 3)


def test_a_runs_own_file_starts_a_run_with_the_same_settings(tmp_path: Path) -> None:
    config = resolved("quick", run__seed=7)
    saved = {"config": load.to_dict(config), "run": {"game": "pong", "versions": {"torch": "2"}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(saved))
    assert resolved(tmp_path / "config.yaml") == config


ADAPTIVE = {"agent.batch": "adaptive"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"env.num_env": 8}, ("env.num_env", "env.num_envs")),
        ({"evn.num_envs": 8}, ("evn.num_envs", "env.num_envs")),
        ({"seed": 8}, ("seed", "unknown key", "run.seed")),
        ({"env.num_envs": "abc"}, ("env.num_envs: 'abc' is not a whole number",)),
        ({"env.num_envs": "8.5"}, ("env.num_envs: '8.5' is not a whole number",)),
        ({"env.num_envs": True}, ("env.num_envs: True is not a whole number",)),
        ({"env.num_envs": "9" * 5000}, ("env.num_envs", "is not a whole number")),
        ({"env.num_envs": None}, ("env.num_envs: None is not a whole number",)),
        ({"env.num_envs": 0}, ("env.num_envs must be positive, got 0",)),
        ({"env.num_envs": -8}, ("env.num_envs must be positive, got -8",)),
        ({"run.observations": "-1"}, ("run.observations must be positive, got -1",)),
        ({"agent.rollout_steps": 0}, ("agent.rollout_steps must be positive",)),
        ({"agent.minibatches": 5}, ("agent.minibatches must divide env.num_envs", "got 5 and 8", "nearest", "4")),
        ({"agent.minibatches": 8}, ("noise.groups", "at least 2 environments", "--noise.enabled false")),
        ({"noise.groups": 1}, ("noise.groups must be at least 2",)),
        ({"env.num_envs": 68, "noise.groups": 4}, ("noise.groups", "17 environments", "into 2 to 4 equal groups")),
        ({"engine.runners": 3}, ("engine.runners must divide env.num_envs", "got 3 and 8")),
        ({"agent.learning_rate": "nan"}, ("agent.learning_rate: 'nan' is not a finite number",)),
        ({"agent.learning_rate": "1e999"}, ("agent.learning_rate: '1e999' is not a finite number",)),
        ({"agent.learning_rate": [1]}, ("agent.learning_rate: [1] is not a finite number",)),
        ({"noise.enabled": "maybe"}, ("noise.enabled: 'maybe' is not true or false",)),
        ({"noise.enabled": 2}, ("noise.enabled: 2 is not true or false",)),
        ({"wandb.mode": False}, ("wandb.mode: False is not text",)),
        ({"network.channels": "16,x"}, ("network.channels: 'x' is not a whole number",)),
        ({"network.channels": "16"}, ("equally long",)),
        ({"network.channels": ""}, ("equally long",)),
        ({"env.image_size": 20}, ("env.image_size 20 is too small for network.kernels",)),
        ({"run.games": "pongg"}, ("unknown game 'pongg'", "did you mean pong?")),
        ({"run.games": ""}, ("run.games must name at least one game",)),
        ({"run.games": "pong,Pong"}, ("run.games must name each game once",)),
        ({"run.seed": 2**40}, ("run.seed must lie between 0 and",)),
        ({"agent.algorithm": "a2c"}, ("agent.epochs 1",)),
        ({"agent.batch": "adaptve"}, ("agent.batch must be one of fixed, adaptive; got 'adaptve'",)),
        ({"adaptive.exchange_rate": -1}, ("adaptive.exchange_rate must be zero or positive, got -1",)),
        (ADAPTIVE | {"adaptive.largest_envs": 100}, ("adaptive.largest_envs", "8 halved or doubled", "nearest: 128")),
        (ADAPTIVE | {"adaptive.smallest_envs": 3}, ("adaptive.smallest_envs", "got 3", "nearest: 4")),
        (ADAPTIVE | {"adaptive.largest_envs": 4}, ("must enclose env.num_envs 8, got 8 and 4",)),
        (ADAPTIVE | {"adaptive.smallest_envs": 16}, ("must enclose env.num_envs 8, got 16 and 128",)),
        (ADAPTIVE | {"adaptive.largest_envs": 8}, ("adaptive.largest_envs are both 8", "no choice")),
        (ADAPTIVE | {"noise.enabled": False}, ("agent.batch adaptive follows the noise scale",)),
        (ADAPTIVE | {"engine.async_lag": 1, "engine.runners": 2}, ("needs engine.async_lag 0, got 1",)),
        (ADAPTIVE | {"adaptive.smallest_envs": 4}, ("at least 2 environments", "got 1", "adaptive.smallest_envs 4")),
        (ADAPTIVE | {"adaptive.smallest_envs": 2}, ("agent.minibatches must divide adaptive.smallest_envs", "4 and 2")),
        (
            {"agent.batch": "adaptive", "env.num_envs": 32, "adaptive.smallest_envs": 8, "engine.runners": 16},
            ("engine.runners must divide adaptive.smallest_envs, got 16 and 8",),
        ),
        ({"env.protocol": "sticky"}, ("env.protocol must be one of baselines, ",)),
    ],
)
def test_a_mistake_is_one_line_naming_key_and_value(overrides: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        load.resolve(["ppo"], overrides)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_adaptive_batch_has_doublings_and_sizes_at_each() -> None:
    given = {"env.num_envs": 32, "adaptive.smallest_envs": 8, "adaptive.largest_envs": 128, "engine.runners": 2}
    config = load.resolve(["ppo"], ADAPTIVE | given)
    assert config.env_tiers == (8, 16, 32, 64, 128)
    assert config.batch_observations == 32 * 128 // 4
    sizes = [(now.batch_observations, now.groups_per_batch) for now in map(config.at, config.env_tiers)]
    assert sizes == [(256, 2), (512, 4), (1024, 8), (2048, 8), (4096, 8)]
    assert load.from_dict(load.to_dict(config)) == config
    default = load.resolve(["ppo"], ADAPTIVE)
    assert default.env_tiers == (8, 16, 32, 64, 128)
    fixed = load.resolve(["ppo"], given)
    assert fixed.env_tiers == (32,) and fixed.at(32) is fixed


@pytest.mark.parametrize(("envs", "groups"), [(11, 8), (17, 4), (25, 4), (49, 6), (3, 2)])
def test_where_a_batch_makes_no_equal_groups_the_numbers_that_are_named_do(envs: int, groups: int) -> None:
    given = {"env.num_envs": 4 * envs, "noise.groups": groups}
    with pytest.raises(UserError) as caught:
        load.resolve(["ppo"], given)
    fewer, more, enough = re.findall(r"\d+", str(caught.value).partition("nearest")[2])
    for advice in ({"env.num_envs": fewer}, {"env.num_envs": more}, {"noise.groups": enough}):
        assert load.resolve(["ppo"], given | advice).groups_per_batch >= 2
    assert load.resolve(["ppo"], given | {"noise.enabled": False}).groups_per_batch == 1


@pytest.mark.parametrize(("envs", "groups", "expected"), [(2, 8, 2), (7, 8, 7), (9, 8, 3), (32, 8, 8), (35, 6, 5)])
def test_groups_are_as_many_as_divide_a_batch(envs: int, groups: int, expected: int) -> None:
    config = load.resolve(["ppo"], {"env.num_envs": 4 * envs, "noise.groups": groups})
    assert config.groups_per_batch == expected


def sections() -> st.SearchStrategy[Config]:
    """Configurations far from the defaults in every kind of value."""

    def build(minibatches: int, envs: int, games: list[str], tags: list[str], rate: float, name: str) -> Config:
        base = Config()
        return dataclasses.replace(
            base,
            run=dataclasses.replace(base.run, games=tuple(games), name=name),
            env=dataclasses.replace(base.env, num_envs=2 * minibatches * envs),
            agent=dataclasses.replace(base.agent, minibatches=minibatches, learning_rate=rate, anneal=envs % 2 == 0),
            wandb=dataclasses.replace(base.wandb, tags=tuple(tags)),
        )

    games = st.lists(st.sampled_from(sorted(GAMES)), min_size=1, max_size=4, unique=True)
    rates = st.floats(min_value=1e-12, max_value=1e3, allow_subnormal=False)
    sizes = st.integers(1, 50)
    return st.builds(build, sizes, sizes, games, st.lists(st.text(max_size=8), max_size=3), rates, st.text(max_size=12))


@given(sections())
def test_plain_data_and_back(config: Config) -> None:
    tree = load.to_dict(config)
    assert load.from_dict(tree) == config
    assert load.from_dict(yaml.safe_load(yaml.safe_dump(tree))) == config
    assert load.from_dict(yaml.safe_load(load.to_yaml(config))) == config


def test_an_id_of_another_library_sets_game_and_protocol_and_says_so() -> None:
    said: list[str] = []
    config = load.resolve(["ppo"], {"run.games": ["ALE/Pong-v5", "breakout"]}, say=said.append)
    assert (config.run.games, config.env.protocol) == (("pong", "breakout"), "machado")
    (line,) = said
    assert line.startswith("ALE/Pong-v5: pong, protocol machado: sticky actions 0.25")
    assert load.resolve(["quick"], {"run.games": "PongNoFrameskip-v4"}).env.protocol == "baselines"
    refused = {
        "ALE/Pong-v5 means env.protocol machado, not baselines; give pong for baselines": {
            "run.games": "ALE/Pong-v5",
            "env.protocol": "baselines",
        },
        "ALE/Pong-v5 and PongNoFrameskip-v4 mean the protocols machado and baselines": {
            "run.games": "ALE/Pong-v5,PongNoFrameskip-v4"
        },
    }
    for words, overrides in refused.items():
        with pytest.raises(UserError, match=words):
            load.resolve(["quick"], overrides)
