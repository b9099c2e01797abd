"""The vector environment against Gymnasium's wrappers, and what its documentation promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from rlgns.envs.config import EnvConfig
from rlgns.envs.protocols import PROTOCOLS
from rlgns.envs.vector import AtariEnvs, Step, draw_seeds, random_stream
from rlgns.envs.video import FilmedGame

BARE = replace(PROTOCOLS["baselines"], noop_max=0, use_fire_reset=False)
SMALL = EnvConfig(image_size=16, frame_stack=2, stagger_steps=0)


class GymnasiumGame:
    """Gymnasium's preprocessing, one game at a time, reset by hand."""

    def __init__(self, title: str, config: EnvConfig, max_frames: int) -> None:
        game = gym.make(
            f"ALE/{title}-v5",
            frameskip=1,
            repeat_action_probability=0.0,
            full_action_space=False,
            max_num_frames_per_episode=max_frames,
        )
        game = AtariPreprocessing(game, noop_max=0, screen_size=config.image_size, frame_skip=config.frame_skip)
        self.env = FrameStackObservation(game, config.frame_stack, padding_type="zero")

    def lives(self) -> int:
        return self.env.unwrapped.ale.lives()


@pytest.mark.parametrize(
    ("game", "title", "steps", "size", "stack", "skip", "max_frames"),
    [
        ("pong", "Pong", 1100, 84, 4, 4, 108_000),
        ("breakout", "Breakout", 400, 84, 4, 4, 108_000),
        ("ms_pacman", "MsPacman", 700, 84, 4, 4, 108_000),
        ("seaquest", "Seaquest", 500, 84, 4, 4, 108_000),
        ("breakout", "Breakout", 400, 42, 3, 3, 108_000),
        ("breakout", "Breakout", 200, 84, 4, 4, 150),  # cut off in the middle of a step
    ],
)
def test_frames_rewards_and_ends_are_those_of_gymnasium(
    game: str, title: str, steps: int, size: int, stack: int, skip: int, max_frames: int
) -> None:
    config = EnvConfig(image_size=size, frame_stack=stack, frame_skip=skip, stagger_steps=0)
    protocol = replace(BARE, max_frames_per_episode=max_frames)
    envs = AtariEnvs(game, config, num_envs=2, seed=3, threads=2, protocol=protocol)
    twins = [GymnasiumGame(title, config, max_frames) for _ in range(2)]
    rng = np.random.default_rng(0)
    ends = lives_lost = 0
    np.testing.assert_array_equal(envs.reset(), np.stack([twin.env.reset(seed=3)[0] for twin in twins]))
    scores, lengths = [0.0, 0.0], [0, 0]
    for _ in range(steps):
        actions = rng.integers(0, envs.num_actions, 2)
        step = envs.step(actions)
        reported = {episode.env: (episode.score, episode.length) for episode in step.episodes}
        for i, twin in enumerate(twins):
            lives = twin.lives()
            observation, reward, terminated, truncated, _ = twin.env.step(actions[i])
            assert (step.rewards[i], step.terminated[i]) == (reward, terminated)
            assert step.truncated[i] == (truncated and not terminated)
            assert step.life_lost[i] == (0 < twin.lives() < lives and not (terminated or truncated))
            scores[i], lengths[i] = scores[i] + float(reward), lengths[i] + 1
            lives_lost += bool(step.life_lost[i])
            if terminated or truncated:
                ends += 1
                assert step.final_observations is not None
                np.testing.assert_array_equal(step.final_observations[i], observation)
                assert reported.pop(i) == (scores[i], lengths[i])
                scores[i], lengths[i] = 0.0, 0
                observation, _ = twin.env.reset()
                assert not step.observations[i, :-1].any(), "the stack of a new game starts with zeros"
            np.testing.assert_array_equal(step.observations[i], observation)
        assert not reported
        assert (step.final_observations is None) == (not (step.terminated | step.truncated).any())
    envs.close()
    assert ends >= 2
    assert lives_lost > 0 or game == "pong" or max_frames < 1000


