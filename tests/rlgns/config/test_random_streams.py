"""No two random streams of one run are the same."""

from __future__ import annotations

from itertools import product

import numpy as np

from rlgns.calibrate.run import SETS
from rlgns.config.random_streams import CALIBRATION_SEEDS, EVALUATION, EXAMPLES, PROBE, UPDATE, calibration_set
from rlgns.envs.vector import random_stream

SEEDS, ITERATIONS, SETS_OF_ENVIRONMENTS = range(3), range(4), range(6)


def first_bits(generator: np.random.Generator) -> int:
    return int(generator.bit_generator.random_raw())


def test_streams_of_training_differ() -> None:
    bits = {
        **{
            ("actions", *key): first_bits(np.random.default_rng(list(key)))
            for key in product(SEEDS, ITERATIONS, SETS_OF_ENVIRONMENTS)
        },
        **{("batches", *key): first_bits(np.random.default_rng([*key, UPDATE])) for key in product(SEEDS, ITERATIONS)},
        **{("probe", *key): first_bits(np.random.default_rng([*key, PROBE])) for key in product(SEEDS, ITERATIONS)},
        **{
            ("environments", *key): first_bits(random_stream(key[0], key[2], key[1]))
            for key in product(SEEDS, ITERATIONS, SETS_OF_ENVIRONMENTS)
        },
    }
    assert len(set(bits.values())) == len(bits)


def test_games_of_evaluation_and_calibration_are_none_of_training() -> None:
    calibration = {
        calibration_set(set_index, seed) for set_index in range(SETS) for seed in (0, 1, CALIBRATION_SEEDS - 1)
    }
    assert len(calibration) == 3 * SETS
    assert EVALUATION not in calibration and min(calibration) > EVALUATION
    assert UPDATE < EVALUATION and PROBE < EVALUATION  # they stand for sets of environments as well
    numbers = [*SETS_OF_ENVIRONMENTS, UPDATE, PROBE, EVALUATION, *calibration]
    assert len({first_bits(random_stream(0, number, 0)) for number in numbers}) == len(numbers)


def test_streams_of_a_calibration_differ() -> None:
    keys = [key for pair in product(range(SETS), range(20)) for key in (pair, (*pair, EXAMPLES))]
    assert len({first_bits(np.random.default_rng(list(key))) for key in keys}) == len(keys)
