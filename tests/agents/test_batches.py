"""Batches of the first epoch, whole environments, and of later epochs, shuffled."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.agents.batches import environment_batches, shuffle_groups, shuffled_batches

SEEDS = st.integers(0, 2**32 - 1)
SMALL = st.integers(1, 4)


@given(seed=SEEDS, steps=st.integers(1, 6), minibatches=SMALL, groups=SMALL, envs_per_group=SMALL)
@settings(max_examples=40, deadline=None)
def test_environment_batches_are_whole_environments_each_once(
    seed: int, steps: int, minibatches: int, groups: int, envs_per_group: int
) -> None:
    num_envs = minibatches * groups * envs_per_group
    batches = list(
        environment_batches(
            np.random.default_rng(seed), num_steps=steps, num_envs=num_envs, minibatches=minibatches, groups=groups
        )
    )
    assert [len(batch) for batch in batches] == [groups] * minibatches
    everything = [group for batch in batches for group in batch]
    assert sorted(np.concatenate(everything).tolist()) == list(range(steps * num_envs))
    for group in everything:
        envs = set((group % num_envs).tolist())
        assert len(envs) == envs_per_group
        assert set(group.tolist()) == {t * num_envs + env for t in range(steps) for env in envs}
        assert (np.diff(group) > 0).all()  # in order of time, which the ladder along time relies on
    for one, other in combinations(everything, 2):
        assert not set((one % num_envs).tolist()) & set((other % num_envs).tolist())


def test_environments_are_grouped_at_random() -> None:
    """Over many draws every pair of environments shares a group equally often."""
    rng, together = np.random.default_rng(0), np.zeros((6, 6))
    draws = 3000
    for _ in range(draws):
        for batch in environment_batches(rng, num_steps=1, num_envs=6, minibatches=1, groups=3):
            for group in batch:
                together[np.ix_(group, group)] += 1
    pairs = together[np.triu_indices(6, 1)]
    share = 1 / 5  # one of the five others is the partner
    assert np.abs(pairs - draws * share).max() < 4.5 * np.sqrt(draws * share * (1 - share))


@given(seed=SEEDS, minibatches=SMALL, size=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_shuffled_batches_hold_every_observation_once(seed: int, minibatches: int, size: int) -> None:
    batches = list(
        shuffled_batches(np.random.default_rng(seed), observations=minibatches * size, minibatches=minibatches)
    )
    assert [len(batch) for batch in batches] == [size] * minibatches
    assert sorted(np.concatenate(batches).tolist()) == list(range(minibatches * size))


@given(seed=SEEDS, groups=SMALL, size=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_shuffle_groups_splits_the_same_observations_again(seed: int, groups: int, size: int) -> None:
    before = [np.arange(size, dtype=np.int64) * groups + g + 100 for g in range(groups)]
    after = shuffle_groups(np.random.default_rng(seed), before)
    assert [len(group) for group in after] == [size] * groups
    assert sorted(np.concatenate(after).tolist()) == sorted(np.concatenate(before).tolist())


def test_shuffled_groups_mix_environments() -> None:
    (groups,) = environment_batches(np.random.default_rng(0), num_steps=64, num_envs=4, minibatches=1, groups=4)
    for group in shuffle_groups(np.random.default_rng(1), groups):
        assert set((group % 4).tolist()) == {0, 1, 2, 3}


def test_the_generator_alone_determines_the_batches() -> None:
    def drawn(seed: int) -> list[list[int]]:
        rng = np.random.default_rng(seed)
        batches = environment_batches(rng, num_steps=2, num_envs=8, minibatches=2, groups=2)
        return [g.tolist() for b in batches for g in b] + [
            b.tolist() for b in shuffled_batches(rng, observations=16, minibatches=2)
        ]

    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)