@pytest.mark.parametrize("game", ["bank_heist", "qbert"])
def test_fall_to_zero_lives_is_not_a_lost_life(game: str) -> None:
    # Both games stay at 0 lives before they are over; Baselines and EnvPool do not count that as the end of a return.
    envs = AtariEnvs(game, SMALL, num_envs=1, seed=0, protocol=BARE)
    twin = FilmedGame(game, SMALL, seed=0, protocol=BARE)
    envs.reset(), twin.reset()
    rng = np.random.default_rng(1)
    lost = zero = 0
    for _ in range(1000):
        action = rng.integers(0, envs.num_actions, 1)
        before = twin.lives
        step = envs.step(action)
        _, _, reward, terminated, _ = twin.step(int(action[0]))
        assert (step.rewards[0], step.terminated[0]) == (reward, terminated)
        assert step.life_lost[0] == (0 < twin.lives < before and not terminated)
        lost += bool(step.life_lost[0])
        zero += not terminated and twin.lives == 0
        if terminated:
            break
    assert lost >= 2
    assert zero > 0 or game != "bank_heist"


def test_filmed_game_shows_what_the_vector_environment_shows() -> None:
    config = EnvConfig(image_size=42, frame_stack=3, stagger_steps=0)
    protocol = replace(PROTOCOLS["baselines"], noop_max=0, max_frames_per_episode=410)
    envs = AtariEnvs("breakout", config, num_envs=1, seed=0, protocol=protocol)
    twin = FilmedGame("breakout", config, seed=5, protocol=protocol)
    np.testing.assert_array_equal(envs.reset(), twin.reset())
    for action in np.random.default_rng(0).integers(0, 4, 300):
        step = envs.step(np.array([action]))
        observation, screens, reward, terminated, truncated = twin.step(int(action))
        assert (step.rewards[0], step.terminated[0], step.truncated[0]) == (reward, terminated, truncated)
        assert all(screen.shape == (210, 160, 3) for screen in screens)
        if terminated or truncated:
            assert step.final_observations is not None
            np.testing.assert_array_equal(step.final_observations, observation)
            observation = twin.reset()
        else:
            assert len(screens) == config.frame_skip
        np.testing.assert_array_equal(step.observations, observation)
    envs.close()


def play(envs: AtariEnvs, steps: int, seed: int = 0) -> Iterator[Step]:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield envs.step(rng.integers(0, envs.num_actions, envs.num_envs))


@pytest.mark.parametrize("protocol", ["baselines", "machado"])
def test_equal_seeds_give_equal_games_whatever_the_threads(protocol: str) -> None:
    config = replace(SMALL, protocol=protocol, stagger_steps=30)
    runs = []
    for seed, worker_index, restarts, threads in [(1, 0, 0, 1), (1, 0, 0, 2), (2, 0, 0, 1), (1, 1, 0, 1), (1, 0, 1, 1)]:
        envs = AtariEnvs(
            "breakout", config, num_envs=4, seed=seed, worker_index=worker_index, restarts=restarts, threads=threads
        )
        frames = [envs.reset()] + [step.observations for step in play(envs, 60)]
        runs.append(np.stack(frames))
        envs.close()
    np.testing.assert_array_equal(runs[0], runs[1])
    for other in runs[2:]:
        assert not np.array_equal(runs[0], other)


def test_seeds_differ_between_environments_workers_restarts_and_runs() -> None:
    keys = [(seed, worker, restarts) for seed in range(3) for worker in range(4) for restarts in range(3)]
    drawn = np.concatenate([draw_seeds(random_stream(*key), 64) for key in keys])
    assert len(np.unique(drawn)) == len(drawn)
    assert drawn.min() > 0
    assert drawn.max() < 2**31
    assert np.abs(np.diff(np.sort(drawn))).min() > 1, "no runs of consecutive seeds"


@pytest.mark.parametrize(("game", "low"), [("pong", 1), ("freeway", 0)])  # Freeway has no FIRE
def test_games_start_after_up_to_30_noops(game: str, low: int) -> None:
    envs = AtariEnvs(game, SMALL, num_envs=4, seed=0, threads=2)
    envs.reset()
    frames = np.concatenate([envs._envs.reset()[1]["episode_frame_number"] for _ in range(80)])
    envs.close()
    assert set(frames) == set(range(low, 31))


def test_machado_starts_at_once_with_sticky_actions() -> None:
    config = replace(SMALL, protocol="machado")
    envs = AtariEnvs("breakout", config, num_envs=8, seed=0, threads=2)
    assert envs.num_actions == 18
    first = envs.reset()
    assert all(np.array_equal(first[0], other) for other in first[1:])
    fire, right = np.full(8, 1), np.full(8, 3)
    lost = sum(int(envs.step(fire if t % 10 < 5 else right).life_lost.sum()) for t in range(300))
    assert lost == 0
    assert len({row.tobytes() for row in envs.step(right).observations}) > 1, "equal actions, unequal games: sticky"
    envs.close()


def test_environments_start_staggered() -> None:
    envs = AtariEnvs("freeway", replace(SMALL, stagger_steps=40), num_envs=8, seed=0, threads=2)  # games are longer
    lengths = []
    for _ in range(16):
        envs.reset()
        lengths.append(envs.game_lengths)
    envs.close()
    assert (np.min(lengths), np.max(lengths)) == (0, 40)
    # Uniform over 0..40: mean 20, standard deviation 11.8; four standard errors of the mean of 128.
    assert abs(np.mean(lengths) - 20) < 4 * 11.8 / np.sqrt(128)


def test_games_with_staggered_random_actions_are_not_reported() -> None:
    protocol = replace(BARE, max_frames_per_episode=200)  # 50 steps a game, or fewer
    envs = AtariEnvs("freeway", replace(SMALL, stagger_steps=45), num_envs=8, seed=0, threads=2, protocol=protocol)
    envs.reset()
    random_steps = envs.game_lengths
    assert len(np.unique(random_steps)) > 3
    rewards = np.zeros(8)
    seen: dict[int, list[tuple[int, float, float]]] = {env: [] for env in range(8)}
    for t, step in enumerate(play(envs, 160), start=1):
        rewards += step.rewards
        for episode in step.episodes:
            assert episode.length == 50
            seen[episode.env].append((t, episode.score, rewards[episode.env]))
        rewards[step.truncated | step.terminated] = 0
    envs.close()
    for env, games in seen.items():
        first_end = 50 if random_steps[env] == 0 else 100 - random_steps[env]
        assert [t for t, _, _ in games] == list(range(first_end, 161, 50))
        assert all(score == total for _, score, total in games)


def test_games_that_end_within_the_stagger_are_not_reported() -> None:
    protocol = replace(BARE, max_frames_per_episode=40)  # 10 steps
    envs = AtariEnvs("freeway", replace(SMALL, stagger_steps=25), num_envs=8, seed=0, threads=2, protocol=protocol)
    envs.reset()
    assert envs.game_lengths.max() < 10
    lengths = envs.game_lengths
    for t, step in enumerate(play(envs, 20), start=1):
        for episode in step.episodes:
            assert episode.length == 10
            assert t >= 10 or lengths[episode.env] == 0
    envs.close()


def test_bad_actions_are_refused_and_nothing_hangs() -> None:
    envs = AtariEnvs("pong", SMALL, num_envs=2, seed=0)
    with pytest.raises(ValueError, match="reset"):
        envs.step(np.zeros(2, np.int64))
    envs.reset()
    bad = [
        np.array([0, 6]),
        np.array([-1, 0]),
        np.zeros(3, np.int64),
        np.zeros((2, 1), np.int64),
        np.zeros(2, np.float32),
        np.zeros(2, np.int32),
        [0, 0],
    ]
    for actions in bad:
        with pytest.raises(ValueError, match="actions must"):
            envs.step(actions)  # type: ignore[arg-type]
    assert envs.step(np.zeros(2, np.int64)).observations.shape == (2, 2, 16, 16)
    assert envs.game_lengths.tolist() == [1, 1]
    envs.close()
    envs.close()


@pytest.mark.parametrize("name", ["num_envs", "threads", "seed", "worker_index", "restarts"])
def test_numbers_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        AtariEnvs("pong", SMALL, **({"num_envs": 1, "seed": 0} | {name: -1}))
    with pytest.raises(ValueError, match="did you mean pong"):
        AtariEnvs("pnog", SMALL, num_envs=1, seed=0)


def test_later_steps_do_not_change_returned_arrays() -> None:
    envs = AtariEnvs("breakout", SMALL, num_envs=2, seed=0)
    envs.reset()
    returned, copies = [], []
    for step in play(envs, 50):
        arrays = (step.observations, step.rewards, step.terminated, step.truncated, step.life_lost)
        returned.append(arrays)
        copies.append([array.copy() for array in arrays])
    envs.close()
    for arrays, expected in zip(returned, copies, strict=True):
        for array, copy in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, copy)
